"""What the module of a library of weight formats has. Each is a module of this folder, found by its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from inferbench.settings.job import PrecisionConfig

if TYPE_CHECKING:
    import torch
    from torch import nn


class Packed(NamedTuple):
    """A parameter of quantised weights: the name of the type that it is held as, and how many weights it stands for."""

    type: str
    weights: int


class Tolerance(NamedTuple):
    """Allowed root mean square difference of one step's logits, as a share of their standard deviation, and why a
    right step stays below it."""

    share: float
    reason: str


@runtime_checkable
class Library(Protocol):
    """The functions of such a module. It imports torch, transformers and its own package inside of them: planning asks
    for none, and every library is asked about every model, wherever its package is missing."""

    def options(self, precision: PrecisionConfig) -> dict[str, Any]:
        """The precision's options by name, those left out as they are then. Raises ConfigError, in one sentence, for
        one that this library does not have, or cannot take."""

    def unsupported_reason(self, precision: PrecisionConfig) -> str | None:
        """One sentence why no model can be loaded so with what is installed; None if it can."""

    def capture_refusal(self, precision: PrecisionConfig, traced: bool) -> str | None:
        """One sentence why no decode step can be captured as a CUDA graph or, where `traced`, compiled by
        torch.compile(fullgraph=True) and then captured; None if it can."""

    def prepare(self, precision: PrecisionConfig) -> None:
        """Set up the library's package, once in the process, before `from_pretrained` is called."""

    def load_arguments(self, precision: PrecisionConfig) -> dict[str, Any]:
        """Keyword arguments of `from_pretrained`, beside the dtype, by which a plain checkpoint is quantised."""

    def predicted_bytes(self, precision: PrecisionConfig, layers: int, experts: int, others: int) -> float:
        """Bytes of so many weights in matrices inside the layers, in experts, and in all else (embeddings, head)."""

    def packed_types(self, precision: PrecisionConfig) -> set[str]:
        """Names of the types that quantised weights must be held as; empty where none are quantised."""

    def packed(self, parameter: nn.Parameter) -> Packed | None:
        """What the parameter is if this library packed it, whatever was asked for; else None. One of a type of 8 bits,
        in which no layer computes, is known to be packed without this, by the name of its dtype."""

    def beside(self, model: nn.Module) -> Iterator[torch.Tensor]:
        """Tensors that the library keeps neither as parameters nor as buffers of the model, such as scales; any of
        them may come more than once."""

    def checkpoint_options(self, own: Mapping[str, Any]) -> dict[str, Any] | None:
        """What a checkpoint's `quantization_config` says under the names that a precision's Hydra file has: `options`,
        and `dtype` where it fixes that of the computation. None for another library's."""

    def logit_tolerance(self, precision: PrecisionConfig) -> Tolerance:
        """How far the logits of a captured, fused or foreign step may be from the plain loop's over the same weights."""
