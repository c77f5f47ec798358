"""A checkpoint that is quantised already is measured as what it is, or refused in a sentence, never relabelled."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

from checkpoints import cell_of, edit, outcome, save_bitsandbytes, save_fp8
from inferbench.experiments.quality import settings as quality_settings
from inferbench.experiments.speculative.settings import DraftConfig, DraftMethod
from inferbench.experiments.speculative.settings import Settings as Speculative
from inferbench.measure import checks
from inferbench.models.load import load_model
from inferbench.models.weights import quantised_share, weight_bytes
from inferbench.settings.experiment import ExperimentConfig
from inferbench.settings.faults import is_fault
from inferbench.settings.job import Dtype, ModelConfig, PrecisionConfig, Source
from tiny_models import CPU, attention_config, benchmark_config, execution, tiny_llama, unequal_batch


def quantised(name, dtype, quantisation, **options):
    return PrecisionConfig(name, dtype, "bitsandbytes", {"quantisation": quantisation, **options})


BF16 = PrecisionConfig("bf16", Dtype.bfloat16, "plain")
NF4 = quantised("nf4", Dtype.bfloat16, "nf4")
NF4_DOUBLE = quantised("nf4-double", Dtype.bfloat16, "nf4", double_quantisation=True)
NF4_FP32 = quantised("nf4-fp32", Dtype.float32, "nf4")
FP4 = quantised("fp4", Dtype.bfloat16, "fp4")
INT8 = quantised("int8", Dtype.bfloat16, "int8")
INT8_FP16 = quantised("int8-fp16", Dtype.float16, "int8")
INT8_ALL = quantised("int8-threshold0", Dtype.bfloat16, "int8", outlier_threshold=0.0)
#: What bitsandbytes was told when each of these was saved.
FOUR_BIT = {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.bfloat16}
SAVED = {
    "nf4": {**FOUR_BIT, "bnb_4bit_quant_type": "nf4"},
    "nf4-double": {**FOUR_BIT, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "int8": {"load_in_8bit": True},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder of a checkpoint by what it is."""
    folders = {name: tmp_path_factory.mktemp(name) for name in (*SAVED, "fp8", "plain")}
    for name, settings in SAVED.items():
        save_bitsandbytes(folders[name], **settings)
    save_fp8(folders["fp8"])
    tiny_llama(dtype=torch.bfloat16).save_pretrained(folders["plain"])
    return folders


@pytest.mark.parametrize(
    ("checkpoint", "precision", "it_is"),
    [
        ("fp8", BF16, "fine-grained FP8"),
        ("fp8", NF4, "fine-grained FP8"),
        ("nf4", FP4, "quantisation nf4"),
        ("nf4", BF16, "quantisation nf4"),
        ("nf4", NF4_DOUBLE, "double_quantisation false"),
        ("nf4-double", NF4, "double_quantisation true"),
        ("nf4", NF4_FP32, "dtype bfloat16"),
        ("int8", NF4, "quantisation int8"),
        ("int8", INT8_ALL, "outlier_threshold 6.0"),
        ("int8", INT8_FP16, "dtype of other weights bfloat16"),
    ],
)
def test_a_checkpoint_that_is_something_else_is_refused_before_anything_loads(
    saved, monkeypatch, checkpoint, precision, it_is
):
    monkeypatch.setattr(
        AutoModelForCausalLM, "from_pretrained", lambda *a, **k: pytest.fail("weights loaded")
    )
    status, reason, _ = outcome(cell_of(saved[checkpoint], precision))
    assert status == "unsupported"
    for words in ("some-model", it_is, f"precision {precision.name} was asked for", "unquantised checkpoint"):
        assert words in reason
    assert "checkpoint:" not in reason and "None" not in reason and reason.count(". ") == 0


@pytest.mark.parametrize(
    ("quantisation", "it_is"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "GPTQ, 4 bit"),
        ({"quant_method": "awq", "bits": 4, "version": "gemm"}, "AWQ, 4 bit"),
        ({"quant_method": "compressed-tensors", "format": "float-quantized"}, "compressed-tensors"),
        ({"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}, "MXFP4"),
        (
            {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}}},
            "torchao",
        ),
        ({"quant_method": "of-tomorrow"}, "of-tomorrow"),
        ({"bits": 3}, "a method that it does not name, 3 bit"),
        ({}, "a method that it does not name"),
    ],
)
@pytest.mark.parametrize("place", ["its own", "text_config", "compression_config"])
def test_every_format_is_refused_wherever_the_config_names_it(tmp_path, quantisation, it_is, place):
    tiny_llama().save_pretrained(tmp_path)
    nested = {"text_config": {"model_type": "llama", "quantization_config": quantisation}}
    own = {"its own": {"quantization_config": quantisation}, "compression_config": {place: quantisation}}
    edit(tmp_path, **own.get(place, nested))
    status, reason, _ = outcome(cell_of(tmp_path, BF16))
    assert status == "unsupported"
    assert it_is in reason and "bf16" in reason and "unquantised checkpoint" in reason


def test_a_config_whose_quantisation_is_null_is_of_plain_weights(tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "quantization_config": None}))
    assert outcome(cell_of(tmp_path))[0] == "ok"


@pytest.mark.parametrize(
    ("checkpoint", "precision"), [("nf4", NF4), ("nf4-double", NF4_DOUBLE), ("int8", INT8)]
)
def test_a_checkpoint_of_bitsandbytes_is_measured_as_itself(saved, checkpoint, precision):
    status, reason, record = outcome(cell_of(saved[checkpoint], precision))
    assert (status, reason) == ("ok", None)
    assert record["quantised_share"] == 1
    own, config = load_model(cell_of(saved[checkpoint], precision), CPU), {"device_map": "cpu"}
    plain = AutoModelForCausalLM.from_pretrained(
        saved[checkpoint], dtype=getattr(torch, precision.dtype.value), **config
    )
    # As many bytes as when these weights are quantised here.
    assert weight_bytes(own) == weight_bytes(load_model(cell_of(saved["plain"], precision), CPU))
    batch = unequal_batch()
    with torch.inference_mode():
        logits = [model(batch.input_ids, batch.attention_mask).logits for model in (own, plain)]
    assert torch.equal(*logits)


@pytest.mark.parametrize(
    ("says", "precision", "held"),
    [
        ({"bnb_4bit_quant_type": "fp4"}, FP4, "fp4 asked for, but weights are held as nf4"),
        (
            {"bnb_4bit_use_double_quant": True},
            NF4_DOUBLE,
            "nf4-double asked for, but weights are held as nf4",
        ),
    ],
)
def test_what_the_weights_are_counts_and_not_what_the_config_says(tmp_path, says, precision, held):
    save_bitsandbytes(tmp_path, **SAVED["nf4"])
    own = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_compute_dtype": "bfloat16"}
    edit(tmp_path, quantization_config={**own, "bnb_4bit_quant_type": "nf4", **says})
    assert outcome(cell_of(tmp_path, precision))[:2] == ("failed", f"CheckFailed during check: {held}")


def test_codes_whose_config_does_not_say_so_are_not_taken_for_weights(tmp_path):
    save_fp8(tmp_path)
    edit(tmp_path, quantization_config=None)
    status, reason, record = outcome(cell_of(tmp_path, BF16))
    assert status == "failed" and "weight_scale_inv" in reason and "config.json" in reason
    assert is_fault(reason) and "iterations" not in record


def test_a_weight_that_the_checkpoint_lacks_is_not_drawn_at_random(tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    status, reason, record = outcome(cell_of(tmp_path))
    assert status == "failed" and "some-model has no model.layers.1.mlp.up_proj.weight" in reason
    assert is_fault(reason) and "iterations" not in record


def hold(model, name, tensor, buffer=False):
    layer = model.model.layers[0].self_attn.q_proj
    layer.register_buffer(name, tensor) if buffer else layer.register_parameter(name, tensor)


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (
            lambda model, w: hold(model, "weight", nn.Parameter(w.to(torch.float8_e4m3fn), False)),
            "float8_e4m3fn",
        ),
        (lambda model, w: hold(model, "weight", nn.Parameter(w.to(torch.int8), False)), "int8"),
        (lambda model, w: hold(model, "weight", nn.Parameter(w.to(torch.uint8), False)), "uint8"),
        (lambda model, w: hold(model, "weight_scale_inv", nn.Parameter(w[:1])), "weight_scale_inv"),
        (lambda model, w: hold(model, "weight_packed", nn.Parameter(w[:1])), "weight_packed"),
        (lambda model, w: hold(model, "qweight", w.to(torch.int32), buffer=True), "qweight"),
    ],
)
def test_no_packed_tensor_is_found_where_none_was_asked_for(plant, found):
    model = tiny_llama(dtype=torch.bfloat16)
    config = benchmark_config(dtype=Dtype.bfloat16)
    assert checks.check_quantisation(model, config) is None
    plant(model, model.model.layers[0].self_attn.q_proj.weight.data)
    with pytest.raises(checks.CheckFailed, match=f"bfloat16 asked for, but weights are held as {found}"):
        checks.check_quantisation(model, config)


def test_a_model_of_another_packed_type_is_not_what_was_asked_for(saved):
    model = load_model(cell_of(saved["nf4"], NF4), CPU)
    assert quantised_share(model) == 1
    for precision, held in ((FP4, "nf4"), (INT8, "nf4"), (NF4_DOUBLE, "nf4$"), (BF16, "nf4")):
        with pytest.raises(
            checks.CheckFailed, match=f"{precision.name} asked for, but weights are held as {held}"
        ):
            checks.check_quantisation(model, cell_of(saved["nf4"], precision))


def experiment(folder, precision, settings):
    return ExperimentConfig(
        model=ModelConfig("some-model", Source.checkpoint, str(folder)),
        precision=precision,
        attention=attention_config("sdpa"),
        execution=execution("loop"),
        output="-",
        cpu_threads=1,
        experiment=settings,
    )


def test_the_reference_of_quality_is_refused_like_any_other_precision(saved):
    settings = quality_settings.Settings(
        text="config/quality.txt", windows=2, window_tokens=8, prompts="config/prompts.yaml", continuations=1,
        new_tokens=2, reference=BF16,
    )  # fmt: skip
    config = experiment(saved["nf4"], NF4, settings)
    status, reason, _ = outcome(config, "quality")
    assert status == "unsupported"
    assert reason.startswith("reference precision bf16: the checkpoint of some-model is quantised already")


@pytest.mark.parametrize(("checkpoint", "precision"), [("nf4", FP4), ("fp8", BF16), ("int8", NF4)])
def test_a_draft_is_refused_like_any_other_model(saved, checkpoint, precision):
    drafting = ModelConfig("some-draft", Source.checkpoint, str(saved[checkpoint]))
    settings = Speculative(
        prompts="config/prompts.yaml", prompt_count=1, prompt_tokens=8, new_tokens=4, draft_tokens=2,
        draft=DraftConfig("draft", DraftMethod.model, drafting, precision),
    )  # fmt: skip
    config = experiment(saved["plain"], BF16, settings)
    status, reason, _ = outcome(config, "speculative")
    assert status == "unsupported" and "checkpoint of some-draft is quantised already" in reason
