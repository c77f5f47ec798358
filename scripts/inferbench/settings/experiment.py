"""What every cell of an experiment is told; what is an experiment's own stands in its `settings.py`, so that another
experiment's is no part of what its numbers depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from inferbench.settings.job import RunConfig, at_least


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
