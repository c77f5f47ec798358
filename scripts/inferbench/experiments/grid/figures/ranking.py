"""Draw every combination of precision, attention and execution, fastest first, for one stream and for throughput.

A panel per model, workload and batch size: of each model and workload the smallest batch size and the largest.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from inferbench.presentation.plot_data import plotted
from inferbench.presentation.style import (
    QUIET,
    UNITS,
    heading,
    legend,
    only_words,
    precision_styles,
    with_commas,
)
from inferbench.presentation.words import axes_words, number, split_axes

SPEED = "decode_tokens_per_s"
PANEL = ["model", "workload", "batch_size"]
CHOICES = ["precision", "attention", "execution"]
#: More than these are no longer a picture; the report's table has every cell.
MAX_PANELS, MAX_ROWS = 10, 16


def draw(measurements: pd.DataFrame, summary: pd.DataFrame) -> tuple[plt.Figure, pd.DataFrame]:
    """The figure and its data; decode tokens/s are of the whole batch. A flagged cell stands below the others."""
    title = "Every combination, fastest first"
    data = plotted(measurements, summary, [SPEED])
    ok = data[data["value"].notna()]
    if ok.empty:
        return only_words(title, "No cell ended ok: there is nothing to draw."), data
    panels = [own for batches in _by_workload(ok) for own in batches]
    shown = [_fastest_first(own) for own in panels[:MAX_PANELS]]
    centres = [own[own["replicate"].isna()] for own in shown]
    drawn = pd.concat(shown)
    common, varying = split_axes(drawn, PANEL)
    chosen, told = split_axes(drawn, CHOICES)
    # An array, which adds up alike in every Python, in matplotlib too: floats in a list do not.
    bars = 0.24 * np.array([len(rows) for rows in centres])
    figure, grid = plt.subplots(
        len(shown),
        1,
        figsize=(8.2, 0.5 + (0.55 + bars).sum()),
        height_ratios=0.5 + bars,
        squeeze=False,
        layout="constrained",
    )
    styles = precision_styles(ok["precision"])
    for axes, own, rows in zip(grid[:, 0], shown, centres, strict=True):
        _draw_panel(axes, own, rows, styles)
        axes.set_yticks(range(len(rows)), [_choice(row, told) for _, row in rows.iterrows()])
        if varying:
            axes.set_title(axes_words(rows.iloc[0], varying), loc="left")
    grid[-1, 0].set_xlabel(UNITS[SPEED])
    legend(
        figure,
        {name: styles[name] for name in styles if name in set(drawn["precision"])},
        drawn,
        interval="_",
    )
    heading(figure, title, ", ".join(filter(None, [common, chosen])), _left_out(panels, shown))
    return figure, data


def _by_workload(ok: pd.DataFrame) -> list[list[pd.DataFrame]]:
    """The rows of the smallest and the largest batch size of each model and workload."""
    found = []
    for _, own in ok.groupby(PANEL[:2], sort=False):
        ends = dict.fromkeys([own["batch_size"].min(), own["batch_size"].max()])
        found.append([own[own["batch_size"] == batch] for batch in ends])
    return found


def _fastest_first(own: pd.DataFrame) -> pd.DataFrame:
    """The rows of the panel's first cells: those that may be ranked by their centre, then the flagged ones."""
    centres = own[own["replicate"].isna()].sort_values(["valid", "value"], ascending=False, kind="stable")
    order = {cell: place for place, cell in enumerate(centres["cell"].head(MAX_ROWS))}
    own = own[own["cell"].isin(order)]
    return own.assign(place=own["cell"].map(order)).sort_values(["place", "replicate"], na_position="first")


def _draw_panel(axes: plt.Axes, own: pd.DataFrame, rows: pd.DataFrame, styles: dict) -> None:
    longest = own[["value", "high"]].max().max()
    for place, (_, row) in enumerate(rows.iterrows()):
        style = styles[row["precision"]]
        face = style.colour if row["valid"] else "white"
        axes.hlines(place, 0, row["value"], color=style.colour, lw=1, alpha=0.45)
        axes.scatter(
            row["value"], place, s=34, marker=style.marker, facecolor=face, edgecolor=style.colour, zorder=3
        )
        if pd.notna(row["low"]):
            axes.hlines(place, row["low"], row["high"], color=style.colour, lw=2.2, zorder=2.5)
        end = own.loc[own["place"] == place, ["value", "high"]].max().max()
        axes.text(end + 0.018 * longest, place, number(row["value"]), va="center", fontsize=8)
    single = own[own["replicate"].notna()]
    colours = [styles[precision].colour for precision in single["precision"]]
    faces = [colour if valid else "white" for colour, valid in zip(colours, single["valid"], strict=True)]
    axes.scatter(single["value"], single["place"] + 0.27, s=5, color=faces, edgecolor=colours, linewidth=0.7)
    axes.set_xlim(0, 1.12 * longest)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_major_formatter(with_commas)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.axvline(0, color=QUIET, lw=0.8)


def _choice(row: pd.Series, told: list[str]) -> str:
    return ", ".join(row[axis] for axis in told or CHOICES[:1])


def _left_out(panels: list[pd.DataFrame], shown: list[pd.DataFrame]) -> str:
    fewer = any(own["cell"].nunique() > MAX_ROWS for own in panels[: len(shown)])
    parts = [f"the first {len(shown)} of {len(panels)} panels" if len(shown) < len(panels) else ""]
    parts.append(f"the fastest {MAX_ROWS} of each panel" if fewer else "")
    words = " and ".join(filter(None, parts))
    return f"Drawn: {words}." if words else ""
