"""What an engine is to those that measure it. One module per engine in this folder, named by `module` in
`config/hydra/execution/`, has

- `refusal(config, device)`: one sentence why the engine cannot run this cell here, None if it can. Asked before
  anything loads.
- `Engine(config, device)`: an `Engine` as below. Raises ConfigError where its options are not right.

Shapes: B sequences, P prompt tokens (padded on the left), N new tokens, V vocabulary.
Every engine decodes exactly the number of tokens that it is asked for, greedily: an end-of-sequence token is a token.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from transformers import PreTrainedModel

from inferbench.models.prompts import PromptBatch

Answer = TypeVar("Answer")


@dataclass
class Timeline:
    """What one run gave, and when.

    tokens: (B, N) on the host. seconds: for each sequence N + 1 host times, its start and then each moment at which
    a token of it was on the host. Engines that take all sequences forward together repeat one row.
    """

    tokens: torch.Tensor
    seconds: list[list[float]]

    @property
    def marks(self) -> list[float]:
        """The N + 1 moments at which every sequence was so far."""
        return [max(column) for column in zip(*self.seconds)]

    @property
    def duration_s(self) -> float:
        """From the first start to the last token."""
        return max(row[-1] for row in self.seconds) - min(row[0] for row in self.seconds)


def in_step(tokens: torch.Tensor, marks: list[float]) -> Timeline:
    """The timeline of sequences that had each of their tokens, (B, N), at the same N + 1 moments."""
    return Timeline(tokens, [marks] * len(tokens))


class WrongCount(RuntimeError):
    """A run gave more or fewer tokens than it was asked for, so no time per token can be had from it."""


class Stepper(Protocol):
    """A model, a batch and a way to run one step. A token tensor is (B, 1)."""

    #: read and replaced by each step: (B, V), the logits of the last position
    logits: torch.Tensor
    #: whether a step is one graph that the device runs by itself
    captured: bool

    def prefill(self, batch: PromptBatch) -> torch.Tensor:
        """Start anew from the prompts; return the first token, (B, 1)."""

    def step(self, token: torch.Tensor) -> torch.Tensor:
        """Append `token` (B, 1) to the sequences; return the next one."""

    def rewind(self, steps: int) -> None:
        """Forget the last `steps` tokens, for decoding them again without a prefill. Raises NotKnown where the
        cache cannot; the stepper then needs a prefill."""

    def cache_bytes(self) -> int:
        """Bytes that the cache holds now. Raises NotKnown."""

    def dirty_cache(self) -> None:
        """Fill what a later run must not see with large finite values; nothing where each prefill has a new cache."""

    def uncaptured(self) -> AbstractContextManager[None]:
        """Steps are ordinary calls while the body runs."""


class Engine(Protocol):
    """A cell's model as one engine runs it. Called in this order: require, load, prepare, run."""

    #: whether `prepare` compiles or captures, which is a stage of its own and is checked against the plain loop
    captures: bool
    #: after `prepare`, its decode step by itself; None where only whole runs can be had
    stepper: Stepper | None

    def require(self, model: PreTrainedModel, prompt_tokens: int, new_tokens: int) -> None:
        """Raise Unsupported where the engine cannot run this model, given on the meta device without weights."""

    def load(self) -> None:
        """The weights onto the device. Raises Unsupported before any load, Fault after."""

    def ask(self, question: Callable[[PreTrainedModel], Answer]) -> Answer:
        """What a function finds of the loaded model."""

    def prepare(self, batch: PromptBatch, new_tokens: int) -> None:
        """Make ready for runs of this shape: whatever is compiled or captured once."""

    def compilation(self) -> dict[str, Any]:
        """`compiled_graphs`, and `compile_cache` (cold or warm: whether kernels had to be made); nothing where
        nothing is compiled."""

    def run(self, batch: PromptBatch, new_tokens: int) -> Timeline:
        """Prefill and `new_tokens` tokens of each sequence, each read back to the host. Raises WrongCount."""

    def comparable(self) -> Stepper:
        """What computes the engine's logits step by step, to be held against the plain loop's."""

    def cache_bytes(self) -> int:
        """Bytes that the cache of the last run holds. Raises NotKnown."""
