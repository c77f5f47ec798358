"""The experiment on small checkpoints: what it measures, what it refuses, and what fails it."""

import io

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from inferbench.engines.sequences import GrowingSequence
from inferbench.experiments.speculative import measure as speculative
from inferbench.experiments.speculative.settings import DraftConfig, DraftMethod
from inferbench.experiments.speculative.settings import Settings as Speculative
from inferbench.experiments.speculative.table import rows
from inferbench.measure.checks import CheckFailed
from inferbench.measure.stages import Stages
from inferbench.settings.experiment import ExperimentConfig
from inferbench.settings.job import (
    AttentionConfig,
    Dtype,
    ExecutionConfig,
    ModelConfig,
    PrecisionConfig,
    Source,
)
from inferbench.settings.outcomes import Unsupported
from inferbench.settings.strategy import Strategy
from tiny_models import CPU, perturbed, tiny_llama, word_tokenizer

FP32 = PrecisionConfig("fp32", Dtype.float32, "plain")
NEW = 24


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A model, and a draft that is nearly it."""
    folder = tmp_path_factory.mktemp("models")
    tiny_llama().save_pretrained(folder / "main")
    perturbed(tiny_llama(), 0.005).save_pretrained(folder / "draft")
    return folder


def model(folder, name):
    return ModelConfig(name, Source.checkpoint, str(folder / name))


def configuration(folder, draft, do_sample=False, precision=FP32):
    return ExperimentConfig(
        model=model(folder, "main"),
        precision=precision,
        attention=AttentionConfig("sdpa", "sdpa"),
        execution=ExecutionConfig("loop", "loop"),
        output="-",
        cpu_threads=1,
        experiment=Speculative(
            prompts="config/prompts.yaml",
            prompt_count=2,
            prompt_tokens=8,
            new_tokens=NEW,
            draft_tokens=3,
            draft=draft,
            strategy=Strategy("some", do_sample=do_sample),
        ),
    )


def measured(config):
    record = {}
    speculative.measure(config, CPU, Stages(io.StringIO(), 0.0), record)
    return record


def drafts(folder):
    return {
        "model": DraftConfig("small", DraftMethod.model, model(folder, "draft"), FP32),
        "copy": DraftConfig("copy", DraftMethod.model, None, FP32),
        "lookup": DraftConfig("lookup", DraftMethod.prompt_lookup),
    }


@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize("draft", ["model", "copy", "lookup"])
def test_a_job_measures_both_modes_on_the_same_prompts(checkpoints, draft, do_sample):
    record = measured(configuration(checkpoints, drafts(checkpoints)[draft], do_sample))
    samples = record["samples"]
    assert sorted((one["prompt"], one["mode"]) for one in samples) == [
        (prompt, mode) for prompt in (0, 1) for mode in ("plain", "speculative")
    ]
    assert {len(one["tokens"]) for one in samples} == {NEW}
    assert all(one["decode_ms"] > 0 for one in samples)
    assert record["host_bound"] is False  # a processor has no launches to be bound by
    settings = {"draft_tokens": 3, "strategy": {"do_sample": do_sample}}
    [row] = rows({"experiment": settings}, record, samples)
    if not do_sample:
        assert row["equal_texts"] == 1
    if draft == "copy":
        # The draft is the model itself: all is kept, by the sampling rule too.
        assert row["acceptance"] == 1
        assert row["tokens_per_pass"] == 4
    if draft == "lookup":
        assert row["draft_passes"] == 0
        assert row["draft_weight_bytes"] is None
    else:
        assert row["draft_weight_bytes"] == record["weight_bytes"]


def test_draws_differ_between_replicates_and_repeat_in_one(checkpoints):
    def texts(replicate):
        config = configuration(checkpoints, drafts(checkpoints)["model"], do_sample=True)
        config.replicate = replicate
        return [one["tokens"] for one in measured(config)["samples"]]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)


def test_a_greedy_text_that_leaves_the_plain_one_fails_the_job():
    main = GrowingSequence(tiny_llama())
    prompts = torch.tensor([[5, 6, 7, 8]])
    plain = []
    for _ in range(4):
        logits = main.prefill(torch.cat([prompts[0], torch.tensor(plain, dtype=torch.long)]))
        plain.append(logits[0].argmax().item())

    def samples(speculative):
        return [
            {"prompt": 0, "mode": "plain", "tokens": plain},
            {"prompt": 0, "mode": "speculative", "tokens": speculative},
        ]

    speculative.require_equal_texts(main, prompts, samples(plain))
    with pytest.raises(CheckFailed, match="prompt 0: greedy speculation leaves plain decoding at token 2"):
        speculative.require_equal_texts(main, prompts, samples([*plain[:2], plain[2] + 1, plain[3]]))


def test_a_draft_with_another_tokenizer_is_unsupported_before_any_weights_load(tmp_path):
    for name, words in {"main": ("a", "b"), "draft": ("a", "c")}.items():
        tokenizer: PreTrainedTokenizerFast = word_tokenizer(*words)
        tokenizer.save_pretrained(tmp_path / name)
    with pytest.raises(Unsupported, match="draft cannot be the draft of main: .*token 1 is 'b' for main"):
        measured(configuration(tmp_path, drafts(tmp_path)["model"]))
