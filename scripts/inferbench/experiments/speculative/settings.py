"""What can be set of the experiment `speculative`; the values stand in its Hydra file."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from inferbench.settings.job import ModelConfig, PrecisionConfig
from inferbench.settings.strategy import Strategy


class DraftMethod(Enum):
    model = "model"
    prompt_lookup = "prompt_lookup"


@dataclass
class DraftConfig:
    """Who proposes tokens. A draft without a model of its own is a copy of the main one in `precision`."""

    name: str = MISSING
    method: DraftMethod = DraftMethod.model
    model: ModelConfig | None = None
    precision: PrecisionConfig | None = None


@dataclass
class Settings:
    """draft_tokens: how many a draft proposes before the main model checks them."""

    name: str = "speculative"
    prompts: str = MISSING
    prompt_count: int = MISSING
    prompt_tokens: int = MISSING
    new_tokens: int = MISSING
    draft_tokens: int = MISSING
    draft: DraftConfig = field(default_factory=DraftConfig)
    strategy: Strategy = field(default_factory=Strategy)
