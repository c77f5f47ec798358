"""Quality: divergences against hand-worked numbers and torch, the real model, the table, figure and report."""

import io
import math
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from inferbench.experiments.quality import figures as plot_quality
from inferbench.experiments.quality import measure as quality
from inferbench.experiments.quality.section import section
from inferbench.experiments.quality.settings import Settings as Quality
from inferbench.experiments.quality.table import ranked, rows
from inferbench.measure.stages import Stages
from inferbench.settings.experiment import ExperimentConfig
from inferbench.settings.job import (
    AttentionConfig,
    ConfigError,
    Device,
    Dtype,
    ExecutionConfig,
    ModelConfig,
    PrecisionConfig,
    Source,
)
from inferbench.settings.outcomes import Unsupported
from made_up_experiments import draw_experiment, experiment_table
from made_up_tables import demo_measurements, demo_summary
from tiny_models import CPU, attention_config, tiny_llama

HALF = [[0.5, 0.25, 0.25]]
SWAPPED = [[0.25, 0.5, 0.25]]


def logs(distribution):
    return torch.tensor(distribution).log()


# --- divergence


def test_divergence_by_hand():
    # 0.5 ln 2 - 0.25 ln 2 = 0.25 ln 2
    assert quality.divergence(logs(HALF), logs(SWAPPED)).tolist() == pytest.approx([0.25 * math.log(2)])
    # The direction matters: from (0.9, 0.1) to (0.5, 0.5) it is 0.9 ln 1.8 + 0.1 ln 0.2, back 0.5 ln (25 / 9).
    skewed, even = logs([[0.9, 0.1]]), logs([[0.5, 0.5]])
    there = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    assert quality.divergence(skewed, even).item() == pytest.approx(there, abs=1e-7)
    assert quality.divergence(even, skewed).item() == pytest.approx(0.5 * math.log(25 / 9), abs=1e-7)


def test_divergence_agrees_with_torch_over_several_chunks():
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(150, 700, generator=generator).double().log_softmax(-1) for _ in range(2))
    expected = torch.nn.functional.kl_div(other, one, log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(quality.divergence(one, other), expected)


def test_a_tiny_divergence_keeps_its_digits_and_is_never_negative():
    # Logits moved by d: KL = variance of d under p / 2 to first order; here about 5e-9, under fp32's rounding.
    logits = torch.randn(40, 1000, generator=torch.Generator().manual_seed(1)).double()
    moved = logits + 1e-4 * torch.randn(40, 1000, generator=torch.Generator().manual_seed(2))
    found = quality.divergence(logits.float().log_softmax(-1), moved.float().log_softmax(-1))
    exact = stats.entropy(logits.softmax(-1), moved.softmax(-1), axis=1)
    assert (found >= 0).all()
    assert found.mean().item() == pytest.approx(exact.mean(), rel=0.02)


def test_compare_by_hand():
    found = quality.compare(logs(HALF * 2), logs(SWAPPED + HALF), torch.tensor([1, 0]))
    assert found == {
        "predicted_tokens": 2,
        "nll": pytest.approx(math.log(2)),  # 1/2 and 1/2
        "reference_nll": pytest.approx(math.log(8) / 2),  # 1/4 and 1/2
        "kl": pytest.approx(0.125 * math.log(2)),
        "top1": 0.5,
    }


def test_log_probabilities_give_the_loss_of_transformers():
    model = tiny_llama()
    window = torch.randint(0, 512, (33,), generator=torch.Generator().manual_seed(3))
    known = quality.log_probabilities(model, window)
    assert known.shape == (32, 512)
    with torch.inference_mode():
        loss = model(input_ids=window[None], labels=window[None]).loss.item()
    assert quality.compare(known, known, window[1:])["nll"] == pytest.approx(loss, rel=1e-5)


# --- windows and continuations


class Words:
    """A tokenizer of words: each is its own length. `begin` is what every text begins with."""

    def __init__(self, *begin):
        self.begin = list(begin)

    def __call__(self, text, add_special_tokens=True):
        begin = self.begin if add_special_tokens else []
        return SimpleNamespace(input_ids=begin + [len(word) for word in text.split()])

    def decode(self, tokens, skip_special_tokens=False):
        return " ".join("x" * token for token in tokens)


def settings(path, windows, window_tokens):
    return Quality(text=str(path), windows=windows, window_tokens=window_tokens)


def test_windows_are_spread_evenly_over_the_text(tmp_path):
    (tmp_path / "text").write_text(" ".join("x" * length for length in range(1, 12)))
    # 11 tokens in 3 windows: one begins at every third.
    found = quality.text_windows(settings(tmp_path / "text", 3, 2), Words())
    assert [window.tolist() for window in found] == [[1, 2], [4, 5], [7, 8]]
    # Where a text has a token that begins it, each window is a text.
    begun = quality.text_windows(settings(tmp_path / "text", 2, 3), Words(99))
    assert [window.tolist() for window in begun] == [[99, 1, 2], [99, 6, 7]]
    with pytest.raises(ConfigError, match="has 11 tokens: ask for fewer than 3 windows of 4"):
        quality.text_windows(settings(tmp_path / "text", 3, 4), Words())


def test_departure_is_the_first_token_that_differs():
    found = quality.departure([1, 2, 3, 4], [1, 2, 4, 3], Words())
    assert (found["leaves_at"], found["leaves_with"], found["reference_token"]) == (3, "xxxx", "xxx")
    assert found["text"] == "x xx xxxx xxx"
    same = quality.departure([1, 2], [1, 2], Words())
    assert (same["leaves_at"], same["compared_tokens"]) == (None, 2)


def test_a_synthetic_model_is_unsupported_before_anything_loads(tmp_path):
    config = job(tmp_path / "absent", PrecisionConfig("bf16", Dtype.bfloat16, "plain"))
    config.model.source = Source.synthetic
    with pytest.raises(Unsupported, match="random weights"):
        quality.measure(config, CPU, None, {})


def test_a_reference_that_cannot_run_is_unsupported(tmp_path):
    config = job(tmp_path / "absent", PrecisionConfig("bf16", Dtype.bfloat16, "plain"))
    config.attention = attention_config("flash_attention_2")
    with pytest.raises(Unsupported, match="reference precision fp32: flash_attention_2"):
        quality.measure(config, CPU, None, {})


# --- the real model


def job(folder, precision):
    return ExperimentConfig(
        model=ModelConfig(name="smollm2-135m", source=Source.bundled, path=str(folder)),
        precision=precision,
        attention=AttentionConfig("sdpa", "sdpa"),
        execution=ExecutionConfig("loop", "loop"),
        device=Device.cpu,
        experiment=Quality(
            text="config/quality.txt",
            windows=2,
            window_tokens=48,
            prompts="config/prompts.yaml",
            continuations=1,
            new_tokens=6,
            reference=PrecisionConfig("fp32", Dtype.float32, "plain"),
        ),
    )


@pytest.fixture(scope="module")
def measured(folder):
    """Record by precision: the reference against itself, a near one and a far one."""
    found = {}
    for precision in (
        PrecisionConfig("fp32", Dtype.float32, "plain"),
        PrecisionConfig("bf16", Dtype.bfloat16, "plain"),
        PrecisionConfig("nf4", Dtype.bfloat16, "bitsandbytes", {"quantisation": "nf4"}),
    ):
        found[precision.name] = {}
        config = job(folder, precision)
        quality.measure(config, CPU, Stages(io.StringIO(), time.time()), found[precision.name])
    return found


def test_the_reference_against_itself_is_exact(measured):
    for sample in measured["fp32"]["samples"]:
        if sample["window"] is not None:
            assert (sample["kl"], sample["top1"]) == (0, 1)
            assert sample["nll"] == sample["reference_nll"]
        else:
            assert sample["leaves_at"] is None
            assert sample["text"] == sample["reference_text"]


def test_rounding_to_bf16_costs_a_hundredth_of_what_4_bits_cost(measured):
    (bf16,), (nf4,) = (rows({}, {}, measured[name]["samples"]) for name in ("bf16", "nf4"))
    assert 0.0002 < bf16["kl"] < 0.005
    assert 0.1 < nf4["kl"] < 1
    assert nf4["top1"] < bf16["top1"] < 1
    # The record is of the precision, not of the reference.
    assert measured["bf16"]["effective_dtype"] == "bfloat16"
    assert measured["nf4"]["quantised_share"] > 0.9


# --- the table


def window(nll, reference_nll=2.0, kl=0.1, top1=0.9):
    return {
        "window": 0,
        "predicted_tokens": 10,
        "nll": nll,
        "reference_nll": reference_nll,
        "kl": kl,
        "top1": top1,
    }


def test_rows_are_means_over_windows_with_student_intervals():
    kl = np.array([0.1, 0.2, 0.3, 0.6])
    samples = [window(nll, kl=one) for nll, one in zip((1.0, 2.0, 2.0, 3.0), kl)]
    samples.append({**dict.fromkeys(window(0)), "window": None, "prompt": "a continuation"})
    [row] = rows({}, {}, samples)
    assert (row["windows"], row["predicted_tokens"]) == (4, 40)
    assert row["kl"] == pytest.approx(0.3)
    low, high = stats.t.interval(0.95, 3, loc=kl.mean(), scale=stats.sem(kl))
    assert low < 0  # a divergence cannot be: the end is cut off
    assert (row["kl_low"], row["kl_high"]) == (0, pytest.approx(high))
    # The perplexity of the whole text: exp of its mean, 8 / 4.
    assert row["perplexity"] == pytest.approx(math.exp(2))
    assert row["perplexity_ratio"] == pytest.approx(1)
    assert row["top1_low"] == row["top1_high"] == pytest.approx(0.9)


def test_two_windows_have_no_interval():
    [row] = rows({}, {}, [window(1.0), window(2.0)])
    assert row["perplexity"] == pytest.approx(math.exp(1.5))
    assert not any(name.endswith(("_low", "_high")) for name in row)


def quality_row(precision, kl, perplexity, **values):
    numbers = {"kl": kl, "top1": 1 - kl, "perplexity": perplexity, "perplexity_ratio": perplexity / 15}
    ends = {f"{name}_{end}": numbers[name] for name in numbers for end in ("low", "high")}
    return {
        "cell": f"smollm2-135m--{precision}--sdpa--fp32",
        "precision": precision,
        "reference": "fp32",
        "windows": 4,
        "predicted_tokens": 1020,
        **numbers,
        **ends,
        **values,
    }


FP4 = quality_row("fp4", 0.5, 18.0)
NF4 = quality_row("nf4", 0.3, 19.0)
BF16 = quality_row("bf16", 0.001, 15.01)
FP32 = quality_row("fp32", 0.0, 15.0)


def continuation(row, leaves_at, text):
    return {
        "cell": row["cell"],
        "replicate": 1,
        "window": pd.NA,
        "prompt": "Say <something>",
        "text": text,
        "reference_text": "blue sky",
        "compared_tokens": 24,
        "leaves_at": leaves_at,
        "leaves_with": "grey\n" if leaves_at else None,
        "reference_token": "blue" if leaves_at else None,
    }


SAMPLES = pd.DataFrame([continuation(FP32, None, "blue sky"), continuation(NF4, 1, "grey sky")])


def test_precisions_are_ranked_by_divergence_and_not_by_perplexity():
    table = experiment_table("quality", [FP4, NF4, BF16, FP32])
    assert list(ranked(table)["precision"]) == ["fp32", "bf16", "nf4", "fp4"]
    words = "\n".join(section(table, SAMPLES).sentences)
    assert "bf16 0.00100 (0.00100 to 0.00100); nf4 0.300 (0.300 to 0.300); fp4 0.500" in words
    assert "perplexity alone would order them otherwise: fp32, bf16, fp4, nf4." in words
    assert "bundled as 4-bit weights (Q4_1), so its fp32 is itself dequantised" in words
    [(_, shown)] = section(table, SAMPLES).tables
    assert shown.common == "model smollm2-135m, attention sdpa, reference fp32"
    assert shown.rows[2][:3] == ["nf4", "0.300 (0.300 to 0.300)", "70.0 (70.0 to 70.0)"]


def test_overlapping_intervals_are_named():
    near = {**NF4, "kl_high": 0.55}
    words = "\n".join(section(experiment_table("quality", [near, FP4]), SAMPLES).sentences)
    assert "the intervals of the divergences overlap for nf4 and fp4" in words
    # The widest one reaches over its neighbour.
    wide = {**BF16, "kl_high": 0.55}
    words = "\n".join(section(experiment_table("quality", [wide, NF4, FP4]), SAMPLES).sentences)
    assert "overlap for bf16 and nf4, bf16 and fp4." in words


def test_continuations_stand_beside_the_reference_with_their_departure():
    [texts] = section(experiment_table("quality", [NF4, FP32]), SAMPLES).texts
    assert "Say <something>" in texts.heading
    assert texts.texts == [
        ("fp32 (the reference)", "blue sky"),
        ("nf4: leaves at token 1 of 24, with “grey\\n” for “blue”", "grey sky"),
    ]


def test_a_synthetic_model_has_a_reason_and_no_number():
    row = {"cell": "tiny--bf16--sdpa--fp32", "model": "tiny", "precision": "bf16", "reference": "fp32"}
    row |= {"status": "unsupported", "reason": "random weights", "model_source": "synthetic"}
    table = experiment_table("quality", [row])
    assert table["kl"].isna().all()
    found = section(table, pd.DataFrame())
    assert (found.sentences, found.tables, found.texts) == ([], [], [])


# --- the figure


def test_the_figure_joins_quality_speed_and_memory(tmp_path):
    # The demo at sdpa, batch 1: fp32 22 tokens/s, bf16 44, int8 11, nf4 27.5, with replicates 2% apart.
    int8 = quality_row("int8", 0.02, 15.2)
    table = experiment_table("quality", [FP4, NF4, int8, BF16, FP32])
    data, words = draw_experiment("quality", tmp_path, table, SAMPLES, demo_summary(demo_measurements()))
    own = data.set_index("precision")
    assert list(own.index) == ["fp32", "bf16", "int8", "nf4", "fp4"]
    assert own.loc["bf16", "decode_tokens_per_s"] == pytest.approx(44 * math.sqrt(1.02), rel=1e-5)
    assert own.loc["nf4", "memory_bytes"] == 119_000_000
    # int8 is slower than bf16 and farther, but smaller; fp4 was not in the grid.
    assert own["dominated_by"].isna().all()
    assert not own.loc["fp4", "complete"]
    assert "Not drawn, for want of a speed that may be ranked there: fp4." in words


def test_a_dominated_precision_is_grey_and_named(tmp_path):
    measurements = demo_measurements()
    measurements.loc[measurements["precision"] == "int8", "weight_bytes"] = 300_000_000
    table = experiment_table("quality", [quality_row("int8", 0.02, 15.2), BF16, FP32])
    data, words = draw_experiment("quality", tmp_path, table, SAMPLES, demo_summary(measurements))
    assert data.set_index("precision")["dominated_by"].dropna().to_dict() == {"int8": "bf16"}
    assert "Dominated: int8 by bf16." in words
    assert plot_quality.GREYED.lower() in words


def test_precisions_without_a_speed_are_no_empty_panels(tmp_path):
    table = experiment_table("quality", [FP4])  # not in the grid
    data, words = draw_experiment("quality", tmp_path, table, SAMPLES, demo_summary(demo_measurements()))
    assert list(data["precision"]) == ["fp4"]
    assert "No precision has both a divergence and a speed that may be ranked." in words
    assert "tokens/s" not in words


def test_a_subject_without_a_panel_is_still_named(tmp_path):
    other = {**FP4, "attention": "eager", "cell": "smollm2-135m--fp4--eager--fp32"}
    table = experiment_table("quality", [BF16, FP32, other])
    _, words = draw_experiment("quality", tmp_path, table, SAMPLES, demo_summary(demo_measurements()))
    assert "Not drawn, for want of a speed that may be ranked there: fp4." in words


def test_a_model_that_the_grid_does_not_have_is_no_crash(tmp_path):
    table = experiment_table(
        "quality", [BF16, {**BF16, "model": "another", "cell": "another--bf16--sdpa--fp32"}]
    )
    data, words = draw_experiment("quality", tmp_path, table, SAMPLES, demo_summary(demo_measurements()))
    assert list(data["model"]) == ["smollm2-135m", "another"]
    assert "no cell of the grid has this model" in words


def test_nothing_to_draw_is_said(tmp_path):
    table = experiment_table("quality", [{**BF16, "status": "failed", "reason": "x"}])
    _, words = draw_experiment("quality", tmp_path, table, SAMPLES, demo_summary(demo_measurements()))
    assert "there is nothing to draw" in words
