"""Draw memory: what was predicted before the run against what was measured, and each figure of it apart.

A row of two panels per model. Left a mark per cell, with the line on which prediction and measurement
agree; right the figures of each precision at the baseline's setting.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from inferbench.analysis.limits import measured_bytes
from inferbench.analysis.setting import at_setting, shown_setting
from inferbench.presentation.cell_means import IDENTITY, nothing_to_draw
from inferbench.presentation.not_known import left_out_notes
from inferbench.presentation.style import (
    INK,
    QUIET,
    Style,
    heading,
    only_words,
    precision_styles,
    with_commas,
)
from inferbench.presentation.words import byte_unit, model_label, number, setting_words, significant

PREDICTED = "predicted_bytes"
FORMULA = "kv_cache_formula_bytes"
GPU_PEAK, PROCESS, CPU_PEAK = "peak_allocated_bytes", "process_gpu_bytes", "peak_rss_bytes"
#: Every figure of memory that is kept apart, and its name in the picture. RSS is shown on a CPU alone.
FIGURES = {
    "weight_bytes": "weights",
    "kv_cache_bytes": "KV cache",
    GPU_PEAK: "peak allocated",
    "peak_reserved_bytes": "peak reserved",
    PROCESS: "process (driver)",
    CPU_PEAK: "peak RSS",
}
RSS_WORDS = (
    "Peak RSS is resident memory of the whole process since its start: Python, its libraries, the buffers of"
    " the bandwidth test and loading included. The prediction is of the model alone."
)
GPU_WORDS = "Measured is the GPU memory of the process, as the driver sees it: torch's reserve, and the driver's context."


def sizes(measurements: pd.DataFrame) -> pd.DataFrame:
    """A row per ok cell and memory figure: the largest of its replicates, in bytes."""
    ok = measurements[measurements["status"] == "ok"]
    ok = ok.assign(device_name=ok["device_name"].astype(object).fillna("unknown device"))
    columns = [PREDICTED, *FIGURES, FORMULA]
    largest = ok.groupby("cell", sort=False)[columns].max().astype(float).reset_index()
    identity = ok.sort_values("valid", ascending=False, kind="stable").drop_duplicates("cell")[IDENTITY]
    wide = largest.merge(identity, on="cell")
    data = wide.melt(IDENTITY, columns, "quantity", "value").dropna(subset="value")
    return data.assign(value=data["value"].map(significant)).reset_index(drop=True)


def draw(measurements: pd.DataFrame, summary: pd.DataFrame) -> tuple[plt.Figure, pd.DataFrame]:
    """The figure and its data, in bytes."""
    title = "Memory: predicted, and measured"
    data = sizes(measurements)
    if data.empty:
        return only_words(title, nothing_to_draw(measurements, "No cell has a memory figure.")), data
    models = list(dict.fromkeys(data["model"]))
    settings = {model: shown_setting(summary, model)[0] for model in models}
    shown = {model: at_setting(data[data["model"] == model], settings[model]) for model in models}
    # An array, which adds up alike in every Python, in matplotlib too: floats in a list do not.
    heights = np.array([max(2.9, 0.2 * len(own)) for own in shown.values()])
    figure, grid = plt.subplots(
        len(models), 2, figsize=(9.6, heights.sum() + 0.4), height_ratios=heights, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    styles = precision_styles(data["precision"])
    for (left, right), model in zip(grid, models, strict=True):
        own = data[data["model"] == model]
        _draw_prediction(left, pairs(own), styles)
        _draw_figures(right, shown[model], styles)
        if len(models) > 1:
            left.set_title(model_label(model, own["model_source"].iloc[0]), loc="left")
    _legend(figure, styles, data)
    unknown = left_out_notes(measurements, (PREDICTED, "kv_cache_bytes"))
    heading(figure, title, *_notes(data, settings), *unknown)
    return figure, data


def pairs(data: pd.DataFrame) -> pd.DataFrame:
    """A row per cell that has both: `predicted` and `measured` bytes, on a GPU those of the process (torch's peak
    where the driver does not tell), else peak RSS."""
    wide = data.pivot_table(index="cell", columns="quantity", values="value", sort=False)
    wide = wide.reindex(columns=[PREDICTED, PROCESS, GPU_PEAK, CPU_PEAK])
    both = pd.DataFrame({"predicted": wide[PREDICTED], "measured": measured_bytes(wide)}).dropna()
    return data.drop_duplicates("cell")[IDENTITY].merge(both.reset_index(), on="cell")


def _draw_prediction(axes: plt.Axes, cells: pd.DataFrame, styles: dict[str, Style]) -> None:
    if cells.empty:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no cell has a prediction and a measurement", ha="center", color=QUIET)
        return
    values = cells[["predicted", "measured"]].to_numpy()
    unit, per_unit = byte_unit(values.max())
    low, high = values.min() / per_unit, values.max() / per_unit
    for precision, own in cells.groupby("precision"):
        style = styles[precision]
        for valid, face in ((True, style.colour), (False, "white")):
            rows = own[own["valid"].astype(bool) == valid]
            look = {"facecolor": face, "edgecolor": style.colour, "linewidth": 1}
            axes.scatter(
                rows["predicted"] / per_unit, rows["measured"] / per_unit, s=32, marker=style.marker, zorder=3, **look
            )  # fmt: skip
    start, end = (low / 1.3, high * 1.3) if high > 10 * low else (0, 1.1 * high)
    if start:
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(with_commas)
    axes.plot([start, end], [start, end], color=INK, lw=0.9, ls="--", zorder=1)
    look = {"xycoords": "axes fraction", "ha": "right", "va": "center", "color": QUIET, "fontsize": 8}
    axes.annotate("measured = predicted", (0.9, 0.95), **look)
    axes.set(xlim=(start, end), ylim=(start, end), xlabel=f"predicted ({unit})")
    axes.set_ylabel(f"measured ({unit})" + (", log scales" if start else ""))


def _draw_figures(axes: plt.Axes, own: pd.DataFrame, styles: dict[str, Style]) -> None:
    """Bars of each figure, precision by precision, from the top."""
    on_gpu = (own["quantity"] == GPU_PEAK).any()
    bars = {PREDICTED: "predicted", **FIGURES}
    if on_gpu:
        bars.pop(CPU_PEAK)
    largest = own.loc[own["quantity"].isin(bars), "value"].max()
    unit, per_unit = byte_unit(largest)
    place, ticks = 0.0, {}
    for precision, style in styles.items():
        here = own[own["precision"] == precision].set_index("quantity")["value"]
        here = here[~here.index.duplicated()]
        names = [quantity for quantity in bars if quantity in here]
        if not names:
            continue
        ticks[precision] = place + (len(names) - 1) / 2
        for quantity in names:
            predicted = quantity == PREDICTED
            look = {"facecolor": "white", "edgecolor": INK, "ls": "--"} if predicted else {
                "facecolor": style.colour, "edgecolor": "white"
            }  # fmt: skip
            axes.barh(place, here[quantity] / per_unit, height=0.82, zorder=2, **look)
            words = f"{bars[quantity]} {_size(here[quantity])}"
            if quantity == "kv_cache_bytes" and FORMULA in here:
                words += f" (by formula {_size(here[FORMULA])})"
            axes.annotate(words, (here[quantity] / per_unit, place), (4, 0), textcoords="offset points",
                          va="center", fontsize=7.5)  # fmt: skip
            place += 1
        place += 0.8
    axes.set_yticks(list(ticks.values()), list(ticks))
    axes.set_ylim(max(place - 0.9, 0.6), -0.7)
    axes.set_xlim(0, 1.55 * (largest or 1.0) / per_unit)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"memory ({unit})")


def _size(size: float) -> str:
    unit, per_unit = byte_unit(size)
    return f"{number(size / per_unit)} {unit}"


def _legend(figure: plt.Figure, styles: dict[str, Style], data: pd.DataFrame) -> None:
    handles = {
        name: Line2D([], [], ls="", color=look.colour, marker=look.marker) for name, look in styles.items()
    }
    if not data["valid"].all():
        handles["flagged, not ranked"] = Line2D([], [], ls="", marker="o", mfc="white", color=QUIET)
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower left", ncols=min(6, len(handles)), frameon=False
    )  # fmt: skip


def _notes(data: pd.DataFrame, settings: dict[str, dict[str, object]]) -> list[str]:
    notes = []
    names = data.drop_duplicates("model")[["model", "model_source"]]
    where = [f"bars at {setting_words(settings[model])}" for model in names["model"]]
    for (model, source), at in zip(names.itertuples(index=False, name=None), where, strict=True):
        notes.append(f"{model_label(model, source)}: {at}.")
    both = pairs(data)
    if len(both):
        ratio = both["measured"] / both["predicted"]
        notes.append(
            f"Measured over predicted, {len(both)} cells: {number(ratio.min())} to {number(ratio.max())}."
        )
    quantities = set(data["quantity"])
    if PROCESS in quantities:
        notes.append(GPU_WORDS)
    elif CPU_PEAK in quantities:
        notes.append(RSS_WORDS)
    return notes
