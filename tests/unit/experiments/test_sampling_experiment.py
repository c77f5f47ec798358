"""The sampling experiment: texts repeat whatever the batch, likelihoods are the model's, the table and the report."""

import io
import math
import time

import pandas as pd
import pytest
import torch

from inferbench.engines.captured_decoder import CapturedDecoder
from inferbench.engines.decoding import LoopDecoder, decode
from inferbench.experiments.sampling import measure as sampling
from inferbench.experiments.sampling.measure import SamplingDecoder, log_likelihood, row_shares
from inferbench.experiments.sampling.section import section
from inferbench.experiments.sampling.settings import Settings as Sampling
from inferbench.experiments.sampling.table import per_strategy, rows
from inferbench.measure.stages import Stages
from inferbench.models.prompts import pad_left
from inferbench.models.requests import choose_prompts, request_ids, until_end
from inferbench.settings.experiment import ExperimentConfig
from inferbench.settings.job import (
    AttentionConfig,
    ConfigError,
    Device,
    Dtype,
    ModelConfig,
    PrecisionConfig,
    Source,
)
from inferbench.settings.strategy import Strategy
from made_up_experiments import draw_experiment, experiment_table
from made_up_tables import demo_measurements, demo_summary
from tiny_models import CPU, tiny_llama

NEW = 12
HOT = Strategy("hot", temperature=1.5, top_k=50)
PROMPTS = {"first": [5, 6, 7, 8, 9], "second": [40, 41], "third": [100, 101, 102]}


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


def drawn(decoder, seeds_by_prompt, seed=0):
    """Token lists of (prompt, seed) pairs, all in one batch."""
    batch = pad_left([PROMPTS[prompt] for prompt, _ in seeds_by_prompt], padding=0, device=CPU)
    shares = torch.stack([row_shares(*row, seed, NEW) for row in seeds_by_prompt])
    return decode(SamplingDecoder(decoder, HOT, shares), batch, NEW).tokens.tolist()


# --- repeatability


def test_a_text_is_the_same_alone_in_a_batch_and_again(model):
    batch = [(prompt, seed) for prompt in PROMPTS for seed in (1, 2)]
    together = drawn(LoopDecoder(model), batch)
    assert drawn(LoopDecoder(model), batch) == together
    for row, tokens in zip(batch, together):
        assert drawn(LoopDecoder(model), [row]) == [tokens]


def test_seeds_rows_and_prompts_draw_differently(model):
    first, other, repeated = drawn(LoopDecoder(model), [("first", 1), ("first", 2), ("first", 1)])
    assert first == repeated
    assert first != other
    assert drawn(LoopDecoder(model), [("first", 1)], seed=1) != [first]
    assert not torch.equal(row_shares("first", 1, 0, NEW), row_shares("second", 1, 0, NEW))


def test_a_static_cache_draws_the_same_texts(model):
    batch = [(prompt, 1) for prompt in PROMPTS]
    decoder = CapturedDecoder(model, 3, 5 + NEW)
    assert drawn(decoder, batch) == drawn(LoopDecoder(model), batch)


# --- likelihood and ends


def test_log_likelihood_is_the_loss_of_transformers(model):
    prompt, tokens = [3, 4, 5], [100, 200, 300, 400]
    ids = torch.tensor([prompt + tokens])
    labels = ids.clone()
    labels[:, : len(prompt)] = -100  # not counted
    with torch.inference_mode():
        loss = model(input_ids=ids, labels=labels).loss.item()
    assert log_likelihood(model, prompt, tokens) == pytest.approx(-loss, rel=1e-5)


def test_a_text_ends_with_the_first_token_that_ends_a_sequence(model):
    model.generation_config.eos_token_id = 2
    assert until_end([5, 2, 7, 2], model) == [5, 2]
    assert until_end([5, 6], model) == [5, 6]
    model.generation_config.eos_token_id = [2, 7]
    assert until_end([5, 7, 2], model) == [5, 7]


class Template:
    """A tokenizer with or without a chat template."""

    def __init__(self, chat_template):
        self.chat_template = chat_template

    def __call__(self, text, add_special_tokens=True):
        return type("Encoding", (), {"input_ids": [len(text)]})

    def apply_chat_template(self, messages, add_generation_prompt, return_dict):
        assert add_generation_prompt and not return_dict
        return [1, len(messages[0]["content"]), 2]


def test_a_prompt_is_a_request_where_the_model_takes_requests():
    assert request_ids("Why?", Template("a template")) == [1, 4, 2]
    assert request_ids("Why?", Template(None)) == [4]


def test_prompts_are_distinct_and_there_must_be_enough(tmp_path):
    (tmp_path / "prompts.yaml").write_text("- one\n- two\n- three\n")
    path = str(tmp_path / "prompts.yaml")
    assert sorted(choose_prompts(path, 3, 0)) == ["one", "three", "two"]
    assert choose_prompts(path, 2, 5) == choose_prompts(path, 2, 5)
    with pytest.raises(ConfigError, match="4 prompts asked for, but .* has 3"):
        choose_prompts(path, 4, 0)


# --- a job


def job(folder, strategy):
    return ExperimentConfig(
        model=ModelConfig(name="tiny", source=Source.synthetic, path=str(folder)),
        precision=PrecisionConfig("fp32", Dtype.float32, "plain"),
        attention=AttentionConfig("sdpa", "sdpa"),
        device=Device.cpu,
        experiment=Sampling(
            prompts="config/prompts.yaml", prompt_count=2, seeds=2, new_tokens=NEW, strategy=strategy
        ),
    )


def measured(folder, strategy):
    record = {}
    sampling.measure(job(folder, strategy), CPU, Stages(io.StringIO(), time.time()), record)
    return record


def test_a_job_draws_every_prompt_with_every_seed(model, tmp_path):
    model.save_pretrained(tmp_path)
    greedy, hot = measured(tmp_path, Strategy("greedy", do_sample=False)), measured(tmp_path, HOT)
    for record in (greedy, hot):
        prompts = ["random tokens 1", "random tokens 2"]
        pairs = [(sample["prompt"], sample["seed"]) for sample in record["samples"]]
        assert pairs == [(prompt, seed) for prompt in prompts for seed in (1, 2)]
        # A step per token after the first.
        assert len(record["step_ms"]) == len(record["greedy_step_ms"]) == NEW - 1
    tokens = [sample["tokens"] for sample in greedy["samples"]]
    assert tokens[0] == tokens[1] and tokens[2] == tokens[3]
    # A greedy text is the likeliest that the model can say step by step; a hot one is not.
    assert all(
        one["log_likelihood"] > other["log_likelihood"]
        for one, other in zip(greedy["samples"], hot["samples"])
    )
    assert [sample["tokens"] for sample in measured(tmp_path, HOT)["samples"]] == [
        sample["tokens"] for sample in hot["samples"]
    ]


def test_one_new_token_has_no_step_to_time(tmp_path):
    with pytest.raises(ConfigError, match="experiment.new_tokens is 1"):
        Sampling(new_tokens=1)


# --- the table


def text(prompt, seed, tokens, log_likelihood, words="a b c d"):
    return {
        "prompt": prompt,
        "seed": seed,
        "tokens": tokens,
        "log_likelihood": log_likelihood,
        "text": words,
    }


SAMPLES = [
    text("one", 1, [1, 2, 3, 4], -1.0),
    text("one", 2, [1, 2, 3, 5], -3.0),
    text("two", 1, [1, 2, 1, 2, 1, 2], -2.0),
    text("two", 2, [6, 7], -4.0),
]
RECORD = {"step_ms": [10.0, 24.0, 11.0], "greedy_step_ms": [8.0, 20.0, 10.0], "host_bound": False}


def table_row(source="bundled"):
    [row] = rows({"model": {"source": source}}, RECORD, SAMPLES)
    return row


def test_rows_by_hand():
    row = table_row()
    assert row["texts"] == 4
    # 4 rows each 11 ms; beside each other the steps are 1.25, 1.2 and 1.1 times as long.
    assert row["tokens_per_s"] == pytest.approx(4000 / 11)
    assert row["greedy_tokens_per_s"] == pytest.approx(400)
    assert row["greedy_cost"] == pytest.approx(1.2)
    assert row["tokens_mean"] == 4
    assert row["log_likelihood"] == pytest.approx(-2.5)  # -2 and -3 by prompt
    assert row["log_likelihood_low"] is None  # of 2 prompts
    assert row["distinct_1"] == pytest.approx(7 / 16)
    # 12 23 34, 12 23 35, 12 21 12 21 12, 67: 12 pairs, of which 12 23 34 35 21 67.
    assert row["distinct_2"] == pytest.approx(6 / 12)
    # Runs of 4: one in each of the first two; 1212, 2121, 1212 in the third; none in the fourth.
    assert row["repetition"] == pytest.approx((0 + 0 + 1 / 3) / 3)
    assert row["self_bleu"] == pytest.approx(100)


def test_a_synthetic_model_has_speeds_and_no_text_measures():
    row = table_row("synthetic")
    assert row["greedy_cost"] == pytest.approx(1.2)
    assert not {"log_likelihood", "distinct_1", "distinct_2", "repetition", "self_bleu"} & set(row)


def strategy_rows():
    """Greedy, and top-k in three replicates; greedy is likelier and less varied."""
    own = table_row()
    greedy = own | {
        "strategy": "greedy",
        "cell": "greedy",
        "log_likelihood": -0.5,
        "distinct_2": 0.25,
        "greedy_cost": 1.0,
    }
    top_k = own | {"strategy": "top-k", "cell": "top-k"}
    costs = (1.1, 1.2, 1.1 * 1.1 / 1.2)
    return [
        {**greedy, "precision": "bf16"},
        *(
            {**top_k, "precision": "bf16", "replicate": number, "greedy_cost": cost}
            for number, cost in enumerate(costs, start=1)
        ),
    ]


def texts_of(*cells_and_replicates):
    return pd.DataFrame(
        [
            {"cell": cell, "replicate": replicate, **sample}
            for cell, replicate in cells_and_replicates
            for sample in SAMPLES
        ]
    )


def test_costs_are_geometric_means_of_replicates_with_an_interval():
    own = per_strategy(experiment_table("sampling", strategy_rows())).set_index("strategy")
    assert list(own.index) == ["greedy", "top-k"]
    # 1.1 x 1.2 x 1.1 x 1.1 / 1.2 = 1.1 cubed
    assert own.loc["top-k", "greedy_cost"] == pytest.approx(1.1)
    # logs -+ ln(12 / 11) and 0 about ln 1.1: t(2 df) 4.302653 x s / sqrt(3)
    half = 4.302653 * math.log(12 / 11) / math.sqrt(3)
    assert own.loc["top-k", "greedy_cost_high"] == pytest.approx(1.1 * math.exp(half), rel=1e-6)
    assert pd.isna(own.loc["greedy", "greedy_cost_low"])


def test_the_report_says_likelihood_diversity_cost_and_whether_texts_repeat():
    table = experiment_table("sampling", strategy_rows())
    samples = texts_of(("greedy", 1), ("top-k", 1), ("top-k", 2))
    found = section(table, samples)
    words = "\n".join(found.sentences)
    assert "likeliest (-0.500 nats a token) and those of top-k least (-2.50)" in words
    assert "The most varied are those of top-k (50% of pairs" in words
    assert "top-k ×1.10 (" in words
    assert "greedy against greedy, measured in the same way, gives ×1.00." in words
    assert "8 of 8 texts are the same in all 2 replicates" in words
    samples.at[len(samples) - 1, "tokens"] = [6, 8]
    assert "7 of 8 texts are the same" in "\n".join(section(table, samples).sentences)
    assert [texts.heading.split(": ")[1] for texts in found.texts] == ["“one”", "“two”"]


def test_the_figure_has_a_point_per_strategy_and_none_of_synthetic_models(tmp_path):
    synthetic = {
        **table_row("synthetic"),
        "cell": "random",
        "strategy": "top-k",
        "precision": "bf16",
        "model": "tiny",
        "model_source": "synthetic",
    }
    table = experiment_table("sampling", [*strategy_rows(), synthetic])
    data, words = draw_experiment(
        "sampling", tmp_path, table, texts_of(("greedy", 1)), demo_summary(demo_measurements())
    )
    assert data["strategy"].tolist() == ["greedy", "top-k", "top-k"]
    assert data["log_likelihood"].tolist()[:2] == [-0.5, -2.5]
    assert data["log_likelihood"].isna().tolist() == [False, False, True]
    assert "tiny" not in words
