"""How the next token is chosen."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from inferbench.settings.job import ConfigError


@dataclass
class Strategy:
    """How the next token is chosen. Without `do_sample` it is the likeliest one, whatever the rest says.

    temperature divides the logits; top_k keeps that many tokens; top_p keeps the fewest tokens whose
    probabilities reach it; in this order, as in transformers. None keeps all.
    """

    name: str = MISSING
    do_sample: bool = True
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        # Unset values are reported by Hydra itself, with the key's name.
        if isinstance(self.temperature, float) and self.temperature <= 0:
            raise ConfigError(
                f"sampling {self.name}: temperature is {self.temperature}; give a number above 0, or do_sample: false"
            )
        if isinstance(self.top_k, int) and self.top_k < 1:
            raise ConfigError(
                f"sampling {self.name}: top_k is {self.top_k}; give a number of tokens, or null to keep all"
            )
        if isinstance(self.top_p, float) and not 0 < self.top_p <= 1:
            raise ConfigError(
                f"sampling {self.name}: top_p is {self.top_p}; give a share above 0 and at most 1"
            )
