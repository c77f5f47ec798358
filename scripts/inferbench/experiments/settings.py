"""What an experiment means: the structured configs that Hydra fills from `config/hydra/experiment/`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from inferbench.config import ConfigError, ModelConfig, PrecisionConfig, RunConfig, at_least


class Cache(Enum):
    off = "off"
    dynamic = "dynamic"
    static = "static"


class DraftMethod(Enum):
    model = "model"
    prompt_lookup = "prompt_lookup"


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


@dataclass
class DraftConfig:
    """Who proposes tokens. A draft without a model of its own is a copy of the main one in `precision`."""

    name: str = MISSING
    method: DraftMethod = DraftMethod.model
    model: ModelConfig | None = None
    precision: PrecisionConfig | None = None


@dataclass
class Quality:
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


@dataclass
class Sampling:
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


@dataclass
class Batching:
    name: str = "batching"
    prompts: str = MISSING
    batch_size: int = MISSING
    new_tokens: int = MISSING
    #: whole rounds (one by one, then as a batch) that are timed
    rounds: int = MISSING

    def __post_init__(self) -> None:
        at_least("experiment.new_tokens", self.new_tokens, 2)


@dataclass
class KvCache:
    """lengths: contexts, in tokens, at which a step is timed."""

    name: str = "kv_cache"
    prompts: str = MISSING
    cache: Cache = MISSING
    lengths: list[int] = MISSING
    steps: int = MISSING


@dataclass
class Streaming:
    name: str = "streaming"
    prompts: str = MISSING
    prompt_tokens: int = MISSING
    new_tokens: int = MISSING
    #: pairs of runs, one streamed and one not
    rounds: int = MISSING

    def __post_init__(self) -> None:
        # Latencies between tokens, of which the first half is compared with the second.
        at_least("experiment.new_tokens", self.new_tokens, 3)


@dataclass
class Speculative:
    """draft_tokens: how many a draft proposes before the main model checks them."""

    name: str = "speculative"
    prompts: str = MISSING
    prompt_count: int = MISSING
    prompt_tokens: int = MISSING
    new_tokens: int = MISSING
    draft_tokens: int = MISSING
    draft: DraftConfig = field(default_factory=DraftConfig)
    strategy: Strategy = field(default_factory=Strategy)


SETTINGS = {cls().name: cls for cls in (Quality, Sampling, Batching, KvCache, Streaming, Speculative)}


@dataclass
class ExperimentConfig(RunConfig):
    """One cell of an experiment, one replicate. `experiment` is one of the classes above."""

    experiment: Any = MISSING

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, value in vars(self.experiment).items():
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, int):
                    at_least(f"experiment.{key}", number, 1)


def register() -> None:
    """Make the dataclasses known to Hydra under the names that the YAML files extend."""
    store = ConfigStore.instance()
    store.store(name="experiment_schema", node=ExperimentConfig)
    for name, settings in SETTINGS.items():
        store.store(group="experiment", name=f"{name}_schema", node=settings)


def typed(plain: dict[str, Any]) -> ExperimentConfig:
    """The config of a plain, resolved one."""
    settings = SETTINGS[plain["experiment"]["name"]]
    merged = OmegaConf.merge(OmegaConf.structured(ExperimentConfig), plain)
    merged.experiment = OmegaConf.merge(OmegaConf.structured(settings), plain["experiment"])
    return OmegaConf.to_object(merged)
