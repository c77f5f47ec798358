"""From tables on disk to a figure's files, the same way for every figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from inferbench.analysis.device_types import apart, of_cells, samples_of
from inferbench.plan.figures import Drawing
from inferbench.presentation.flagged import flagged_sentences, unflagged
from inferbench.presentation.style import add_note, apply_style, name_devices, save
from inferbench.tables import schema

#: What tables are checked against; an experiment's table and samples are only read.
SCHEMAS = {"measurements": schema.measurements, "summary": schema.summary}


def draw_figure(
    drawing: Drawing,
    draw: Callable[..., tuple[plt.Figure, pd.DataFrame]],
    tables: Mapping[str, Path],
    output: Path,
    others: Sequence[Any] = (),
) -> None:
    """Write `output`.svg, .png and .csv of a figure.

    draw: of the figure's module. tables: the files that the drawing names. others: the campaigns to stand beside,
    where it is drawn from such. Raises schema.SchemaError for a table that cannot be used.
    """
    apply_style()
    read = {name: schema.read_table(tables[name], SCHEMAS.get(name)) for name in drawing.tables}
    notes = []
    if "table" in read:
        table = schema.with_validity(read["table"])
        notes, read["table"] = flagged_sentences(table), unflagged(table)
    if drawing.beside:
        save(*draw(*read.values(), list(others)), output)
        return
    figure, data = draw(*(_by_kind(read) if drawing.figure.by_kind else read).values())
    for note in notes:
        add_note(figure, note)
    first = next(iter(read.values()))
    name_devices(figure, first.loc[first["status"] == "ok", "device_name"].dropna())
    save(figure, data, output)


def _by_kind(read: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables with kinds of device apart: the grid's as its summary has chosen them."""
    if "measurements" in read:
        kinds = of_cells(read["summary"])
        return {name: apart(table, kinds, kinds.nunique() > 1) for name, table in read.items()}
    kinds = {name: of_cells(read[name]) for name in ("table", "summary")}
    named = pd.concat(kinds.values()).nunique() > 1
    found = {name: apart(read[name], own, named) for name, own in kinds.items()}
    return {**read, **found, "samples": samples_of(found["table"], read["samples"])}
