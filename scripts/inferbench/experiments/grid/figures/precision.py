"""Draw memory and decode tokens/s by precision, all else held at the baseline's setting.

A row of two panels per model; a second one where the baseline's steps are not captured and several precisions
ran so, since what the host adds to a step hides what they differ by. Memory is that of the weights, and on a GPU
also the peak that torch allocated. Points are the replicates.
"""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pandas as pd

from inferbench.analysis.setting import at_setting, shown_setting
from inferbench.presentation.plot_data import plotted
from inferbench.presentation.style import INK, QUIET, UNITS, Style, heading, only_words, precision_styles
from inferbench.presentation.words import STATUS_WORDS, byte_unit, model_label, number, setting_words
from inferbench.tables.terms import CAPTURED

SPEED = "decode_tokens_per_s"
WEIGHTS = "weight_bytes"
PEAK = "peak_allocated_bytes"


def draw(measurements: pd.DataFrame, summary: pd.DataFrame) -> tuple[plt.Figure, pd.DataFrame]:
    """The figure and its data: bytes, and tokens/s of the whole batch."""
    title = "Memory and decode speed by precision"
    settings = {
        (model, setting["execution"]): (setting, why)
        for model in dict.fromkeys(summary["model"])
        for setting, why in _settings(summary, model)
    }
    shown = [at_setting(summary[summary["model"] == model], at) for (model, _), (at, _) in settings.items()]
    data = plotted(measurements, pd.concat(shown), [WEIGHTS, PEAK, SPEED])
    if data["value"].isna().all():
        return only_words(title, "No cell ended ok: there is nothing to draw."), data
    size = (9.2, 0.3 + 3.1 * len(settings))
    figure, grid = plt.subplots(len(settings), 2, figsize=size, squeeze=False, layout="constrained")
    styles = precision_styles(data["precision"])
    models = [model for model, _ in settings]
    sizes = data[data["quantity"] != SPEED]
    units = {model: byte_unit(own["value"].max()) for model, own in sizes.groupby("model")}
    for (memory, speed), (model, execution) in zip(grid, settings, strict=True):
        own = data[(data["model"] == model) & (data["execution"] == execution)]
        first = grid[models.index(model)]
        for axes, above in zip((memory, speed), first, strict=True):
            if axes is not above:  # both rows of a model are on one scale
                axes.sharey(above)
            axes.margins(y=0.14)
        _draw_memory(memory, own, styles, *units[model])
        _draw_speed(speed, own, styles)
        if len(settings) > 1:
            label = model_label(model, own["model_source"].iloc[0])
            memory.set_title(f"{label}, {execution}" if models.count(model) > 1 else label, loc="left")
    for axes in grid.flat:
        axes.set_ylim(bottom=0)
    heading(figure, title, *_notes(settings, data))
    return figure, data


def _settings(summary: pd.DataFrame, model: str) -> Iterator[tuple[dict[str, object], str]]:
    """(setting, why it is shown) of each of the model's rows."""
    setting, why = shown_setting(summary, model)
    yield setting, why
    for execution in CAPTURED if setting["execution"] not in CAPTURED else ():
        captured = setting | {"execution": execution}
        if (at_setting(summary[summary["model"] == model], captured)["status"] == "ok").sum() > 1:
            yield captured, "captured"
            return


def _draw_memory(
    axes: plt.Axes, own: pd.DataFrame, styles: dict[str, Style], unit: str, per_unit: float
) -> None:
    sizes = own[own["quantity"].isin([WEIGHTS, PEAK])]
    sizes = sizes.assign(value=sizes["value"] / per_unit)
    weights = sizes[sizes["quantity"] == WEIGHTS]
    peaks = sizes[(sizes["quantity"] == PEAK) & sizes["value"].notna()]
    places = _slots(axes, weights, styles)
    if peaks.empty:
        _bars(axes, weights, places, styles)
        axes.set_ylabel(f"weights ({unit})")
        return
    for peak in peaks.itertuples():
        at, colour = places[peak.precision] + 0.2, styles[peak.precision].colour
        axes.bar(at, peak.value, width=0.38, facecolor=colour, alpha=0.35, linewidth=0, zorder=2)
        _label(axes, at, peak.value, peak.value)
    _bars(axes, weights, {name: place - 0.2 for name, place in places.items()}, styles, width=0.38)
    axes.set_ylabel(f"weights, peak allocated ({unit})")


def _draw_speed(axes: plt.Axes, own: pd.DataFrame, styles: dict[str, Style]) -> None:
    speeds = own[own["quantity"] == SPEED]
    centres = speeds[speeds["replicate"].isna()]
    places = _slots(axes, centres, styles)
    tops = speeds.groupby("precision")[["value", "high"]].max().max(axis=1)
    _bars(axes, centres, places, styles, tops=tops)
    for precision, points in speeds[speeds["replicate"].notna()].groupby("precision"):
        # Side by side in the bar, in the order of the replicates.
        steps = points["replicate"].rank() - (len(points) + 1) / 2
        x = places[precision] - 0.06 + steps * min(0.14, 0.4 / len(points))
        face = points["valid"].map({True: INK, False: "white"})
        edge = points["valid"].map({True: "white", False: INK})
        axes.scatter(x, points["value"], s=26, c=face, edgecolors=edge, linewidths=0.9, zorder=4)
    ranges = centres[centres["low"].notna()]
    for row in ranges.itertuples():
        # White around it, or it would not show on the dark bars.
        for colour, width in (("white", 3.6), (INK, 1.6)):
            axes.vlines(places[row.precision] + 0.24, row.low, row.high, color=colour, lw=width, zorder=3)
    axes.set_ylabel(UNITS[SPEED])


def _slots(axes: plt.Axes, rows: pd.DataFrame, styles: dict[str, Style]) -> dict[str, int]:
    """Place of each precision on the x axis; a cell without a value says there what became of it."""
    places = {name: place for place, name in enumerate(n for n in styles if (rows["precision"] == n).any())}
    axes.set_xticks(list(places.values()), list(places), rotation=0 if len(places) < 6 else 20)
    axes.set_xlim(-0.6, len(places) - 0.4)
    axes.grid(axis="x", visible=False)
    for row in rows[rows["value"].isna()].itertuples():
        words = STATUS_WORDS.get(row.status, "no value")
        at = (places[row.precision], 0.02)
        axes.annotate(words, at, xycoords=("data", "axes fraction"), rotation=90, ha="center", color=QUIET)
    return places


def _bars(
    axes: plt.Axes,
    rows: pd.DataFrame,
    places: dict[str, float],
    styles: dict[str, Style],
    tops: pd.Series | None = None,
    width: float = 0.62,
) -> None:
    """A bar per row with its value above it, and above `tops` (the highest mark of each precision)."""
    for row in rows[rows["value"].notna()].itertuples():
        style = styles[row.precision]
        look = {"facecolor": style.colour, "edgecolor": "white", "hatchcolor": "white"}
        if not row.valid:
            look = {"facecolor": "white", "edgecolor": style.colour, "hatchcolor": style.colour, "lw": 1.4}
        axes.bar(places[row.precision], row.value, width=width, hatch=style.hatch, zorder=2, **look)
        top = row.value if tops is None else tops[row.precision]
        _label(axes, places[row.precision], top, row.value)


def _label(axes: plt.Axes, x: float, top: float, value: float) -> None:
    axes.annotate(number(value), (x, top), (0, 5), textcoords="offset points", ha="center", zorder=5)


def _notes(settings: dict[tuple[str, str], tuple[dict[str, object], str]], data: pd.DataFrame) -> list[str]:
    """Where the bars were taken, per model when that differs, and what the marks mean."""
    words: dict[str, str] = {}
    for (model, execution), (setting, why) in settings.items():
        line = f"At {why}: {setting_words(setting)}."
        words[model] = f"{words[model]} And captured: {execution}." if model in words else line
    if len(set(words.values())) == 1:
        (model, line), *others = words.items()
        source = data[data["model"] == model]["model_source"].iloc[0]
        lines = [line if others else f"{model_label(model, source)}. {line}"]
    else:
        lines = [f"{model}: {line}" for model, line in words.items()]
    marks = ["Points: replicates"]
    if data.loc[data["quantity"] == PEAK, "value"].notna().any():
        marks = ["Solid bars: weights; pale bars: peak that torch allocated; points: replicates"]
    if data["low"].notna().any():
        marks.append("whiskers: 95% intervals")
    if (data["value"].notna() & ~data["valid"]).any():
        marks.append("hollow: flagged, not ranked")
    return [*lines, "; ".join(marks) + "."]
