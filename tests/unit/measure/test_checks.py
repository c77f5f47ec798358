"""Each planted fault is caught before a cell is timed, and the right thing passes."""

import pytest
import torch

from inferbench.device.profiling import StepProfile
from inferbench.engines.captured_decoder import CapturedDecoder
from inferbench.experiments.grid.measure import profile_attention
from inferbench.measure import checks
from inferbench.settings.job import Dtype, PrecisionConfig
from tiny_models import COMPILE, CPU, benchmark_config, engine_with, tiny_llama, unequal_batch

CONFIG = benchmark_config("cuda_graph")


def captured(model, batch, kind=CapturedDecoder):
    return kind(model, len(batch.input_ids), batch.input_ids.shape[1] + 8)


def test_the_right_step_passes_at_two_lengths_on_a_dirty_cache():
    model, batch = tiny_llama(), unequal_batch()
    assert checks.check_logits(model, captured(model, batch), batch, CONFIG) < 1e-3


class WrongMask(CapturedDecoder):
    """Attends the empty slots too, as a static cache without a mask does."""

    def _mask(self):
        return torch.ones_like(super()._mask())


class NoPaddingMask(CapturedDecoder):
    """Forgets which slots are padding."""

    def _mask(self):
        return (self.slots <= self.slot)[None, None, None, :].expand(len(self.padding), -1, -1, -1)


class StaleCache(CapturedDecoder):
    """Does not start anew: a prefill goes behind what the last run left."""

    def prefill(self, batch):
        kept = [layer.cumulative_length.clone() for layer in self.cache.layers]
        token = super().prefill(batch)
        for layer, length in zip(self.cache.layers, kept):
            layer.cumulative_length.copy_(length % 3)
        return token


class NeverReplayed(CapturedDecoder):
    """A step that does nothing: a graph that is not replayed leaves its outputs as they were."""

    def step(self, token):
        return self.token


@pytest.mark.parametrize("fault", [WrongMask, NoPaddingMask, StaleCache, NeverReplayed])
def test_planted_faults_are_caught(fault):
    model, batch = tiny_llama(), unequal_batch()
    with pytest.raises(checks.CheckFailed, match="logits differ"):
        checks.check_logits(model, captured(model, batch, fault), batch, CONFIG)


class BrokenReplay:
    """Stands for a captured graph, which needs a GPU: a replay that moves on without computing."""

    def __init__(self, decoder):
        self.decoder = decoder

    def replay(self):
        self.decoder.token.fill_(7)


def test_replays_that_give_other_tokens_are_caught():
    model, batch = tiny_llama(), unequal_batch()
    decoder = captured(model, batch)
    decoder.graph = BrokenReplay(decoder)
    with pytest.raises(checks.CheckFailed, match="replays of the captured step"):
        checks.check_replay(decoder, batch)


def test_silent_fallback_of_the_attention_is_caught(monkeypatch):
    """A model that says sdpa and computes eager attention."""
    from transformers import AttentionInterface
    from transformers.models.llama.modeling_llama import eager_attention_forward

    model, batch = tiny_llama("sdpa"), unequal_batch()
    _, step = profile_attention(engine_with("loop", model, batch), batch, CPU, CONFIG.attention)
    assert checks.check_attention(step, "sdpa").startswith("sdpa:")

    def quietly_eager(module, query, key, value, mask, **options):
        options.pop("scaling")
        additive = None if mask is None else torch.where(mask, 0.0, torch.finfo(query.dtype).min)
        return eager_attention_forward(module, query, key, value, additive, module.scaling, **options)

    monkeypatch.setitem(AttentionInterface._global_mapping, "sdpa", quietly_eager)
    _, step = profile_attention(engine_with("loop", model, batch), batch, CPU, CONFIG.attention)
    with pytest.raises(checks.CheckFailed, match="attention sdpa asked for, but eager ran"):
        checks.check_attention(step, "sdpa")


def test_eager_attention_is_recognised_and_not_taken_for_sdpa():
    model, batch = tiny_llama("eager"), unequal_batch()
    prefill, step = profile_attention(engine_with("loop", model, batch), batch, CPU, CONFIG.attention)
    assert checks.check_attention(prefill, "eager") == checks.check_attention(step, "eager") == "eager"
    with pytest.raises(checks.CheckFailed, match="flash_attention_2 asked for, but eager ran"):
        checks.check_attention(step, "flash_attention_2")


def test_a_profile_without_attention_is_a_failure():
    with pytest.raises(checks.CheckFailed, match="none ran"):
        checks.check_attention(StepProfile(set(), {}, 0.0, []), "sdpa")


def test_a_dtype_other_than_asked_for_is_a_failure():
    with pytest.raises(checks.CheckFailed, match="bfloat16 asked for, but the model computes in float32"):
        checks.check_dtype(tiny_llama(), benchmark_config(dtype=Dtype.bfloat16))


def test_quantised_in_name_only_is_a_failure():
    nf4 = PrecisionConfig("nf4", Dtype.float32, "bitsandbytes", {"quantisation": "nf4"})
    config = benchmark_config(precision=nf4)
    with pytest.raises(checks.CheckFailed, match="nf4 asked for, but only 0%"):
        checks.check_quantisation(tiny_llama(), config)


def test_compiled_without_a_graph_is_a_failure():
    with pytest.raises(checks.CheckFailed, match="made no graph"):
        checks.check_compiled({"compiled_graphs": 0})
    checks.check_compiled({"compiled_graphs": 1})
    checks.check_compiled({})


def test_compiling_the_model_and_calling_generate_makes_no_graph():
    """The notebook's mistake, which the graph count shows; the project's compiled step does make one."""
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    model, batch = tiny_llama(), unequal_batch()
    compiled = torch.compile(model, backend="aot_eager")
    compiled.generate(batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=3, do_sample=False)
    assert counters["stats"]["unique_graphs"] == 0
    decoder = CapturedDecoder(model, 3, 16, COMPILE)
    decoder.capture(batch)
    assert counters["stats"]["unique_graphs"] == 1
