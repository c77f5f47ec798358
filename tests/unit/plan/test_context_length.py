"""What a model can hold is told by its config: compared with the models that transformers makes of such configs."""

import io
import json
import time

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, Phi3Config

from inferbench.engines.decoding import LoopDecoder, decode
from inferbench.experiments.grid import measure as cell
from inferbench.measure.reasons import unsupported_reason
from inferbench.measure.stages import Stages
from inferbench.models.prompts import pad_left
from inferbench.plan.context_length import (
    CHECK_STEPS,
    TABLES,
    beyond_context,
    changing_reason,
    checkpoint_config,
    host_rotary_reason,
    runs_of,
    too_long_reason,
)
from inferbench.run import worker
from inferbench.settings.job import MeasureConfig, ModelConfig, Source
from inferbench.settings.outcomes import Unsupported
from inferbench.tables.derive import measurement
from tiny_models import CPU, benchmark_config, generated, tiny_llama

#: Two small layers with four heads, under the names that each family gives them.
SMALL = {
    "n_layer": 2, "num_layers": 2, "num_hidden_layers": 2, "n_head": 4, "num_heads": 4, "num_attention_heads": 4,
    "n_embd": 32, "hidden_size": 32, "word_embed_proj_dim": 32, "dff": 32, "ffn_dim": 32, "intermediate_size": 32,
    "rotary_dim": 8, "vocab_size": 64, "attention_types": [[["global"], 2]],
}  # fmt: skip


def small(model_type, positions):
    """A model of this type with a table of so many positions, and its config.json."""
    known = AutoConfig.for_model(model_type).to_dict()
    names = {**AutoConfig.for_model(model_type).attribute_map, "n_positions": "n_positions"}
    given = {name: value for name, value in SMALL.items() if name in known}
    key = names.get("max_position_embeddings", "max_position_embeddings")
    made = AutoConfig.for_model(model_type, **given, **{key: positions})
    return AutoModelForCausalLM.from_config(made).eval(), json.loads(made.to_json_string())


def forward(model, tokens):
    with torch.inference_mode():
        model(torch.zeros(1, tokens, dtype=torch.long), position_ids=torch.arange(tokens)[None])


@pytest.mark.parametrize("model_type", sorted(TABLES))
def test_a_table_of_positions_ends_where_the_config_says(model_type):
    model, config = small(model_type, 24)
    forward(model, 24)
    with pytest.raises((IndexError, RuntimeError)):
        forward(model, 25)
    assert too_long_reason(config, [(8, 16)]) is None
    assert too_long_reason(config, [(4, 6), (9, 16)]) == (
        "the model has 24 positions, and 25 are asked for (prompt and new tokens)"
    )


@pytest.mark.parametrize("model_type", sorted(TABLES))
def test_what_a_config_leaves_out_is_what_transformers_takes(model_type):
    positions = AutoConfig.for_model(model_type).max_position_embeddings
    assert too_long_reason({"model_type": model_type}, [(positions, 0)]) is None
    assert too_long_reason({"model_type": model_type}, [(positions, 1)]) is not None


def test_a_config_of_several_parts_is_read_where_it_speaks_of_text():
    nested = {"model_type": "some-vl", "text_config": {"model_type": "opt", "max_position_embeddings": 32}}
    assert too_long_reason(nested, [(32, 6)]) is not None
    assert beyond_context({"text_config": {"max_position_embeddings": 32}}, 33)


@pytest.mark.parametrize("config", [{"model_type": "bloom"}, {"model_type": "mamba"}, {}])
def test_what_states_no_context_has_none(config):
    assert changing_reason(config, [(10**6, 10**6)]) is host_rotary_reason(config) is None
    assert not beyond_context(config, 10**6)


def test_a_scaled_context_is_as_long_as_its_scale():
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 100}
    for key in ("rope_parameters", "rope_scaling"):
        assert not beyond_context({"max_position_embeddings": 100, key: yarn}, 400)
        assert beyond_context({"max_position_embeddings": 100, key: yarn}, 401)
    # one set of parameters for each type of layer, as Gemma 3 has
    by_layer = {"rope_parameters": {"full_attention": yarn, "sliding_attention": {"rope_type": "default"}}}
    assert not beyond_context({"max_position_embeddings": 100, **by_layer}, 400)


def test_runs_are_what_a_job_asks_for():
    assert runs_of({"prompt_tokens": 128, "new_tokens": 16, "lengths": "unequal"}) == [(128, 16)]
    assert runs_of({"prompt_tokens": 128, "new_tokens": 2}) == [(128, CHECK_STEPS)]
    assert runs_of({"prompt_tokens": 32, "new_tokens": 48, "draft_tokens": 4}) == [(32, 52)]
    assert runs_of({"lengths": [64, 512], "steps": 9}) == [(64, 10), (512, 10)]
    assert runs_of({"window_tokens": 512, "new_tokens": 48}) == [(512, 0)]
    assert runs_of({"batch_size": 4, "new_tokens": 24}) == []


# --- frequencies that change


def with_rope(kind):
    """A model whose frequencies change beyond 24 tokens."""
    torch.manual_seed(0)
    rope = {"rope_type": kind, "rope_theta": 10000.0, "factor": 4.0}
    common = {
        "num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 256, "vocab_size": 512, "initializer_range": 0.1, "tie_word_embeddings": False,
        "pad_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip
    if kind == "longrope":
        rope |= {"long_factor": [4.0] * 16, "short_factor": [1.0] * 16}
        limits = {"max_position_embeddings": 96, "original_max_position_embeddings": 24}
        config = Phi3Config(**common, **limits, rope_parameters=rope)
    else:
        config = LlamaConfig(**common, max_position_embeddings=24, rope_parameters=rope)
    return AutoModelForCausalLM.from_config(config).eval()


def prompts(tokens):
    generator = torch.Generator().manual_seed(tokens)
    rows = [torch.randint(2, 512, (length,), generator=generator).tolist() for length in (tokens, tokens - 2)]
    return pad_left(rows, padding=0, device=CPU)


@pytest.mark.parametrize("kind, prompt", [("longrope", 16), ("dynamic", 30)])
def test_decoding_across_a_change_of_frequencies_is_refused_since_it_is_not_what_generate_does(
    tmp_path, kind, prompt
):
    model = with_rope(kind)
    loop = decode(LoopDecoder(model), prompts(prompt), 16).tokens
    assert not torch.equal(loop, generated(model, prompts(prompt), 16).tokens)
    model.save_pretrained(tmp_path)
    config = checkpoint_config(tmp_path)
    reason = changing_reason(config, [(prompt, 16)])
    assert f"change beyond 24 tokens ({kind})" in reason


@pytest.mark.parametrize("kind, prompt", [("longrope", 6), ("longrope", 30), ("dynamic", 6)])
def test_decoding_on_one_side_of_it_is_what_generate_does(tmp_path, kind, prompt):
    model = with_rope(kind)
    loop = decode(LoopDecoder(model), prompts(prompt), 16).tokens
    assert torch.equal(loop, generated(model, prompts(prompt), 16).tokens)
    model.save_pretrained(tmp_path)
    config = checkpoint_config(tmp_path)
    assert changing_reason(config, [(prompt, 16)]) is None


def test_older_names_of_the_same():
    phi = {"model_type": "phi3", "max_position_embeddings": 96, "original_max_position_embeddings": 24}
    for name in ("longrope", "su"):
        scaled = {**phi, "rope_scaling": {"type": name, "long_factor": [4.0]}}
        assert "24 tokens" in changing_reason(scaled, [(16, 16)])
    assert changing_reason({**phi, "rope_scaling": None}, [(16, 16)]) is None


def test_a_step_that_looks_at_its_length_is_not_captured():
    dynamic = {"max_position_embeddings": 24, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}
    assert "cannot be captured" in host_rotary_reason(dynamic)


# --- a cell


def asked(folder, prompt_tokens, new_tokens=6, mode="loop"):
    config = benchmark_config(mode, measure=MeasureConfig(min_iterations=1, max_iterations=1, min_seconds=0))
    config.model = ModelConfig(name="own", source=Source.checkpoint, path=str(folder))
    config.workload.prompt_tokens, config.workload.new_tokens = prompt_tokens, new_tokens
    return config


@pytest.fixture
def quick(monkeypatch):
    """Ceilings take seconds to measure."""
    monkeypatch.setattr(
        cell, "measure_ceilings", lambda device: {"copy_bandwidth_gb_s": 1.0, "matmul_tflop_s": 1.0}
    )


def stages():
    return Stages(io.StringIO(), time.time())


@pytest.mark.parametrize("mode", ["loop", "generate"])
def test_a_cell_beyond_the_positions_is_unsupported_before_anything_loads(tmp_path, mode):
    model, _ = small("gpt2", 24)
    model.config.save_pretrained(tmp_path)  # and no weights
    with pytest.raises(Unsupported, match="the model has 24 positions, and 26 are asked for"):
        worker.measure("grid", asked(tmp_path, 20, mode=mode), stages(), {})
    assert unsupported_reason(asked(tmp_path, 18, mode=mode), CPU) is None


def test_a_rotary_model_beyond_its_context_is_measured_and_noted(tmp_path, quick):
    model = tiny_llama()
    model.config.max_position_embeddings = 16
    model.save_pretrained(tmp_path)
    for prompt, flags in ((10, []), (11, ["beyond_context"])):
        record = {"status": "ok"}
        cell.measure(asked(tmp_path, prompt), CPU, stages(), record)
        assert [flag for flag in record["flags"] if flag != "unstable"] == flags
        about = {"config": {"model": {"source": "checkpoint"}, "batch_size": 1}, "started_at": "2026-01-01"}
        about["ended_at"] = about["started_at"]
        record["flags"] = flags  # a busy machine may have made it unstable
        assert measurement(about, record, record["iterations"])["valid"]
