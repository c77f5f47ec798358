"""Draw every declared cell of the grid: its decode tokens/s, or what became of it.

A panel per model, execution and workload: precisions down, attention backends and batch sizes across.
"""

from __future__ import annotations

from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from inferbench.presentation.plot_data import plotted
from inferbench.presentation.style import INK, NOT_OK, QUIET, heading, only_words
from inferbench.presentation.words import STATUS_WORDS, axes_words, number, precision_order, split_axes
from inferbench.tables.terms import INVALIDATING_FLAGS

SPEED = "decode_tokens_per_s"
PANEL = ["model", "execution", "workload"]
COLOURS = "viridis"
#: Above this many cells, words in them are too small to read: marks and a legend take their place.
MOST_WITH_WORDS = 400
#: Inches of figure that a letter takes, about.
LETTER = 0.077
STATUS_MARKS = {"oom": "x", "unsupported": "_", "timeout": "|", "failed": "+", "skipped": ".", "missing": "1"}


def draw(measurements: pd.DataFrame, summary: pd.DataFrame) -> tuple[plt.Figure, pd.DataFrame]:
    """The figure and its data: tokens/s of the whole batch, centre of the replicates."""
    data = plotted(measurements, summary, [SPEED])
    data = data[data["replicate"].isna()].drop(columns=["replicate", "low", "high"]).reset_index(drop=True)
    title = "The whole grid: decode tokens/s"
    if data.empty:
        return only_words(title, "The campaign has no cells."), data
    common, varying = split_axes(data, PANEL)
    words = len(data) <= MOST_WITH_WORDS
    panels = list(data.groupby(PANEL, sort=False))
    columns = list(data[["attention", "batch_size"]].drop_duplicates().itertuples(index=False, name=None))
    attentions = list(dict.fromkeys(attention for attention, _ in columns))
    columns.sort(key=lambda column: (attentions.index(column[0]), column[1]))
    # Without words the columns of all panels are one under the other, with the batch sizes at the bottom.
    columns_of = [
        [column for column in columns if not words or column in zip(cells["attention"], cells["batch_size"])]
        for _, cells in panels
    ]
    widest = max(map(len, columns_of))
    heights = [cells["precision"].nunique() for _, cells in panels]
    # The name of an attention backend has to fit over its columns.
    counts = [Counter(name for name, _ in own) for own in columns_of]
    name_width = max(LETTER * len(name) / count for own in counts for name, count in own.items())
    cell_width, cell_height = (max(0.86, name_width), 0.42) if words else (max(0.28, name_width), 0.2)
    size = (
        max(6.5, 1.6 + cell_width * widest),
        0.3 + cell_height * sum(heights) + 0.75 * len(panels),
    )
    figure, grid = plt.subplots(
        len(panels), 1, figsize=size, height_ratios=heights, squeeze=False, layout="constrained"
    )
    norm = _norm(data["value"])
    for axes, (_, cells), own in zip(grid[:, 0], panels, columns_of, strict=True):
        axes.set_xlim(0, widest)
        _draw_panel(axes, cells, own, norm, words)
        if varying:
            axes.set_title(axes_words(cells.iloc[0], varying), loc="left", pad=20)
        # Where there are hundreds of cells, batch sizes under every panel are clutter.
        axes.tick_params(labelbottom=words or axes is grid[-1, 0])
    grid[-1, 0].set_xlabel("batch size (sequences)")
    if norm:
        _colour_bar(figure, grid, norm)
    if not words:
        _status_legend(figure, data)
    heading(figure, title, common, _counts(data))
    return figure, data


def _draw_panel(
    axes: plt.Axes, cells: pd.DataFrame, columns: list[tuple[str, int]], norm: LogNorm | None, words: bool
) -> None:
    rows = precision_order(cells["precision"])
    keys = zip(cells["attention"], cells["batch_size"], strict=True)
    cells = cells.assign(x=[columns.index(key) for key in keys], y=cells["precision"].map(rows.index))
    axes.set_ylim(len(rows), 0)
    axes.set_autoscale_on(False)
    valid = cells["valid"] & cells["value"].notna()
    values = np.full((len(rows), len(columns)), np.nan)
    values[cells["y"][valid], cells["x"][valid]] = cells["value"][valid]
    # Neither seaborn's heatmap nor a rasterised mesh: these go over the whole figure once per panel.
    look = {"norm": norm, "cmap": COLOURS}
    if valid.any() and words:
        axes.pcolormesh(np.ma.masked_invalid(values), edgecolors="white", linewidth=1, **look)
    elif valid.any():
        axes.imshow(
            values, extent=(0, len(columns), len(rows), 0), aspect="auto", interpolation="nearest", **look
        )
    if words:
        _write_values(axes, cells[valid], norm)
        _write_others(axes, cells[~valid], norm)
    else:
        _mark_others(axes, cells[~valid], norm)
    axes.grid(visible=False)
    sns.despine(ax=axes, left=True, bottom=True)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, rotation=0)
    axes.set_xticks(np.arange(len(columns)) + 0.5, [batch for _, batch in columns], rotation=0)
    for attention in dict.fromkeys(name for name, _ in columns):
        places = [place for place, (name, _) in enumerate(columns) if name == attention]
        axes.annotate(attention, (np.mean(places) + 0.5, 0), (0, 4), textcoords="offset points", ha="center")
        if places[0]:
            axes.axvline(places[0], color=INK, lw=1)


def _write_values(axes: plt.Axes, cells: pd.DataFrame, norm: LogNorm | None) -> None:
    for row in cells.itertuples():
        ink = _ink_on(plt.get_cmap(COLOURS)(norm(row.value)))
        axes.text(row.x + 0.5, row.y + 0.5, number(row.value), ha="center", va="center", color=ink)


def _write_others(axes: plt.Axes, cells: pd.DataFrame, norm: LogNorm | None) -> None:
    """Cells that are not ok (grey, with their status) or flagged (white, framed, with their number)."""
    for row in cells.itertuples():
        look = {
            "facecolor": NOT_OK,
            "hatch": "///",
            "hatchcolor": "#D8D8D8",
            "edgecolor": "white",
            "linewidth": 1,
        }
        inset = 0.0
        text = STATUS_WORDS.get(row.status, "no value").replace("out of ", "out of\n")
        if pd.notna(row.value):
            look = {"facecolor": "white", "edgecolor": plt.get_cmap(COLOURS)(norm(row.value)), "linewidth": 2}
            text = "\n".join(
                [number(row.value), *(f for f in row.flags.split(",") if f in INVALIDATING_FLAGS)]
            )
            inset = 0.04  # the frame's line must not lie under a neighbour
        axes.add_patch(Rectangle((row.x + inset, row.y + inset), 1 - 2 * inset, 1 - 2 * inset, **look))
        axes.text(row.x + 0.5, row.y + 0.5, text, ha="center", va="center", fontsize=7.5, linespacing=1.05)


def _mark_others(axes: plt.Axes, cells: pd.DataFrame, norm: LogNorm | None) -> None:
    """The same where there is no room for words: a mark per status, an open square when flagged."""
    flagged = cells[cells["value"].notna()]
    if len(flagged):
        colours = plt.get_cmap(COLOURS)(norm(flagged["value"].to_numpy()))
        look = {"marker": "s", "s": 60, "facecolors": "white", "edgecolors": colours}
        axes.scatter(flagged["x"] + 0.5, flagged["y"] + 0.5, **look)
    for status, own in cells[cells["value"].isna()].groupby("status", sort=False):
        axes.scatter(
            own["x"] + 0.5, own["y"] + 0.5, marker=STATUS_MARKS.get(status, "*"), s=18, color=QUIET, lw=1
        )


def _ink_on(colour: tuple[float, float, float, float]) -> str:
    """White or black, whichever contrasts more: on no colour is it less than 4.5 to 1 (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = float(np.dot((0.2126, 0.7152, 0.0722), linear))
    return "black" if luminance > 0.179 else "white"


def _norm(values: pd.Series) -> LogNorm | None:
    """One logarithmic colour scale for all panels; None when no cell has a value."""
    low, high = values[values > 0].min(), values.max()
    if pd.isna(low):
        return None
    return LogNorm(low, high if high > low else 1.01 * low)


def _colour_bar(figure: plt.Figure, grid: np.ndarray, norm: LogNorm) -> None:
    scale = plt.cm.ScalarMappable(norm, COLOURS)
    height = figure.get_size_inches()[1]
    place = {"shrink": min(1, 4 / height), "anchor": (0, 1), "aspect": 25, "fraction": 0.04}
    bar = figure.colorbar(scale, ax=grid[:, 0], label="decode tokens/s, log scale", **place)
    ticks = np.geomspace(norm.vmin, norm.vmax, 4)
    bar.set_ticks(ticks, labels=[number(tick) for tick in ticks], minor=False)
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)


def _status_legend(figure: plt.Figure, data: pd.DataFrame) -> None:
    present = [status for status in STATUS_MARKS if (data["status"] == status).any()]
    marks = [Line2D([], [], ls="", marker=STATUS_MARKS[status], ms=5, color=QUIET) for status in present]
    figure.legend(marks, [STATUS_WORDS[s] for s in present], loc="outside lower left", ncols=6, frameon=False)


def _counts(data: pd.DataFrame) -> str:
    """'24 cells: 16 ok (2 of them flagged), 8 unsupported'."""
    ok = data["status"] == "ok"
    flagged = (ok & ~data["valid"]).sum()
    note = f" ({flagged} of them flagged: framed, not to be ranked)" if flagged else ""
    others = data["status"][~ok].value_counts()
    parts = [f"{ok.sum()} ok{note}", *(f"{count} {STATUS_WORDS[status]}" for status, count in others.items())]
    return f"{len(data)} cells: {', '.join(parts)}"
