"""Tiny checkpoints as they are found in the world, and what becomes of a job over one."""

import io
import json
import time

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from inferbench.measure.stages import Stages
from inferbench.run import worker
from inferbench.settings.job import Dtype, MeasureConfig, ModelConfig, PrecisionConfig, Source
from tiny_models import benchmark_config, tiny_llama

#: Side of the blocks of weights that share a scale.
BLOCK = 64


def outcome(config, experiment="grid"):
    """(status, reason, record) of a job, as its process sends them."""
    record, stages = {}, Stages(io.StringIO(), time.time())
    try:
        worker.measure(experiment, config, stages, record)
    except Exception as error:
        return *worker.classify(error, stages.current), record
    return "ok", None, record


def cell_of(folder, precision=None, mode="loop", attention="sdpa"):
    """A cell over the checkpoint in `folder`, timed once."""
    precision = precision or PrecisionConfig("fp32", Dtype.float32, "plain")
    return benchmark_config(
        mode,
        attention,
        model=ModelConfig("some-model", Source.checkpoint, str(folder)),
        precision=precision,
        measure=MeasureConfig(
            warmup_min_iterations=1,
            warmup_max_iterations=1,
            min_iterations=1,
            max_iterations=1,
            min_seconds=0,
        ),
        batch_size=2,
        cpu_threads=1,
    )


def edit(folder, file="config.json", **changes):
    """Set keys of a JSON file of the checkpoint; None takes one out."""
    path = folder / file
    whole = json.loads(path.read_text()) if path.exists() else {}
    whole = {key: value for key, value in {**whole, **changes}.items() if value is not None}
    path.write_text(json.dumps(whole))


def save_fp8(folder):
    """As Qwen3-FP8 and DeepSeek-V3 are: a code per weight of the layers and a scale per block of them."""
    tiny_llama(dtype=torch.bfloat16).save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    for name in [name for name in weights if "_proj" in name]:
        rows, columns = (side // BLOCK for side in weights[name].shape)
        blocks = weights[name].float().reshape(rows, BLOCK, columns, BLOCK)
        scales = blocks.abs().amax((1, 3), keepdim=True) / torch.finfo(torch.float8_e4m3fn).max
        weights[name] = (blocks / scales).reshape(weights[name].shape).to(torch.float8_e4m3fn)
        weights[f"{name}_scale_inv"] = scales[:, 0, :, 0].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    quantisation = {
        "quant_method": "fp8",
        "weight_block_size": [BLOCK, BLOCK],
        "activation_scheme": "dynamic",
    }
    edit(folder, quantization_config=quantisation)


def save_bitsandbytes(folder, **settings):
    """As transformers saves what bitsandbytes quantised, before its first forward."""
    tiny_llama(dtype=torch.bfloat16).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, device_map="cpu", quantization_config=BitsAndBytesConfig(**settings)
    )
    model.save_pretrained(folder)
