"""What can be set of the experiment `kv_cache`; the values stand in its Hydra file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING


class Cache(Enum):
    off = "off"
    dynamic = "dynamic"
    static = "static"


@dataclass
class Settings:
    """lengths: contexts, in tokens, at which a step is timed."""

    name: str = "kv_cache"
    prompts: str = MISSING
    cache: Cache = MISSING
    lengths: list[int] = MISSING
    steps: int = MISSING
