"""Weights as they are, in float32, float16 or bfloat16, without options. `protocol.Library` says what each function
gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inferbench.precision.options import typed
from inferbench.precision.protocol import Packed, Tolerance
from inferbench.precision.rounding import rounding
from inferbench.settings.job import PrecisionConfig

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass
class Options:
    pass


def options(precision: PrecisionConfig) -> dict[str, Any]:
    return vars(typed(precision, Options))


def unsupported_reason(precision: PrecisionConfig) -> str | None:
    return None


def capture_refusal(precision: PrecisionConfig, traced: bool) -> str | None:
    return None


def prepare(precision: PrecisionConfig) -> None:
    pass


def load_arguments(precision: PrecisionConfig) -> dict[str, Any]:
    return {}


def predicted_bytes(precision: PrecisionConfig, layers: int, experts: int, others: int) -> float:
    return precision.dtype.itemsize * (layers + experts + others)


def packed_types(precision: PrecisionConfig) -> set[str]:
    return set()


def packed(parameter: nn.Parameter) -> Packed | None:
    return None


def beside(model: nn.Module) -> Iterator[torch.Tensor]:
    yield from ()


def checkpoint_options(own: Mapping[str, Any]) -> dict[str, Any] | None:
    return None


def logit_tolerance(precision: PrecisionConfig) -> Tolerance:
    return rounding(precision.dtype)
