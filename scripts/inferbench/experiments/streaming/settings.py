"""What can be set of the experiment `streaming`; the values stand in its Hydra file."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from inferbench.settings.job import at_least


@dataclass
class Settings:
    name: str = "streaming"
    prompts: str = MISSING
    prompt_tokens: int = MISSING
    new_tokens: int = MISSING
    #: pairs of runs, one streamed and one not
    rounds: int = MISSING

    def __post_init__(self) -> None:
        # Latencies between tokens, of which the first half is compared with the second.
        at_least("experiment.new_tokens", self.new_tokens, 3)
