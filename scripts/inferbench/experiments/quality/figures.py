"""Draw quality against speed and against memory, a point per precision: the Pareto front.

A row of two panels per model, with speed and memory at the baseline's setting. The divergence axis is
logarithmic, with a place below it for none at all.
"""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import pandas as pd

from inferbench.analysis.pareto import dominated_by
from inferbench.analysis.setting import at_setting, shown_setting
from inferbench.experiments.quality.table import ranked
from inferbench.presentation.style import INK, QUIET, Style, heading, only_words, precision_styles
from inferbench.presentation.words import byte_unit, model_label, setting_words, significant

TITLE = "Quality, speed and memory: which precisions are worth having"
GREYED = "#BBBBBB"
SPEED = "decode_tokens_per_s"
NUMBERS = ["kl", "kl_low", "kl_high", SPEED, f"{SPEED}_low", f"{SPEED}_high", "memory_bytes"]
SUBJECT = ["model", "attention", "reference"]


def draw(
    table: pd.DataFrame, samples: pd.DataFrame, summary: pd.DataFrame
) -> tuple[plt.Figure, pd.DataFrame]:
    """The figure and its data: a row per precision, with what dominates it."""
    data = plotted(table, summary)
    if data.empty:
        return only_words(TITLE, "No job ended ok: there is nothing to draw."), data
    subjects = [own for _, own in data.groupby(SUBJECT, sort=False)]
    notes = [note for own in subjects for note in _notes(own)]
    subjects = [own for own in subjects if own["complete"].any()]
    if not subjects:
        return only_words(TITLE, "No precision has both a divergence and a speed that may be ranked."), data
    size = (8.6, 0.35 + 3.2 * len(subjects))
    figure, grid = plt.subplots(len(subjects), 2, figsize=size, squeeze=False, layout="constrained")
    styles = precision_styles(data["precision"])
    for (left, right), own in zip(grid, subjects, strict=True):
        floor = _divergence_axes([left, right], own)
        unit, per_unit = byte_unit(own["memory_bytes"].max())
        own = own.assign(memory=own["memory_bytes"] / per_unit)
        _points(left, own, SPEED, styles, floor)
        _points(right, own, "memory", styles, floor)
        left.set_xlabel("decode (tokens/s) → better")
        right.set_xlabel(f"better ← {own['memory_kind'].iloc[0]} ({unit})")
        left.set_ylabel(f"KL divergence from {own['reference'].iloc[0]} (nats)\nbetter ↓")
        if len(subjects) > 1:
            left.set_title(", ".join(own.iloc[0][SUBJECT]), loc="left")
    heading(figure, TITLE, *notes, "Whiskers: 95% intervals. Grey: dominated.")
    return figure, data


def plotted(table: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """A row per precision whose quality is known, with its speed and memory at the shown setting of its
    model (null where that cell has none) and the precisions that dominate it, comma-separated."""
    parts = []
    for _, own in ranked(table).groupby(SUBJECT, sort=False):
        cells = summary[summary["model"] == own["model"].iloc[0]]
        setting, why = shown_setting(summary, own["model"].iloc[0]) if len(cells) else ({}, "")
        there = at_setting(cells, setting)
        on_gpu = there["peak_allocated_bytes"].notna().any()
        memory = "peak_allocated_bytes" if on_gpu else "weight_bytes"
        there = there.assign(memory_bytes=there[memory])
        columns = ["precision", SPEED, f"{SPEED}_low", f"{SPEED}_high", "memory_bytes"]
        own = own[[*SUBJECT, "model_source", "precision", "kl", "kl_low", "kl_high"]].merge(
            there[columns], on="precision", how="left"
        )
        own[NUMBERS] = own[NUMBERS].astype(float).map(significant)
        own = own.set_index("precision", drop=False)
        dominators = dominated_by(own, ["kl", "memory_bytes"], SPEED)
        complete = own[["kl", SPEED, "memory_bytes"]].notna().all(axis=1)
        parts.append(
            own.assign(
                memory_kind="peak allocated" if on_gpu else "weights",
                setting=f"{why}: {setting_words(setting)}"
                if setting
                else "no cell of the grid has this model",
                complete=complete,
                dominated_by=dominators.map(", ".join),
            )
        )
    if not parts:
        return pd.DataFrame(columns=[*SUBJECT, "precision", *NUMBERS])
    return pd.concat(parts, ignore_index=True)


def _divergence_axes(panels: list[plt.Axes], own: pd.DataFrame) -> float | None:
    """Make the y axes those of divergences; return where 0 stands, None when no precision has it."""
    ends = own[["kl", "kl_low", "kl_high"]].to_numpy(dtype=float)
    positive = ends[ends > 0]
    least, most = (positive.min(), positive.max()) if len(positive) else (0.1, 1.0)
    lowest, highest = 10.0 ** math.floor(math.log10(least)), 10.0 ** math.ceil(math.log10(1.2 * most))
    floor = lowest / 6 if (own["kl"] == 0).any() else None
    for axes in panels:
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_ylim(floor / 2 if floor else lowest, highest)
        decades = round(math.log10(highest / lowest))
        places = [lowest * 10.0**step for step in range(decades + 1)]
        ticks = {place: f"{place:.12f}".rstrip("0").rstrip(".") for place in places}
        if floor:
            ticks = {floor: "0", **ticks}
            axes.axhline(lowest / 2, color="#999999", lw=0.8, ls=(0, (2, 2)))
        axes.set_yticks(list(ticks), list(ticks.values()))
    return floor


def _points(
    axes: plt.Axes, own: pd.DataFrame, quantity: str, styles: dict[str, Style], floor: float | None
) -> None:
    """A mark per precision with its name beside it, on the side with more room, above and below in turn:
    twins (nf4, nf4-double) are neighbours."""
    known = own[own[quantity].notna()]
    for place, row in enumerate(known.to_dict("records")):
        front = not row["dominated_by"]
        look = styles[row["precision"]]
        colour = look.colour if front else GREYED
        x, y = row[quantity], row["kl"] or floor
        if row["kl"] and pd.notna(row["kl_low"]):
            # A lower end of 0 has no place on the logarithmic axis: the whisker ends at the break.
            axes.vlines(x, row["kl_low"] or (floor or y), row["kl_high"], color=colour, lw=1.3, zorder=2)
        if quantity == SPEED and pd.notna(row[f"{SPEED}_low"]):
            axes.hlines(y, row[f"{SPEED}_low"], row[f"{SPEED}_high"], color=colour, lw=1.3, zorder=2)
        axes.plot(x, y, look.marker, color=colour, ms=7, mec="white", mew=0.8, zorder=3)
        beyond_middle = x > known[quantity].max() / 2
        axes.annotate(
            row["precision"],
            (x, y),
            (-7 if beyond_middle else 7, -11 if place % 2 else 4),
            textcoords="offset points",
            ha="right" if beyond_middle else "left",
            color=INK if front else QUIET,
            fontsize=8.5,
        )
    axes.set_xlim(0, 1.1 * known[quantity].max() if len(known) else 1)


def _notes(own: pd.DataFrame) -> list[str]:
    """Where speed and memory were measured, what is dominated by what, and what has no place."""
    first = own.iloc[0]
    lines = [f"{model_label(first['model'], first['model_source'])}. At {first['setting']}."]
    beaten = [f"{row.precision} by {row.dominated_by}" for row in own[own["dominated_by"] != ""].itertuples()]
    if beaten:
        lines.append(f"Dominated: {'; '.join(beaten)}.")
    absent = list(own.loc[~own["complete"], "precision"])
    if absent:
        lines.append(f"Not drawn, for want of a speed that may be ranked there: {', '.join(absent)}.")
    return lines
