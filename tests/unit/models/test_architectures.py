"""What a model's own class asks for: attention that it refuses, parameters that it keeps in float32."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from checkpoints import cell_of, outcome
from experiment_jobs import experiment_config
from inferbench.engines.captured_decoder import CapturedDecoder
from inferbench.experiments.speculative.settings import DraftConfig, DraftMethod, Settings
from inferbench.measure import checks
from inferbench.models.facts import load_config
from inferbench.models.load import load_model
from inferbench.settings.job import Dtype, ModelConfig, PrecisionConfig, Source
from inferbench.settings.outcomes import Unsupported
from tiny_models import CPU, benchmark_config, tiny_llama, unequal_batch

SMALL = {
    "vocab_size": 512,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "initializer_range": 0.1,
    "pad_token_id": 0,
}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 64}
#: Without windows, which a captured step is another matter with.
FULL = {"layer_types": ["full_attention", "full_attention"]}
SHAPES = {
    "gpt_oss": {**HEADS, **FULL, "num_local_experts": 4, "num_experts_per_tok": 2},
    "gemma2": {**HEADS, **FULL, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 2.0},
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global"], 2]]},
    "ernie4_5_moe": {**HEADS, "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 64},
}
FP16 = PrecisionConfig("fp16", Dtype.float16, "plain")
BF16 = PrecisionConfig("bf16", Dtype.bfloat16, "plain")
FP32 = PrecisionConfig("fp32", Dtype.float32, "plain")


def made(kind):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SMALL, **SHAPES[kind]})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in SHAPES}
    for kind, folder in folders.items():
        made(kind).to(torch.bfloat16).save_pretrained(folder)
    return folders


@pytest.mark.parametrize(
    ("kind", "precision", "expected"),
    [
        # transformers keeps the norms of gpt-oss in float32 in float16 alone, and this router always.
        ("gpt_oss", FP16, "float16+float32"),
        ("gpt_oss", BF16, "bfloat16"),
        ("ernie4_5_moe", BF16, "bfloat16+float32"),
    ],
)
def test_what_a_class_keeps_in_float32_is_no_failure(saved, kind, precision, expected):
    status, reason, record = outcome(cell_of(saved[kind], precision, attention="eager"))
    assert (status, reason) == ("ok", None)
    assert record["effective_dtype"] == expected


@pytest.mark.parametrize(
    ("kind", "precision"), [("gpt_oss", FP16), ("gpt_oss", BF16), ("ernie4_5_moe", BF16)]
)
def test_any_other_float32_is_one(saved, kind, precision):
    config = cell_of(saved[kind], precision, attention="eager")
    model = load_model(config, CPU)
    checks.check_dtype(model, config)
    model.model.layers[1].self_attn.q_proj.float()
    with pytest.raises(checks.CheckFailed, match=f"{precision.dtype.value} asked for, but .*float32"):
        checks.check_dtype(model, config)


def test_the_norms_of_gpt_oss_may_not_be_float32_in_bfloat16(saved):
    config = cell_of(saved["gpt_oss"], BF16, attention="eager")
    model = load_model(config, CPU)
    model.model.norm.float()
    with pytest.raises(checks.CheckFailed):
        checks.check_dtype(model, config)


@pytest.mark.parametrize("kind", ["gpt_oss", "gemma2"])
def test_a_captured_step_is_held_against_an_attention_that_the_model_has(kind):
    model, batch = made(kind), unequal_batch()
    decoder = CapturedDecoder(model, 3, batch.input_ids.shape[1] + 8)
    error = checks.check_logits(model, decoder, batch, benchmark_config("cuda_graph", "eager"))
    assert error < 1e-5


class Forgetful(CapturedDecoder):
    """Attends empty slots and padding."""

    def _mask(self):
        return torch.zeros_like(super()._mask())


@pytest.mark.parametrize("kind", ["gpt_oss", "gemma2"])
def test_a_wrong_step_of_such_a_model_is_still_caught(kind):
    model, batch = made(kind), unequal_batch()
    decoder = Forgetful(model, 3, batch.input_ids.shape[1] + 8)
    with pytest.raises(checks.CheckFailed, match="logits differ"):
        checks.check_logits(model, decoder, batch, benchmark_config("cuda_graph", "eager"))


@pytest.mark.parametrize("kind", ["gpt_oss", "gemma2"])
def test_sdpa_of_a_model_that_refuses_it_is_unsupported(saved, kind):
    status, reason, _ = outcome(cell_of(saved[kind]))
    assert status == "unsupported"
    assert "does not support sdpa" in reason and "ask for another attention" in reason
    assert len(reason) < 150 and "http" not in reason


@pytest.mark.parametrize(
    ("kind", "attention"),
    [
        ("gpt_neo", "sdpa"),
        ("gpt_neo", "flex_attention"),
        # It takes the FlashAttention of others, which transformers would silently take instead.
        ("gpt_oss", "flash_attention_2"),
    ],
)
def test_an_attention_is_refused_before_weights_load(saved, kind, attention):
    with pytest.raises(Unsupported, match=f"does not support {attention}"):
        load_config(cell_of(saved[kind], attention=attention))


def test_a_quantised_model_may_keep_float32_too(saved):
    nf4 = PrecisionConfig("nf4", Dtype.float16, "bitsandbytes", {"quantisation": "nf4"})
    config = cell_of(saved["gpt_oss"], nf4, attention="eager")
    assert checks.check_dtype(load_model(config, CPU), config) == "float16+float32 (nf4)"


def test_a_draft_whose_class_refuses_the_attention_is_refused_too(saved, tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    drafting = ModelConfig("some-draft", Source.checkpoint, str(saved["gemma2"]))
    settings = Settings(
        prompts="config/prompts.yaml", prompt_count=1, prompt_tokens=8, new_tokens=4, draft_tokens=2,
        draft=DraftConfig("draft", DraftMethod.model, drafting, FP32),
    )  # fmt: skip
    config = experiment_config(settings, tmp_path)
    status, reason, record = outcome(config, "speculative")
    assert (status, "weight_bytes" in record) == ("unsupported", False)
    assert "Gemma2ForCausalLM does not support sdpa" in reason
