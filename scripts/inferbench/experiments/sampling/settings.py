"""What can be set of the experiment `sampling`; the values stand in its Hydra file."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from inferbench.settings.job import at_least
from inferbench.settings.strategy import Strategy


@dataclass
class Settings:
    """Every prompt is continued once for each of `seeds` seeds, all in one batch."""

    name: str = "sampling"
    prompts: str = MISSING
    prompt_count: int = MISSING
    seeds: int = MISSING
    new_tokens: int = MISSING
    strategy: Strategy = field(default_factory=Strategy)

    def __post_init__(self) -> None:
        # The first token has no step to time.
        at_least("experiment.new_tokens", self.new_tokens, 2)
