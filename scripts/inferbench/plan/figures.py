"""The figures of a campaign, in the order of the report, and the tables that each is drawn from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from inferbench.plan.specs import GRID, specs
from inferbench.settings.spec import Figure

#: Every figure is three files: the two pictures, and the data that were drawn.
SUFFIXES = (".svg", ".png", ".csv")
#: Files of another campaign that this one can stand beside.
OF_ANOTHER = ("measurements.parquet", "provenance.json")


@dataclass(frozen=True)
class Drawing:
    """A figure of an experiment. tables: names of the files that it is drawn from, by what `draw` calls them.
    beside: whether it is drawn from other campaigns too."""

    experiment: str
    figure: Figure
    tables: dict[str, str]
    beside: bool = False

    @property
    def code(self) -> tuple[str, ...]:
        """Files below scripts/ in which the code that draws it begins."""
        module = self.figure.module.replace(".", "/")
        return "inferbench/presentation/drawing.py", f"inferbench/experiments/{self.experiment}/{module}.py"


def grid_drawings() -> list[Drawing]:
    """The figures of a campaign's grid."""
    tables = {"measurements": "measurements.parquet", "summary": "summary.parquet"}
    return [Drawing(GRID, figure, tables) for figure in specs()[GRID].figures]


def beside_drawings() -> list[Drawing]:
    """The figures of a campaign that names others to stand beside."""
    tables = {"measurements": "measurements.parquet"}
    return [Drawing(GRID, figure, tables, beside=True) for figure in specs()[GRID].with_others]


def experiment_drawings(experiment: str) -> list[Drawing]:
    """The figures of an experiment."""
    tables = {
        "table": f"{experiment}.parquet",
        "samples": f"{experiment}-samples.parquet",
        "summary": "summary.parquet",
    }
    return [Drawing(experiment, figure, tables) for figure in specs()[experiment].figures]


def drawings(experiments: Iterable[str]) -> list[Drawing]:
    """Every figure of a campaign that declares these experiments."""
    return [*grid_drawings(), *(own for name in experiments for own in experiment_drawings(name))]


def figure_files(drawn: Iterable[Drawing]) -> list[str]:
    """The files of these figures, as a campaign's folder holds them."""
    return [f"figures/{own.figure.name}{suffix}" for own in drawn for suffix in SUFFIXES]
