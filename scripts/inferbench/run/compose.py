"""The typed configuration of a job: what Hydra composes, by the dataclasses of `settings` and of each experiment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inferbench.precision.by_name import library
from inferbench.run.parts import part
from inferbench.settings.experiment import ExperimentConfig
from inferbench.settings.job import BenchmarkConfig, ConfigError, PrecisionConfig, PrepareConfig
from inferbench.settings.repository import HYDRA_DIR


def register() -> None:
    """Make the dataclasses known to Hydra under the names that the YAML files extend."""
    store = ConfigStore.instance()
    store.store(name="benchmark_schema", node=BenchmarkConfig)
    store.store(name="prepare_schema", node=PrepareConfig)
    store.store(name="experiment_schema", node=ExperimentConfig)
    for name in (file.stem for file in (HYDRA_DIR / "experiment").glob("*.yaml")):
        store.store(group="experiment", name=f"{name}_schema", node=part(name, "settings").Settings)


def resolve(config: DictConfig) -> Any:
    """The typed config with every value set. Raises ConfigError with the key that is missing or wrong."""
    try:
        resolved = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "the configuration"
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from error
    for precision in _precisions(resolved):
        library(precision).options(precision)
    return resolved


def _precisions(config: Any) -> Iterator[PrecisionConfig]:
    """Every precision that a config has, those of an experiment's settings among them."""
    if isinstance(config, PrecisionConfig):
        yield config
    elif is_dataclass(config):
        for value in vars(config).values():
            yield from _precisions(value)


def typed(plain: dict[str, Any]) -> BenchmarkConfig | ExperimentConfig:
    """The config of a plain, resolved one: of a cell of the grid, or of an experiment."""
    if "experiment" not in plain:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(BenchmarkConfig), plain))
    settings = part(plain["experiment"]["name"], "settings").Settings
    merged = OmegaConf.merge(OmegaConf.structured(ExperimentConfig), plain)
    merged.experiment = OmegaConf.merge(OmegaConf.structured(settings), plain["experiment"])
    return OmegaConf.to_object(merged)
