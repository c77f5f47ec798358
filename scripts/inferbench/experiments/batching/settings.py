"""What can be set of the experiment `batching`; the values stand in its Hydra file."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from inferbench.settings.job import at_least


@dataclass
class Settings:
    name: str = "batching"
    prompts: str = MISSING
    batch_size: int = MISSING
    new_tokens: int = MISSING
    #: whole rounds (one by one, then as a batch) that are timed
    rounds: int = MISSING

    def __post_init__(self) -> None:
        at_least("experiment.new_tokens", self.new_tokens, 2)
