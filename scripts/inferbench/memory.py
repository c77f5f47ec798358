"""Memory: predicted from shapes before anything loads, and read off the device afterwards."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from inferbench.config import BenchmarkConfig, Quantisation, RunConfig, in_repository
from inferbench.device import gpus_of
from inferbench.load import DTYPES, expert_share
from inferbench.support import Hopeless

#: Bytes per weight of a matrix inside the layers. 4 bit: half a byte and a float32 per block of 64, or
#: with double quantisation a byte per block and a float32 per 256 blocks.
QUANTISED_BYTES = {"int8": 1.0, "nf4": 0.5 + 4 / 64, "fp4": 0.5 + 4 / 64}
DOUBLE_QUANTISED_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
#: A cell predicted to need more than this many times the device is not tried.
HOPELESS = 1.5
#: What a CUDA context and its kernels hold on each GPU before the first tensor; seen on an H100.
CONTEXT_BYTES = 600 * 2**20
#: Bytes that eager attention holds at once for each score of a layer: the masked scores and their softmax in float32,
#: for which bfloat16 is converted first. Of an 8B shape in bfloat16 on an H100 10 were seen after 8,192 tokens.
EAGER_SCORE_BYTES = {"bfloat16": 2 + 4 + 4, "float16": 2 + 4 + 2, "float32": 4 + 4}


@dataclass
class ModelShape:
    """The numbers that the formulas need."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    intermediate: int
    #: weights of matrices inside the layers, experts apart
    layer_weights: int
    expert_weights: int
    #: input embedding, and the head if it is not the same tensor
    embedding_weights: int
    head_weights: int
    #: experts that one token uses / experts
    active_experts: float

    @property
    def total_weights(self) -> int:
        return self.layer_weights + self.expert_weights + self.embedding_weights + self.head_weights


def model_shape(config: PreTrainedConfig) -> ModelShape:
    """Shape of a model from its config alone: built on the meta device, which holds no data."""
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    embedding = model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    inner = {name: p for name, p in model.named_parameters() if p is not embedding and p is not head}
    experts = sum(p.numel() for name, p in inner.items() if ".experts." in name)
    tied = config.tie_word_embeddings
    heads = config.num_attention_heads
    return ModelShape(
        layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        vocabulary=config.vocab_size,
        intermediate=config.intermediate_size,
        layer_weights=sum(p.numel() for p in inner.values()) - experts,
        expert_weights=experts,
        embedding_weights=embedding.numel(),
        head_weights=0 if tied else head.numel(),
        active_experts=expert_share(config, 1),
    )


def kv_bytes_per_token(shape: ModelShape, element_bytes: int) -> int:
    """Keys and values of one token in all layers: 2 x layers x kv heads x head dim x bytes."""
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * element_bytes


def predict_bytes(config: BenchmarkConfig, shape: ModelShape, device: torch.device) -> int:
    """Peak memory of the cell: weights, cache at its end, the largest activations of prefill, logits."""
    element = DTYPES[config.precision.dtype.value].itemsize
    per_weight = element
    if config.precision.quantisation is not Quantisation.none:
        per_weight = QUANTISED_BYTES[config.precision.quantisation.value]
        if config.precision.double_quantisation:
            per_weight = DOUBLE_QUANTISED_BYTES
    # Experts stay as they are: bitsandbytes converts nn.Linear only.
    weights = shape.layer_weights * per_weight + element * (
        shape.expert_weights + shape.embedding_weights + shape.head_weights
    )
    prompt = config.batch_size * config.workload.prompt_tokens
    tokens = prompt + config.batch_size * config.workload.new_tokens
    cache = tokens * kv_bytes_per_token(shape, element)
    # In one layer: three tensors of the MLP's width, four of the model's.
    width = shape.embedding_weights // shape.vocabulary
    activations = prompt * (3 * shape.intermediate + 4 * width) * element
    if config.attention.implementation == "eager":
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


def load_shape(config: RunConfig) -> ModelShape:
    """Shape of the cell's checkpoint."""
    folder = in_repository(config.model.path)
    trusted = config.model.trust_remote_code
    return model_shape(AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted))


def peaks(device: torch.device) -> dict[str, int | None]:
    """Peak figures of this process so far; GPU ones are sums of each GPU's own peak, null on a CPU."""
    gpus = gpus_of(device)
    return {
        "peak_allocated_bytes": sum(map(torch.cuda.max_memory_allocated, gpus)) if gpus else None,
        "peak_reserved_bytes": sum(map(torch.cuda.max_memory_reserved, gpus)) if gpus else None,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
