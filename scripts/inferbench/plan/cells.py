"""Cells: the points of a campaign's grid, their names, and their meaning as Hydra overrides."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from inferbench.settings.gpu_model import gpu_model_setting

#: The axes that are Hydra groups. The last axis, batch_size, is a number.
GROUPS = ("model", "precision", "attention", "execution", "workload")


@dataclass(frozen=True)
class Cell:
    """One point of the grid."""

    model: str
    precision: str
    attention: str
    execution: str
    workload: str
    batch_size: int

    @property
    def name(self) -> str:
        """The cell's folder: its axes, joined by two dashes, which no name of a Hydra file holds."""
        return "--".join([*(getattr(self, group) for group in GROUPS), f"b{self.batch_size}"])

    def matches(self, pattern: Mapping[str, Any]) -> bool:
        """Whether every axis in `pattern` has this cell's value, or holds it in a list."""
        axes = vars(self)
        return all(
            axes[axis] in value if isinstance(value, (list, tuple)) else axes[axis] == value
            for axis, value in pattern.items()
        )


def expand(campaign: Mapping[str, Any]) -> dict[Cell, int]:
    """Cell -> replicates, for the cells that a campaign declares, in the order in which its axes list them.

    The grid is the product of `axes`; each entry of `also` is a further product, in which the axes (and
    the replicates) that it leaves out are those of the campaign. A cell declared twice has the replicates
    of where it has most. What matches an entry of `exclude` is left out.
    """
    whole = {**campaign["axes"], "replicates": campaign["replicates"]}
    cells: dict[Cell, int] = {}
    for block in (whole, *({**whole, **block} for block in campaign["also"])):
        for values in product(*(block[axis] for axis in (*GROUPS, "batch_size"))):
            cell = Cell(*values)
            cells[cell] = max(cells.get(cell, 0), block["replicates"])
    return {
        cell: replicates
        for cell, replicates in cells.items()
        if not any(cell.matches(pattern) for pattern in campaign["exclude"])
    }


def meaning_overrides(campaign: Mapping[str, Any], cell: Cell) -> list[str]:
    """The Hydra overrides that say what is measured: the same for every replicate of the cell."""
    settings = {key: campaign[key] for key in ("device", "cpu_threads", "seed", "timeout_s")}
    measure = {f"measure.{key}": value for key, value in sorted(campaign["measure"].items())}
    settings |= gpu_model_setting(campaign, vars(cell))
    return [f"{key}={value}" for key, value in {**vars(cell), **settings, **measure}.items()]


def command(campaign: Mapping[str, Any], cell: Cell) -> str:
    """The command that measures a cell again by hand. Of a campaign whose file is not known, the axes alone."""
    known = "measure" in campaign
    overrides = meaning_overrides(campaign, cell) if known else [f"{k}={v}" for k, v in vars(cell).items()]
    return shlex.join(["python", "scripts/benchmark.py", *overrides, "output=cell.parquet"])


def job_overrides(
    campaign: Mapping[str, Any], meaning: list[str], name: str, replicate: int, fingerprint: str
) -> list[str]:
    """All overrides of one job but its output. meaning: those that say what is measured."""
    return [
        *meaning,
        f"models_dir={hydra_quoted(campaign['models_dir'])}",
        # Quoted, because Hydra reads 3380452149192e67 as a number.
        f"campaign='{campaign['campaign']}'",
        f"cell={name}",
        f"replicate={replicate}",
        f"fingerprint='{fingerprint}'",
    ]


def hydra_quoted(text: str) -> str:
    """A text as the value of a Hydra override, whatever it holds (Hydra's manual, "Quoted values"): only backslashes
    before a quote count."""
    escaped = re.sub(r"(\\*)('|$)", lambda ending: 2 * ending[1] + ending[2].replace("'", "\\'"), text)
    return "'" + escaped.replace("${", "\\${") + "'"
