"""The cells of a campaign's decoding experiments, their names, and their meaning as Hydra overrides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from inferbench.plan.specs import specs
from inferbench.settings.gpu_model import gpu_model_setting

#: Axes that every experiment has: Hydra groups, whose values are those of the campaign's `axes` unless given.
SHARED = ("model", "precision", "attention")
#: How a number stands in a cell's name.
PREFIXES = {"batch_size": "b", "draft_tokens": "k"}


@dataclass(frozen=True)
class ExperimentCell:
    """One point of an experiment: its axes in order, shared ones first."""

    experiment: str
    axes: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        """The cell's folder: its axes' values, joined by two dashes."""
        return "--".join(f"{PREFIXES.get(axis, '')}{value}" for axis, value in self.axes)

    @property
    def model(self) -> str:
        return dict(self.axes)["model"]


def expand_experiment(campaign: Mapping[str, Any], experiment: str) -> dict[ExperimentCell, int]:
    """Cell -> replicates, for the cells of one experiment: the product of its axes."""
    declared = {**campaign["axes"], **campaign["experiments"][experiment]}
    axes = (*SHARED, *specs()[experiment].axes)
    replicates = declared.get("replicates", campaign["replicates"])
    return {
        ExperimentCell(experiment, tuple(zip(axes, values))): replicates
        for values in product(*(declared[axis] for axis in axes))
    }


def experiment_meaning(campaign: Mapping[str, Any], cell: ExperimentCell) -> list[str]:
    """The Hydra overrides that say what is measured: the same for every replicate of the cell."""
    own = specs()[cell.experiment].axes
    settings = campaign["experiments"][cell.experiment]["settings"]
    return [
        f"experiment={cell.experiment}",
        *(f"{own.get(axis, axis)}={value}" for axis, value in cell.axes),
        *(f"{key}={campaign[key]}" for key in ("device", "cpu_threads", "seed", "timeout_s")),
        *(f"{key}={value}" for key, value in gpu_model_setting(campaign, dict(cell.axes)).items()),
        *(f"experiment.{key}={_hydra_value(value)}" for key, value in sorted(settings.items())),
    ]


def _hydra_value(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)
