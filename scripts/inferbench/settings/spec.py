"""What can be said of an experiment before any of its code runs: the form of each `experiments/<name>/spec.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`draw` of `module`, below the experiment's folder, draws `figures/<name>.{svg,png,csv}`.

    category: the part of the report in which it stands. by_kind: whether kinds of device are kept apart, which leaves
    out what a cell has on another one.
    """

    name: str
    title: str
    caption: str
    category: str
    module: str = "figures"
    by_kind: bool = True


@dataclass(frozen=True)
class Spec:
    """place: where the experiment stands in the report. axes: those beside model, precision and attention, with the
    Hydra override that sets each (`group@package` chooses a Hydra file). figures: in the order of the report.
    with_others: figures for campaigns that name others to stand beside."""

    place: int
    axes: Mapping[str, str]
    figures: tuple[Figure, ...]
    with_others: tuple[Figure, ...] = ()
