"""Linear layers quantised by bitsandbytes: LLM.int8, and blocks of 4-bit codes (nf4, fp4). Layers compute in `dtype`.
`protocol.Library` says what each function gives."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from inferbench.precision.options import typed
from inferbench.precision.protocol import Packed, Tolerance
from inferbench.precision.rounding import rounding
from inferbench.settings.job import ConfigError, PrecisionConfig

if TYPE_CHECKING:
    import torch
    from torch import nn

#: What is added to the name of a type whose scales are quantised in turn.
DOUBLE = " with double quantisation"
#: Bytes per weight. 4 bit: half a byte and a float32 per block of 64, or with double quantisation a byte per block
#: and a float32 per 256 blocks.
INT8_BYTES = 1.0
FOUR_BIT_BYTES = 0.5 + 4 / 64
DOUBLE_QUANTISED_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)


class Quantisation(Enum):
    int8 = "int8"
    nf4 = "nf4"
    fp4 = "fp4"


@dataclass
class Options:
    quantisation: Quantisation = MISSING
    #: of 4 bit: the scales of the blocks are quantised too
    double_quantisation: bool = False
    #: of LLM.int8: activations above this magnitude are computed in 16 bit; 0 turns that path off
    outlier_threshold: float = 6.0


def _options(precision: PrecisionConfig) -> Options:
    found = typed(precision, Options)
    foreign = "double_quantisation" if found.quantisation is Quantisation.int8 else "outlier_threshold"
    if foreign in precision.options:
        raise ConfigError(
            f"precision {precision.name}: {foreign} is no option of {found.quantisation.value}; leave it out."
        )
    return found


def options(precision: PrecisionConfig) -> dict[str, Any]:
    found = _options(precision)
    return {**vars(found), "quantisation": found.quantisation.value}


def unsupported_reason(precision: PrecisionConfig) -> str | None:
    if find_spec("bitsandbytes") is None:
        return f"{precision.name} needs the package bitsandbytes, which is not installed"
    return None


def capture_refusal(precision: PrecisionConfig, traced: bool) -> str | None:
    found = _options(precision)
    if found.quantisation is Quantisation.int8 and found.outlier_threshold > 0:
        return "the outlier path of LLM.int8 synchronises with the host, so its step cannot be captured"
    if traced:
        return "the kernels of bitsandbytes are not traced by torch.compile(fullgraph=True)"
    return None


def prepare(precision: PrecisionConfig) -> None:
    # It logs a line for every int8 product.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if _options(precision).quantisation is Quantisation.int8:
        _quantise_where_weights_lie()


def _quantise_where_weights_lie() -> None:
    """transformers takes every weight to the host and back before bitsandbytes makes int8 of it on the GPU:
    7B took 25 s to load, and 5 s to nf4."""
    from bitsandbytes.nn import Int8Params
    from transformers.integrations import bitsandbytes
    from transformers.pytorch_utils import Conv1D

    def convert(self, input_dict, model=None, **kwargs):
        converted = {}
        for name, value in input_dict.items():
            value = value[0] if isinstance(value, list) else value
            module, _ = bitsandbytes.get_module_from_name(model, name)
            if issubclass(module.source_cls, Conv1D):
                value = value.T
            fp16 = model.get_parameter_or_buffer(name).has_fp16_weights
            weight = Int8Params(value, requires_grad=False, has_fp16_weights=fp16)
            converted[name] = weight._quantize(value.device)
        return converted

    bitsandbytes.Bnb8bitQuantize.convert = convert


def load_arguments(precision: PrecisionConfig) -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    found = _options(precision)
    if found.quantisation is Quantisation.int8:
        settings = {"load_in_8bit": True, "llm_int8_threshold": found.outlier_threshold}
    else:
        settings = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": found.quantisation.value,
            "bnb_4bit_use_double_quant": found.double_quantisation,
            "bnb_4bit_compute_dtype": precision.dtype.value,
        }
    return {"quantization_config": BitsAndBytesConfig(**settings)}


def predicted_bytes(precision: PrecisionConfig, layers: int, experts: int, others: int) -> float:
    found = _options(precision)
    per_weight = DOUBLE_QUANTISED_BYTES if found.double_quantisation else FOUR_BIT_BYTES
    if found.quantisation is Quantisation.int8:
        per_weight = INT8_BYTES
    # Experts stay as they are: only nn.Linear is converted.
    return per_weight * layers + precision.dtype.itemsize * (experts + others)


def packed_types(precision: PrecisionConfig) -> set[str]:
    found = _options(precision)
    return {found.quantisation.value + (DOUBLE if found.double_quantisation else "")}


def packed(parameter: nn.Parameter) -> Packed | None:
    # Of 4-bit codes alone: those of LLM.int8 are of torch's int8.
    state = getattr(parameter, "quant_state", None)
    if state is None:
        return None
    return Packed(state.quant_type + (DOUBLE if state.nested else ""), state.shape.numel())


def beside(model: nn.Module) -> Iterator[torch.Tensor]:
    import torch

    # Its constants hang on the parameter (4 bit), or on it and the layer's state (int8).
    holders = [*model.parameters(), *(m.state for m in model.modules() if hasattr(m, "state"))]
    states = [getattr(parameter, "quant_state", None) for parameter in model.parameters()]
    states += [getattr(state, "state2", None) for state in states]
    for holder in (*holders, *states):
        if holder is not None:
            yield from (value for value in vars(holder).values() if isinstance(value, torch.Tensor))


def checkpoint_options(own: Mapping[str, Any]) -> dict[str, Any] | None:
    if own.get("load_in_8bit"):
        return {"quantisation": "int8", "outlier_threshold": own.get("llm_int8_threshold", 6.0)}
    if own.get("load_in_4bit"):
        return {
            "quantisation": own.get("bnb_4bit_quant_type", "fp4"),
            "double_quantisation": own.get("bnb_4bit_use_double_quant", False),
            "dtype": own.get("bnb_4bit_compute_dtype") or "float32",
        }
    return None


def logit_tolerance(precision: PrecisionConfig) -> Tolerance:
    # Both sides have the same codes, and compute in this dtype.
    return rounding(precision.dtype)
