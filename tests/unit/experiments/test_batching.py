"""The experiment batching: padding and speed-ups worked out by hand, and the proof that texts are equal."""

import dataclasses

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
import yaml

from experiment_jobs import experiment_table, measured
from inferbench.experiments.batching import figures as plot_batching
from inferbench.experiments.batching import measure as batching
from inferbench.experiments.batching.section import section
from inferbench.experiments.batching.settings import Settings as Batching
from inferbench.experiments.batching.table import centres, jobs, padding_share, rows, speeds
from inferbench.measure.checks import CheckFailed
from inferbench.models.prompts import PromptBatch
from inferbench.settings.job import Dtype, PrecisionConfig
from inferbench.settings.repository import in_repository
from tiny_models import tiny_llama

PROMPTS = "config/prompts.yaml"
FP32 = PrecisionConfig(name="fp32", dtype=Dtype.float32, library="plain")
MODEL = tiny_llama()


class Words:
    """A tokenizer of one token per word: its length."""

    def __call__(self, text, add_special_tokens=True):
        ids = [len(word) for word in text.split()]
        return type("Encoding", (), {"input_ids": ids})


def test_prompts_are_the_shipped_ones_whole_and_distinct():
    texts = yaml.safe_load(in_repository(PROMPTS).read_text())
    whole = [Words()(text).input_ids for text in texts]
    picked = batching.unequal_prompts(PROMPTS, len(texts), 0, Words(), MODEL)
    assert sorted(picked) == sorted(whole)
    assert picked != whole
    assert batching.unequal_prompts(PROMPTS, 4, 0, Words(), MODEL) == picked[:4]
    assert batching.unequal_prompts(PROMPTS, 4, 1, Words(), MODEL) != picked[:4]
    more = batching.unequal_prompts(PROMPTS, len(texts) + 2, 0, Words(), MODEL)
    assert more[-2:] == [picked[0] + picked[1], picked[1] + picked[2]]


def test_a_model_without_a_tokenizer_gets_random_prompts_of_unequal_length():
    picked = batching.unequal_prompts(PROMPTS, 8, 0, None, MODEL)
    assert len({len(prompt) for prompt in picked}) > 1
    assert all(5 <= len(prompt) <= 40 and max(prompt) < 512 for prompt in picked)


def test_padding_share():
    # Three prompts as wide as the longest have 3 x 7 = 21 tokens, of which 3 + 2 are padding.
    assert padding_share([7, 4, 5]) == pytest.approx(5 / 21)
    assert padding_share([6, 6]) == 0


def job_samples(rounds, new_tokens=5):
    """Samples of rounds, each ([(ttft_ms, seconds) of each prompt alone], (ttft_ms, seconds) of the batch)."""
    found = []
    for number, (alone, batch) in enumerate(rounds, start=1):
        for batched, runs in ((False, alone), (True, [batch] * len(alone))):
            found += [
                {
                    "round": number,
                    "batched": batched,
                    "prompt": place,
                    "prompt_tokens": 10 * place,
                    "ttft_ms": ttft,
                    "seconds": seconds,
                    "tokens": [1] * new_tokens,
                    "text": f"{'in the batch' if batched else 'alone'} {place}",
                }
                for place, (ttft, seconds) in enumerate(runs, start=1)
            ]
    return found


#: 2 prompts of 10 and 20 tokens, 5 new tokens each.
ROUNDS = [
    ([(200, 1.0), (200, 2.0)], (400, 1.5)),  # 3 s against 1.5 s
    ([(200, 1.0), (200, 3.0)], (400, 1.0)),  # 4 s against 1 s
    ([(200, 2.0), (200, 3.0)], (400, 2.0)),  # 5 s against 2 s
]


def test_speeds_of_a_job():
    found = speeds(job_samples(ROUNDS))
    assert found["padding_share"] == pytest.approx(10 / 40)
    assert (found["one_by_one_s"], found["batch_s"]) == (4.0, 1.5)
    assert found["speedup"] == 2.5  # the median of 2, 4 and 2.5
    assert found["one_by_one_tokens_per_s"] == pytest.approx(10 / 4)
    assert found["batch_tokens_per_s"] == pytest.approx(10 / 1.5)
    # 8 tokens after the first ones in 3 - 0.4, 4 - 0.4 and 5 - 0.4 s; a user of the batch sees 4 in 1.1 s.
    assert found["one_by_one_user_tokens_per_s"] == pytest.approx(8 / 3.6)
    assert found["batch_user_tokens_per_s"] == pytest.approx(4 / 1.1)


def test_a_row_says_of_each_prompt_whether_its_texts_are_equal():
    partings = [{"parted_at": None, "parted_gap": None}, {"parted_at": 3, "parted_gap": 0.01}]
    found = rows({}, {"partings": partings, "host_bound": False}, job_samples(ROUNDS))
    assert [(row["prompt"], row["prompt_tokens"], row["alone_s"]) for row in found] == [
        (1, 10, 1.0),
        (2, 20, 3.0),
    ]
    assert [(row["text_equal"], row["parted_at"]) for row in found] == [(True, None), (False, 3)]


def test_the_batch_gives_the_texts_of_single_prompts(tmp_path):
    settings = Batching(prompts=PROMPTS, batch_size=3, new_tokens=5, rounds=2)
    config, record, samples = measured(batching, settings, tmp_path)
    tokens = {way: [s["tokens"] for s in samples if s["batched"] is way] for way in (False, True)}
    assert tokens[False] == tokens[True]
    assert [len(one) for one in tokens[True]] == [5] * 6
    table = experiment_table("batching", [{"batch_size": 3, **row} for row in rows(config, record, samples)])
    assert table["text_equal"].tolist() == [True] * 3
    assert table["prompt_tokens"].nunique() > 1 and (table["padding_share"] > 0).all()


def test_where_texts_part_and_how_near_a_tie_it_was():
    model = tiny_llama()
    prompt = PromptBatch(torch.tensor([[5, 6, 7]]), None)
    with torch.inference_mode():
        logits = model(torch.tensor([[5, 6, 7, 8, 9]])).logits[0, -1]
    ordered = logits.sort(descending=True).values
    found = batching.parting(model, prompt, torch.tensor([8, 9, 1, 4]), torch.tensor([8, 9, 2, 3]))
    assert found["parted_at"] == 3
    assert found["parted_gap"] == pytest.approx(((ordered[0] - ordered[1]) / logits.std()).item(), rel=1e-4)
    same = torch.tensor([8, 9])
    assert batching.parting(model, prompt, same, same) == {"parted_at": None, "parted_gap": None}


def test_in_fp32_texts_may_part_at_a_tie_only():
    equal, tie, apart = (
        {"parted_at": at, "parted_gap": gap} for at, gap in ((None, None), (4, 0.0005), (4, 0.02))
    )
    batching.require_equal_texts([equal, tie], FP32)
    with pytest.raises(
        CheckFailed, match="prompt 2 has another text in the batch than alone from token 4 on"
    ):
        batching.require_equal_texts([equal, apart], FP32)
    int8 = {"library": "bitsandbytes", "options": {"quantisation": "int8"}}
    for changes in ({"dtype": Dtype.bfloat16}, int8):
        batching.require_equal_texts([apart], dataclasses.replace(FP32, **changes))


def test_a_batch_that_sees_its_padding_is_caught(tmp_path, monkeypatch):
    """The fault that the proof is there for: a batch without its mask."""
    padded = batching.pad_left

    def maskless(prompts, padding, device):
        return PromptBatch(padded(prompts, padding, device).input_ids, None)

    monkeypatch.setattr(batching, "pad_left", maskless)
    settings = Batching(prompts=PROMPTS, batch_size=4, new_tokens=8, rounds=1)
    with pytest.raises(CheckFailed, match="another text in the batch than alone"):
        measured(batching, settings, tmp_path)


def made_up(batch_size, speedup, replicate=1, equal=True, **common):
    """The rows of a job: one by one 20 tokens/s and as many for each user; the batch shares 20 x `speedup`."""
    job = {
        "cell": f"cell-{common.get('precision', 'bf16')}-b{batch_size}",
        "replicate": replicate,
        "batch_size": batch_size,
        "prompt_tokens": 10,
        "alone_s": 1.0,
        "new_tokens": 20,
        "padding_share": 0.25,
        "one_by_one_s": batch_size,
        "batch_s": batch_size / speedup,
        "speedup": speedup,
        "one_by_one_tokens_per_s": 20.0,
        "batch_tokens_per_s": 20.0 * speedup,
        "one_by_one_user_tokens_per_s": 20.0,
        "batch_user_tokens_per_s": 20.0 * speedup / batch_size,
        "host_bound": False,
        **common,
    }
    last = {"text_equal": equal, "parted_at": None if equal else 7, "parted_gap": None if equal else 0.05}
    first = {"text_equal": True, "parted_at": None, "parted_gap": None}
    return [job | {"prompt": n} | (last if n == batch_size else first) for n in range(1, batch_size + 1)]


def test_centres_have_an_interval_from_three_jobs_on():
    table = experiment_table(
        "batching", [row for n in (1, 2, 3) for row in made_up(2, 1.5, n)] + made_up(4, 3.0)
    )
    found = centres(jobs(table), ["batch_size"], ["speedup"]).set_index("batch_size")
    assert found["speedup"].tolist() == pytest.approx([1.5, 3.0])
    assert found["speedup_low"].notna().tolist() == [True, False]


@pytest.fixture
def table():
    """bf16: two prompts 1.5 times as fast, four 3 times, one text of which parts; fp32: two, 0.8 times."""
    made = made_up(2, 1.5) + made_up(4, 3.0, equal=False) + made_up(2, 0.8, precision="fp32")
    return experiment_table("batching", made)


def test_the_section_says_speed_ups_and_equal_texts(table):
    samples = pd.DataFrame(job_samples(ROUNDS)).assign(cell="cell-bf16-b4", replicate=1, prompt=4)
    found = section(table, samples)
    words = "\n".join(found.sentences)
    assert (
        "smollm2-135m, bf16, sdpa: 4 prompts take 4.00 s one by one and 1.33 s as one batch, 3.00 times as fast "
        "(no interval), although 25.0% of the batch's prompt tokens are padding. In the batch a user "
        "sees 15.0 tokens/s, served alone 20.0." in words
    )
    assert (
        "smollm2-135m, bf16, sdpa: 5 of 6 texts are the same in the batch as alone, token for token; "
        in words
    )
    assert "at most 0.0500 standard deviations" in words
    table.loc[table["parted_gap"].notna(), "parted_gap"] = 0.0
    assert "; the others part where the two likeliest tokens tie in the logits." in "\n".join(
        section(table, samples).sentences
    )
    assert (
        "smollm2-135m, fp32, sdpa: 2 of 2 texts are the same in the batch as alone, token for token." in words
    )
    assert (
        "smollm2-135m, fp32, sdpa: as a batch of 2 they are slower than one by one in these runs (no interval)."
        in words
    )
    by_size = dict(found.tables)["Texts in the batch and alone"]
    assert [row[-3:] for row in by_size.rows] == [
        ["2 of 2", "-", "-"],
        ["3 of 4", "7", "0.0500"],
        ["2 of 2", "-", "-"],
    ]
    [texts] = found.texts
    assert texts.heading == "Texts that part: smollm2-135m, bf16, sdpa"
    assert texts.texts == [("prompt 4, alone", "alone 1"), ("prompt 4, in the batch", "in the batch 1")]


def test_the_figure_has_one_by_one_and_every_batch(table):
    figure, data = plot_batching.draw(table, pd.DataFrame(), pd.DataFrame())
    drawn = data[data["precision"] == "bf16"]
    assert drawn["way"].tolist() == ["one by one", "batch"] * 2
    assert drawn["batch_size"].tolist() == [2, 2, 4, 4]
    assert drawn["tokens_per_s"].tolist() == [20, 30, 20, 60]
    assert drawn["user_tokens_per_s"].tolist() == [20, 15, 20, 15]
    plt.close(figure)


def test_without_an_ok_job_section_and_figure_say_so():
    failed = experiment_table("batching", [{"batch_size": 2, "status": "failed", "reason": "killed"}])
    assert section(failed, pd.DataFrame()).sentences == []
    figure, data = plot_batching.draw(failed, pd.DataFrame(), pd.DataFrame())
    assert data.empty
    plt.close(figure)
