"""Cells of models that are no Llama: measured, with the numbers that are known of them, or refused in a sentence."""

import io
import json
import time

import pytest
import torch
from transformers import AutoConfig

from experiment_jobs import experiment_config
from inferbench.engines.captured_decoder import CapturedDecoder
from inferbench.engines.decoding import LoopDecoder, decode
from inferbench.experiments.grid import measure as cell
from inferbench.experiments.kv_cache import measure as kv_cache
from inferbench.experiments.kv_cache.settings import Cache
from inferbench.experiments.kv_cache.settings import Settings as KvCache
from inferbench.experiments.kv_cache.table import rows
from inferbench.experiments.speculative import measure as speculative
from inferbench.measure.stages import Stages
from inferbench.models import facts, load, memory
from inferbench.settings.job import Dtype, Lengths
from inferbench.settings.outcomes import NotKnown, Unsupported, known
from inferbench.tables.derive import measurement
from small_models import BATCH, EAGER, NEW, PROMPT, prompts, small_cell, small_config, small_model
from tiny_models import COMPILE, CPU, benchmark_config, generated

GENERATE, LOOP, COMPILED = "generate", "loop", "compiled"
CEILINGS = {"copy_bandwidth_gb_s": 10.0, "matmul_tflop_s": 0.1}
PROVENANCE = {
    "started_at": "2026-01-05T10:00:00.000+00:00",
    "ended_at": "2026-01-05T10:00:01.000+00:00",
    "config": {"model": {"source": "synthetic"}, "batch_size": BATCH},
}


@pytest.fixture(autouse=True)
def known_ceilings(monkeypatch):
    """Nothing here is about how fast this machine is."""
    monkeypatch.setattr(cell, "measure_ceilings", lambda device: CEILINGS)
    torch._dynamo.reset()


def measured(config):
    """(record, row of measurements) of a cell, as its file keeps them."""
    record = {}
    cell.measure(config, CPU, Stages(io.StringIO(), time.time()), record)
    record = json.loads(json.dumps({**record, "status": "ok"}))
    row = measurement(PROVENANCE, record, record["iterations"])
    return record, row | {"not_known": json.loads(row["not_known"] or "{}")}


@pytest.mark.parametrize(
    ("kind", "mode", "unknown"),
    [
        ("gpt2", LOOP, set()),
        ("opt", GENERATE, set()),
        ("bloom", LOOP, set()),
        ("falcon", LOOP, set()),
        ("gpt_bigcode", GENERATE, set()),
        ("gpt_neo", LOOP, {"prefill_mfu"}),
        ("gemma3_text", GENERATE, {"prefill_mfu"}),
        ("deepseek_v3", LOOP, {"prefill_mfu"}),
        ("mamba", GENERATE, {"prefill_mfu", "predicted_bytes"}),
        ("mamba", LOOP, {"prefill_mfu", "predicted_bytes"}),
        ("lfm2", LOOP, {"prefill_mfu", "predicted_bytes"}),
        ("qwen3_next", GENERATE, {"prefill_mfu", "predicted_bytes"}),
        ("granitemoehybrid", LOOP, {"prefill_mfu", "predicted_bytes"}),
        ("recurrent_gemma", LOOP, {"prefill_mfu", "predicted_bytes", "decode_mbu", "kv_cache_bytes"}),
    ],
)
def test_a_cell_has_every_number_but_those_that_it_says_are_not_known(kind, mode, unknown, tmp_path):
    small_model(kind).save_pretrained(tmp_path)
    _, row = measured(small_cell(kind, tmp_path, mode))
    columns = {"kv_cache_bytes", "decode_mbu", "prefill_mfu", "predicted_bytes", "tpot_ms", "ttft_ms"}
    assert {name for name in columns if row.get(name) is None} == unknown == set(row["not_known"])
    if "kv_cache_bytes" not in unknown:
        shape = facts.model_shape(small_config(kind))
        assert row["kv_cache_bytes"] == shape.cache(BATCH, PROMPT + NEW - 1).kept
        assert row["kv_cache_formula_bytes"] in (None, row["kv_cache_bytes"])


def test_a_step_reads_of_a_window_what_it_keeps(tmp_path):
    model = small_model("gemma3_text")
    model.save_pretrained(tmp_path)
    config = small_cell("gemma3_text", tmp_path, LOOP)
    config.workload.lengths = Lengths.equal
    _, row = measured(config)
    # At the mean context of 48 + 16 / 2 tokens 3 layers keep 15 and one all, of 2 x 2 heads x 16 x 4 bytes.
    cache = BATCH * (3 * 15 + 56) * 256
    step_bytes = row["decode_weight_bytes"] + cache
    assert row["decode_mbu"] == pytest.approx(step_bytes / (row["tpot_ms"] / 1e3) / 10e9)
    assert row["kv_cache_bytes"] == BATCH * (3 * 15 + 63) * 256
    assert row["kv_cache_formula_bytes"] is None


def gemma_3_27b(layers, batch_size, prompt, new):
    """(predicted bytes, bytes of its weights) in bf16 of that many of its layers, with a smaller vocabulary."""
    config = AutoConfig.for_model(
        "gemma3_text",
        num_hidden_layers=layers,
        hidden_size=5376,
        intermediate_size=21504,
        num_attention_heads=32,
        num_key_value_heads=16,
        head_dim=128,
        sliding_window=1024,
        vocab_size=32000,
    )
    shape = facts.model_shape(config, torch.bfloat16)
    cell_config = benchmark_config(dtype=Dtype.bfloat16, batch_size=batch_size)
    cell_config.workload.prompt_tokens, cell_config.workload.new_tokens = prompt, new
    weights = 2 * sum(parameter.numel() for parameter in shape.model.parameters())
    return memory.predict_bytes(cell_config, shape, CPU), weights


@pytest.mark.parametrize(
    ("batch_size", "prompt", "seen"), [(4, 16384, 18.00e9), (16, 4096, 17.74e9), (16, 16384, 71.15e9)]
)
def test_a_prompt_beyond_the_window_is_predicted_as_it_is_held_while_it_is_read(batch_size, prompt, seen):
    """seen: what torch had allocated at most beside the weights on an H200 (torch 2.11, transformers 5.17). The cache keeps
    windows as views of the whole prompt's keys: 25.8 GB of the 71.15 until the first step, and 5.6 from then on."""
    predicted, weights = gemma_3_27b(12, batch_size, prompt, 2)
    assert predicted - weights == pytest.approx(seen, rel=0.02)


def test_what_is_generated_beyond_the_window_is_predicted_as_it_is_kept():
    short, long = (gemma_3_27b(12, 16, 1024, new)[0] for new in (16384, 65536))
    # Only the two layers without a window keep the more tokens: 2 x 16 heads x 128 x 2 bytes each.
    assert long - short == 16 * (65536 - 16384) * 2 * 8192


@pytest.mark.parametrize("kind", ["mistral", "gpt_oss", "cohere2", "llama4_text", "gemma3_text"])
def test_no_step_over_a_window_is_captured_and_none_is_loaded_for_it(kind, tmp_path, monkeypatch):
    small_model(kind).save_pretrained(tmp_path)
    monkeypatch.setattr(load, "load_model", lambda *_: pytest.fail("weights were loaded"))
    with pytest.raises(
        Unsupported, match="layers keep a sliding window or a state .*StaticSlidingWindowLayer"
    ):
        measured(small_cell(kind, tmp_path, COMPILED))


@pytest.mark.parametrize(
    "kind", ["mamba", "lfm2", "qwen3_next", "recurrent_gemma", "granitemoehybrid", "falcon_h1", "bloom"]
)
def test_no_step_over_a_state_is_captured_and_none_is_loaded_for_it(kind, tmp_path, monkeypatch):
    small_model(kind).save_pretrained(tmp_path)
    monkeypatch.setattr(load, "load_model", lambda *_: pytest.fail("weights were loaded"))
    with pytest.raises(
        Unsupported, match="position of its token" if kind in ("mamba", "bloom") else "or a state"
    ):
        measured(small_cell(kind, tmp_path, COMPILED))


@pytest.mark.parametrize("kind", ["mistral", "gemma3_text", "gpt_oss", "llama4_text"])
def test_a_window_that_the_whole_cache_fits_into_is_none(kind):
    window = "attention_chunk_size" if kind == "llama4_text" else "sliding_window"
    model, batch = small_model(kind, **{window: PROMPT + NEW}), prompts()
    decoder = CapturedDecoder(model, BATCH, PROMPT + NEW, COMPILE)
    decoder.capture(batch)
    expected = generated(model, batch, NEW).tokens
    for _ in range(2):
        assert torch.equal(decode(decoder, batch, NEW).tokens, expected)


def test_latent_attention_whose_values_are_narrower_is_captured():
    model, batch = small_model("deepseek_v3"), prompts()
    decoder = CapturedDecoder(model, BATCH, PROMPT + NEW, COMPILE)
    decoder.capture(batch)
    assert torch.equal(decode(decoder, batch, NEW).tokens, generated(model, batch, NEW).tokens)


@pytest.mark.parametrize("kind", ["mistral", "lfm2", "mamba", "recurrent_gemma"])
def test_steps_that_cannot_be_taken_back_are_not_timed_unread_and_that_is_said(kind):
    decoder = LoopDecoder(small_model(kind))
    config = small_cell(kind, "", LOOP)
    record = {}
    with known(record, "tpot_unread_ms"):
        record |= cell.time_unread(decoder, prompts(), config)
    assert list(record) == ["not_known"]
    assert "cannot be decoded again" in record["not_known"]["tpot_unread_ms"]
    # A prefill puts it right.
    expected = generated(decoder.model, prompts(), NEW).tokens
    assert torch.equal(decode(decoder, prompts(), NEW).tokens, expected)


def kv_job(kind, cache, folder):
    small_model(kind).save_pretrained(folder)
    settings = KvCache(prompts="config/prompts.yaml", cache=cache, lengths=[8, 48], steps=3)
    record = {}
    config = experiment_config(settings, folder, "eager" if kind in EAGER else "sdpa")
    kv_cache.measure(config, CPU, Stages(io.StringIO(), time.time()), record)
    return rows({"experiment": {"cache": cache.value}}, record, record["samples"])


def test_the_experiment_of_caches_has_no_formula_for_a_window(tmp_path):
    short, long = kv_job("mistral", Cache.dynamic, tmp_path)
    # 4 layers x 2 x 2 heads x 16 x 4 bytes a token, of at most 15
    assert (short["cache_bytes"], long["cache_bytes"]) == (11 * 1024, 15 * 1024)
    assert short["cache_formula_bytes"] is None and long["cache_formula_bytes"] is None


def test_the_experiment_of_caches_has_no_static_one_of_a_window(tmp_path):
    with pytest.raises(Unsupported, match="sliding window"):
        kv_job("mistral", Cache.static, tmp_path)


def test_nothing_is_speculated_over_a_state():
    with pytest.raises(Unsupported, match="cannot be undone"):
        speculative.make_sequence(small_model("lfm2"), 64, captured=False)


def test_a_number_that_is_not_known_leaves_the_rest():
    record = {}
    with known(record, "predicted_bytes", "decode_mbu"):
        raise NotKnown("why")
    assert record == {"not_known": {"predicted_bytes": "why", "decode_mbu": "why"}}
