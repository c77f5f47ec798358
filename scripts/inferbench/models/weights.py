"""Weights counted as they are held: how many, in how many bytes, in which dtypes and packed types."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import torch
from torch import nn
from transformers import PreTrainedModel

from inferbench.precision.by_name import libraries
from inferbench.precision.protocol import Packed
from inferbench.settings.job import Dtype

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
#: Tensors that only quantised weights have, in the formats that transformers reads.
PACKED = re.compile(
    r"(weight|proj)_(packed|scale|scales|scale_inv|blocks|zero_point)$|\.(qweight|qzeros|scales|g_idx)$"
)


def parameter_count(model: PreTrainedModel) -> int:
    """Weights of the model, tied ones once, packed ones as the weights that they stand for."""
    return sum(_numel(parameter) for parameter in model.parameters())


def weight_bytes(model: nn.Module) -> int:
    """Bytes of the storages behind parameters, buffers and quantisation states, each once."""
    return sum({s.data_ptr(): s.nbytes() for s in _storages(model)}.values())


def decode_weight_bytes(model: PreTrainedModel, batch_size: int) -> int:
    """Bytes of weights that one decode step must read.

    All of them but the embeddings, of tokens or of positions, of which a step reads a row per sequence (a tied one is
    read as the head). Of a mixture of experts, the share that a step is expected to touch.
    """
    head = model.get_output_embeddings()
    read = None if head is None else head.weight.data_ptr()
    tables = {m.weight.data_ptr(): m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    rows = sum(table.untyped_storage().nbytes() for place, table in tables.items() if place != read)
    total = weight_bytes(model) - rows
    experts = sum(p.untyped_storage().nbytes() for name, p in model.named_parameters() if ".experts." in name)
    return round(total - experts * (1 - expert_share(model.config, batch_size)))


def expert_share(config, batch_size: int) -> float:
    """Expected share of experts that a batch touches: 1 - (1 - k/E)^batch, routing as if at random."""
    experts = getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None)
    chosen = getattr(config, "num_experts_per_tok", None)
    return 1 - (1 - chosen / experts) ** batch_size if experts and chosen else 1.0


def quantised_share(model: PreTrainedModel) -> float:
    """Share of the weights of matrices inside the layers that are held quantised.

    Embedding and head are not asked for (quantisers leave them out by design); experts are, whether
    they are `nn.Linear` or not.
    """
    embeddings = {model.get_input_embeddings().weight.data_ptr()}
    if (head := model.get_output_embeddings()) is not None:
        embeddings.add(head.weight.data_ptr())
    asked = quantised = 0
    for parameter in model.parameters():
        packed = _packed(parameter)
        if parameter.data_ptr() not in embeddings and (packed or parameter.ndim > 1):
            asked += _numel(parameter)
            quantised += packed.weights if packed else 0
    return quantised / asked if asked else 0.0


def effective_dtype(model: PreTrainedModel) -> str:
    """What the layers compute in: the dtype of the norms and, if quantised, of the weights beside it."""
    packed = packed_types(model)
    return "+".join(sorted(computed_dtypes(model))) + (f" ({'+'.join(sorted(packed))})" if packed else "")


def computed_dtypes(model: nn.Module, apart: Collection[str] = ()) -> set[str]:
    """Dtypes of the parameters that are not quantised, without those named."""
    return {
        _dtype_name(parameter)
        for name, parameter in model.named_parameters()
        if name not in apart and not _packed(parameter)
    }


def packed_types(model: nn.Module) -> set[str]:
    """What quantised weights are held as, by name; the names of tensors that only such weights have among them."""
    held = (name for name, _ in (*model.named_parameters(), *model.named_buffers()))
    found = {name.rpartition(".")[2] for name in held if PACKED.search(name)}
    return found | {packed.type for packed in map(_packed, model.parameters()) if packed}


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _packed(parameter: nn.Parameter) -> Packed | None:
    """What a quantised parameter is. Every library is asked, not the one that was asked for alone, so that nothing is
    measured under another's name."""
    for library in libraries().values():
        if found := library.packed(parameter):
            return found
    # In a type of 8 bits no layer computes: these are codes.
    return Packed(_dtype_name(parameter), parameter.numel()) if parameter.dtype.itemsize == 1 else None


def kept_in_float32(model: PreTrainedModel, asked: Dtype) -> set[str]:
    """Names of the parameters that the model's own class keeps in float32 when it is loaded in 16 bit: some always,
    some in float16 alone."""
    kept = set(model._keep_in_fp32_modules_strict or ())
    if asked is Dtype.float16:
        kept |= set(model._keep_in_fp32_modules or ())
    patterns = [re.compile(pattern.replace("*", ".*")) for pattern in kept]
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.dtype is torch.float32 and any(pattern.search(name) for pattern in patterns)
    }


def _numel(parameter: nn.Parameter) -> int:
    packed = _packed(parameter)
    return packed.weights if packed else parameter.numel()


def _storages(model: nn.Module) -> Iterator[torch.UntypedStorage]:
    beside = (tensor for library in libraries().values() for tensor in library.beside(model))
    for held in (*model.parameters(), *model.buffers(), *beside):
        yield held.untyped_storage()
