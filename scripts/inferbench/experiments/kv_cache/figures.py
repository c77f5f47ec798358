"""Draw step times and cache bytes against context length, by kind of cache."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from inferbench.experiments.kv_cache.table import SUBJECT, slopes
from inferbench.presentation.style import Style, heading, only_words, with_commas
from inferbench.presentation.words import axes_words, byte_unit, number, significant, split_axes

TITLE = "What the cache of keys and values is worth"
CACHES = {
    "off": Style("#D55E00", "s", ""),
    "dynamic": Style("#0072B2", "o", ""),
    "static": Style("#009E73", "v", ""),
}


def draw(
    table: pd.DataFrame, samples: pd.DataFrame, summary: pd.DataFrame
) -> tuple[plt.Figure, pd.DataFrame]:
    """A row of two panels per model, precision and attention."""
    data = plotted(table)
    if data.empty:
        return only_words(TITLE, "No job ended ok: there is nothing to draw."), data
    common, varying = split_axes(data, SUBJECT)
    rows = list(data.groupby(SUBJECT, sort=False))
    figure, grid = plt.subplots(
        len(rows), 2, figsize=(8.2, 0.5 + 2.7 * len(rows)), sharex=True, squeeze=False, layout="constrained"
    )
    unit, per_unit = byte_unit(data["cache_bytes"].max())
    for (left, right), (_, own) in zip(grid, rows):
        for cache, look in CACHES.items():
            here = own[own["cache"] == cache].sort_values("context_tokens")
            if here.empty:
                continue
            marks = {"color": look.colour, "marker": look.marker, "ls": "", "ms": 5}
            left.plot(here["context_tokens"], here["step_ms"], label=_line_words(here.iloc[0]), **marks)
            ends = np.array([here["context_tokens"].min(), here["context_tokens"].max()])
            line = here["base_ms"].iloc[0] + here["slope_ms"].iloc[0] * ends / 1000
            left.plot(ends, line, color=look.colour, lw=1.6)
            for _, job in here.groupby("replicate"):
                left.plot(job["context_tokens"], job["step_ms"], color=look.colour, lw=0.7, ls=":")
            if cache != "off":
                right.plot(here["context_tokens"], here["cache_bytes"] / per_unit, **marks)
                formula = here["cache_formula_bytes"] / per_unit
                right.plot(here["context_tokens"], formula, color=look.colour, lw=1.2)
        left.set_ylabel("step (ms)")
        right.set_ylabel(f"keys and values ({unit})")
        left.set_ylim(0, 1.1 * own["step_ms"].max())
        right.set_ylim(0, 1.15 * own["cache_bytes"].max() / per_unit)
        # Above the panel, so that no point is under it.
        place = {"loc": "lower left", "bbox_to_anchor": (-0.03, 1), "frameon": False}
        name = axes_words(own.iloc[0], varying)
        left.legend(**place, title=name, title_fontsize=9.5, alignment="left", fontsize=8, borderpad=0)
        for axes in (left, right):
            axes.xaxis.set_major_formatter(with_commas)
            axes.yaxis.set_major_formatter(with_commas)
    for axes in grid[-1]:
        axes.set_xlabel("context (tokens)")
    heading(figure, TITLE, common)
    return figure, data


def _line_words(row: pd.Series) -> str:
    """The kind of cache, and its slope with the 95% interval."""
    if pd.isna(row["slope_ms"]):
        return f"cache {row['cache']}"
    slope, low, high = (number(row[f"slope_{name}"]) for name in ("ms", "low", "high"))
    interval = f" ({low} to {high})" if pd.notna(row["slope_low"]) else ""
    return f"cache {row['cache']}: {slope} ms per 1,000 tokens{interval}"


def plotted(table: pd.DataFrame) -> pd.DataFrame:
    """A row per job and prompt length that ended ok, with the line fitted to its kind of cache."""
    ok = table[table["status"] == "ok"].merge(slopes(table), on=[*SUBJECT, "cache"])
    numbers = ["context_tokens", "step_ms", "cache_bytes", "cache_formula_bytes", "base_ms"]
    numbers += ["slope_ms", "slope_low", "slope_high"]
    data = ok[["cell", *SUBJECT, "model_source", "cache", "replicate", "prompt_tokens", *numbers]].copy()
    data[numbers] = data[numbers].astype(float).map(significant)
    return data
