"""Panels of a metric against batch size, a line per precision: what throughput and latency share."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, NullLocator

from inferbench.presentation.plot_data import plotted, with_several
from inferbench.presentation.style import (
    QUIET,
    UNITS,
    Style,
    heading,
    legend,
    needs_log,
    only_words,
    precision_styles,
    scale_values,
)
from inferbench.presentation.words import STATUS_WORDS, axes_words, split_axes

ROW_AXES = ["model", "execution", "workload"]
#: More rows of panels than this are no longer a picture; the tables have them all.
MAX_ROWS = 24


def draw_against_batch(
    measurements: pd.DataFrame, summary: pd.DataFrame, metrics: list[str], title: str
) -> tuple[plt.Figure, pd.DataFrame]:
    """A row of panels per model, execution, workload and metric, a column per attention backend.

    Drawn are the rows that have several batch sizes; where none has, the data are empty.
    """
    data = with_several(plotted(measurements, summary, metrics), ROW_AXES, "batch_size")
    drawn = data[data["value"].notna()]
    if drawn.empty:
        return only_words(
            title, "No combination ended ok at several batch sizes: there is nothing to draw."
        ), data
    common, varying = split_axes(drawn, ROW_AXES)
    rows = list(drawn.groupby(ROW_AXES, sort=False))
    shown = rows[: MAX_ROWS // len(metrics)]
    columns = list(dict.fromkeys(drawn["attention"]))
    panels = [(own, metric) for _, own in shown for metric in metrics]
    figure, grid = plt.subplots(
        len(panels),
        len(columns),
        figsize=(max(6.4, 0.6 + 3.1 * len(columns)), 0.5 + 2.5 * len(panels)),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    styles = precision_styles(drawn["precision"])
    batches = sorted(drawn["batch_size"].unique())
    octaves = 1 + math.log2(batches[-1] / batches[0])
    # One scale for all panels of a quantity: slopes are to be compared.
    logs = {name: any(needs_log(own[own["quantity"] == name]) for own, _ in panels) for name in metrics}
    for line, (own, metric) in zip(grid, panels, strict=True):
        here = own[own["quantity"] == metric]
        # The row's name runs on over the panels to the right, which leave that line of their titles free.
        name = axes_words(own.iloc[0], varying)
        for axes, attention in zip(line, columns, strict=True):
            _draw_panel(axes, here[here["attention"] == attention], styles, octaves)
            words = f"{name}, {attention}" if len(columns) == 1 else f"{name}\n{attention}"
            axes.set_title(words if varying else attention, loc="left")
            name = ""
        line[0].set_ylabel(UNITS[metric])
        scale_values(line[0], here, logs[metric])
    _batch_ticks(grid, batches, octaves)
    legend(figure, styles, drawn)
    heading(figure, title, common, _left_out(summary, columns), _too_many(len(rows), len(shown)))
    return figure, data


def _draw_panel(axes: plt.Axes, here: pd.DataFrame, styles: dict[str, Style], octaves: float) -> None:
    # Limits are set by `scale_values` and `_batch_ticks`; searching for them after every mark is slow.
    axes.set_autoscale_on(False)
    if here.empty:
        axes.text(0.5, 0.5, "no ok cell", transform=axes.transAxes, ha="center", va="center", color=QUIET)
    for place, (precision, style) in enumerate(styles.items()):
        own = here[here["precision"] == precision].sort_values("batch_size", kind="stable")
        # Side by side, a little: marks of equal height must not hide each other.
        x = own["batch_size"].astype(float) * 2 ** (octaves * 0.016 * (place - (len(styles) - 1) / 2))
        centre = own["replicate"].isna()
        axes.plot(x[centre], own["value"][centre], color=style.colour, lw=1.2, zorder=2)
        for valid, face in ((True, style.colour), (False, "white")):
            look = {"facecolor": face, "edgecolor": style.colour, "linewidth": 1}
            marks = own["valid"] == valid
            if not marks.any():
                continue
            axes.scatter(
                x[centre & marks], own["value"][centre & marks], s=30, marker=style.marker, zorder=3, **look
            )
            points = x[~centre & marks] * 2 ** (octaves * 0.03)
            axes.scatter(points, own["value"][~centre & marks], s=6, zorder=3, **look | {"linewidth": 0.7})
        spread = own[centre & own["low"].notna()]
        axes.vlines(x[spread.index], spread["low"], spread["high"], color=style.colour, lw=1.6, zorder=2.5)


def _batch_ticks(grid: np.ndarray, batches: list[int], octaves: float) -> None:
    for axes in grid.flat:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(batches))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        spare = 2 ** (octaves * 0.12)
        axes.set_xlim(batches[0] / spare, batches[-1] * spare)
    for axes in grid[-1]:
        axes.set_xlabel("batch size (sequences)")


def _left_out(summary: pd.DataFrame, columns: list[str]) -> str:
    """Attention backends of which no cell ended ok, and what became of their cells."""
    absent = summary[~summary["attention"].isin(columns)].groupby("attention", sort=False)["status"].unique()
    words = [
        f"{name} ({', '.join(STATUS_WORDS[s] for s in statuses)})"
        for name, statuses in absent.items()
        if "ok" not in statuses
    ]
    return f"No ok cell, so no panel: {'; '.join(words)}" if words else ""


def _too_many(rows: int, shown: int) -> str:
    return (
        f"The first {shown} of {rows} combinations of model, execution and workload are drawn."
        if shown < rows
        else ""
    )
