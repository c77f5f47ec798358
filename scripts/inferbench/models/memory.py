"""Memory: predicted from shapes before anything loads, and read off the device afterwards."""

from __future__ import annotations

import resource
from pathlib import Path

import torch

from inferbench.device.device import gpus_of
from inferbench.models.facts import ModelShape
from inferbench.precision.by_name import library
from inferbench.settings.job import BenchmarkConfig
from inferbench.settings.outcomes import Hopeless, NotKnown

#: A cell predicted to need more than this many times the device is not tried.
HOPELESS = 1.5
#: What a CUDA context and its kernels hold on each GPU before the first tensor; seen on an H100.
CONTEXT_BYTES = 600 * 2**20
#: Bytes that eager attention holds at once for each score of a layer: the masked scores and their softmax in float32,
#: for which bfloat16 is converted first. Of an 8B shape in bfloat16 on an H100 10 were seen after 8,192 tokens.
EAGER_SCORE_BYTES = {"bfloat16": 2 + 4 + 4, "float16": 2 + 4 + 2, "float32": 4 + 4}


def kv_bytes_per_token(shape: ModelShape, element_bytes: int) -> int | None:
    """Keys and values of one token in all layers by the formula 2 x layers x kv heads x head dim x bytes, true or not;
    None where the configuration does not tell these."""
    if None in (shape.layers, shape.kv_heads, shape.head_dim):
        return None
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * element_bytes


def true_bytes_per_token(shape: ModelShape, batch_size: int, tokens: int) -> int | None:
    """kv_bytes_per_token where the cache that the model fills with so many tokens is as large, else None. Raises
    NotKnown where that cannot be counted."""
    per_token = kv_bytes_per_token(shape, shape.model.dtype.itemsize)
    kept = shape.cache(batch_size, tokens).kept
    return per_token if per_token is not None and kept == batch_size * tokens * per_token else None


def predict_bytes(config: BenchmarkConfig, shape: ModelShape, device: torch.device) -> int:
    """Peak memory of the cell: weights, cache at its largest, the largest activations of prefill, logits.

    Raises NotKnown where a part of it is not known for this model.
    """
    element = config.precision.dtype.itemsize
    weights = library(config.precision).predicted_bytes(
        config.precision,
        layers=shape.layer_weights,
        experts=shape.expert_weights,
        others=shape.embedding_weights + shape.head_weights + shape.table_weights,
    )
    batch, tokens = config.batch_size, config.workload.prompt_tokens
    at_end = shape.cache(batch, tokens + config.workload.new_tokens)
    if at_end.stateful:
        raise NotKnown("what its layers hold for their states while they read a prompt is not known")
    # A window's keys are kept as a view of the whole prompt's until the first step: of 12 layers of Gemma 3 27B on an
    # H200 all 25.8 GB of 16 x 16,384 tokens were there at the end of prefill, and 5.6 after a step.
    cache = at_end.kept if at_end.plain else max(at_end.kept, shape.cache(batch, tokens).allocated)
    prompt = batch * tokens
    # In one layer: three tensors of the MLP's width, four of the model's.
    activations = prompt * (3 * shape.intermediate + 4 * shape.width) * element
    if config.attention.implementation == "eager":
        if shape.heads is None:
            raise NotKnown("how many heads its attention has is not told, whose scores eager attention holds")
        scores = shape.heads * prompt * config.workload.prompt_tokens
        activations += EAGER_SCORE_BYTES[config.precision.dtype.value] * scores
    logits = config.batch_size * shape.vocabulary * 4
    context = config.model.gpus * CONTEXT_BYTES if device.type == "cuda" else 0
    return round(weights + cache + activations + logits + context)


def device_bytes(device: torch.device) -> int:
    """Memory of the GPUs that the model may lie on, or what this machine lets a process have."""
    if device.type == "cuda":
        return sum(torch.cuda.get_device_properties(gpu).total_memory for gpu in gpus_of(device))
    meminfo = Path("/proc/meminfo").read_text().split()
    total = int(meminfo[meminfo.index("MemTotal:") + 1]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and limit.read_text().strip().isdigit():
        total = min(total, int(limit.read_text()))
    return total


def require_hope(predicted: int, available: int) -> None:
    """Raise Hopeless, with the arithmetic, for a cell that need not be tried; a nearer one may be oom."""
    if predicted <= HOPELESS * available:
        return
    raise Hopeless(
        f"predicted to need {predicted / 2**30:.1f} GiB, more than {HOPELESS} times the {available / 2**30:.1f} GiB"
        " of this device"
    )


def peaks(device: torch.device) -> dict[str, int | None]:
    """Peak figures of this process so far; GPU ones are sums of each GPU's own peak, null on a CPU."""
    gpus = gpus_of(device)
    return {
        "peak_allocated_bytes": sum(map(torch.cuda.max_memory_allocated, gpus)) if gpus else None,
        "peak_reserved_bytes": sum(map(torch.cuda.max_memory_reserved, gpus)) if gpus else None,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
