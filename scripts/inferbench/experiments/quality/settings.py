"""What can be set of the experiment `quality`; the values stand in its Hydra file."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from inferbench.settings.job import PrecisionConfig, at_least


@dataclass
class Settings:
    """The windows of the text are `window_tokens` long, spread evenly over it, and none overlaps another."""

    name: str = "quality"
    text: str = MISSING
    windows: int = MISSING
    window_tokens: int = MISSING
    #: greedy continuations shown side by side
    prompts: str = MISSING
    continuations: int = MISSING
    new_tokens: int = MISSING
    reference: PrecisionConfig = field(default_factory=PrecisionConfig)

    def __post_init__(self) -> None:
        # The first token of a window is predicted by nothing.
        at_least("experiment.window_tokens", self.window_tokens, 2)
