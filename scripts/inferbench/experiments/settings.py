"""What an experiment means: the structured configs that Hydra fills from `config/hydra/`.

What is an experiment's own stands in `<name>_settings.py`, so that another experiment's is no part of what its
numbers depend on.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from inferbench.config import HYDRA_DIR, ConfigError, RunConfig, at_least


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
class ExperimentConfig(RunConfig):
    """One cell of an experiment, one replicate. `experiment` is its `Settings`."""

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
    for name in (file.stem for file in (HYDRA_DIR / "experiment").glob("*.yaml")):
        store.store(group="experiment", name=f"{name}_schema", node=settings_of(name))


def settings_of(experiment: str) -> type:
    """The class of an experiment's own settings."""
    return import_module(f"inferbench.experiments.{experiment}_settings").Settings


def typed(plain: dict[str, Any]) -> ExperimentConfig:
    """The config of a plain, resolved one."""
    settings = settings_of(plain["experiment"]["name"])
    merged = OmegaConf.merge(OmegaConf.structured(ExperimentConfig), plain)
    merged.experiment = OmegaConf.merge(OmegaConf.structured(settings), plain["experiment"])
    return OmegaConf.to_object(merged)
