"""Draw throughput against what one user sees, and the speed-up of a batch, over batch sizes."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from inferbench.experiments.batching.table import centres, jobs
from inferbench.presentation.style import QUIET, Style, heading, only_words, precision_styles, with_commas
from inferbench.presentation.words import axes_words, significant, split_axes

TITLE = "One by one, and as a batch"
AXES = ["model", "attention"]
SUBJECT = [*AXES, "precision"]
METRICS = ["tokens_per_s", "user_tokens_per_s", "speedup"]


def draw(
    table: pd.DataFrame, samples: pd.DataFrame, summary: pd.DataFrame
) -> tuple[plt.Figure, pd.DataFrame]:
    """A row of two panels per model and attention, a line per precision."""
    data = plotted(table)
    if data.empty:
        return only_words(TITLE, "No job ended ok: there is nothing to draw."), data
    common, varying = split_axes(data, AXES)
    rows = list(data.groupby(AXES, sort=False))
    styles = precision_styles(data["precision"])
    figure, grid = plt.subplots(
        len(rows), 2, figsize=(8.6, 0.5 + 3.1 * len(rows)), squeeze=False, layout="constrained"
    )
    for (left, right), (_, own) in zip(grid, rows):
        for precision, look in styles.items():
            here = own[own["precision"] == precision]
            _draw_trade(left, here, look)
            _draw_speedup(right, here, look)
        _finish(left, right, own)
        left.set_title(axes_words(own.iloc[0], varying) if varying else "", loc="left")
    handles = {name: Line2D([], [], color=look.colour, marker=look.marker) for name, look in styles.items()}
    handles["one by one"] = Line2D([], [], ls="", color=QUIET, marker="o", mfc="white")
    handles["n times as fast with n prompts"] = Line2D([], [], color=QUIET, lw=1, ls="--")
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower left", ncols=len(handles), frameon=False
    )
    heading(figure, TITLE, common)
    return figure, data


def _draw_trade(axes: plt.Axes, own: pd.DataFrame, look: Style) -> None:
    """Throughput against one user's speed: the curve of the batches, and each batch's prompts one by one."""
    batches = own[own["way"] == "batch"]
    axes.plot(batches["user_tokens_per_s"], batches["tokens_per_s"], color=look.colour, lw=1.2, zorder=2)
    for row in own.itertuples():
        face = "white" if row.way == "one by one" else look.colour
        spot = row.user_tokens_per_s, row.tokens_per_s
        axes.plot(*spot, color=look.colour, marker=look.marker, mfc=face, ms=6, zorder=3)
        if row.way == "batch":
            axes.annotate(
                f"{row.batch_size}", spot, (6, 3), textcoords="offset points", fontsize=8, color=QUIET
            )


def _draw_speedup(axes: plt.Axes, own: pd.DataFrame, look: Style) -> None:
    batches = own[own["way"] == "batch"]
    axes.plot(
        batches["batch_size"], batches["speedup"], color=look.colour, marker=look.marker, lw=1.2, zorder=3
    )
    known = batches[batches["speedup_low"].notna()]
    axes.vlines(known["batch_size"], known["speedup_low"], known["speedup_high"], color=look.colour, lw=1.6)


def _finish(left: plt.Axes, right: plt.Axes, own: pd.DataFrame) -> None:
    left.set_xlabel("speed that one user sees (tokens/s)")
    left.set_ylabel("throughput of all (tokens/s)")
    left.set_xlim(0, 1.12 * own["user_tokens_per_s"].max())
    if own["tokens_per_s"].max() > 30 * own["tokens_per_s"].min():
        left.set_yscale("log")
        left.set_ylabel("throughput of all (tokens/s), log scale")
        left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        left.yaxis.set_minor_locator(NullLocator())
    else:
        left.set_ylim(0, 1.12 * own["tokens_per_s"].max())
    left.yaxis.set_major_formatter(with_commas)
    sizes = sorted(own["batch_size"].dropna().unique())
    right.set_xlabel("prompts (one by one, and in a batch)")
    right.set_ylabel("speed-up of the batch")
    right.plot(sizes, sizes, color=QUIET, lw=1, ls="--", zorder=1)
    right.axhline(1, color=QUIET, lw=0.8, zorder=1)
    for axis, scale in ((right.xaxis, right.set_xscale), (right.yaxis, right.set_yscale)):
        scale("log", base=2)
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_locator(NullLocator())
    right.xaxis.set_major_locator(FixedLocator(sizes))
    low, high = min(1, own["speedup"].min()), max(*sizes, own["speedup"].max())
    ends = range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)
    right.yaxis.set_major_locator(FixedLocator([2.0**end for end in ends]))
    right.set_ylim(low / 1.15, high * 1.15)


def plotted(table: pd.DataFrame) -> pd.DataFrame:
    """A row per precision, batch size and way, one by one and as a batch: centres across jobs, and the ends of
    the 95% interval of the speed-up. Batches of other sizes have other prompts, so each has its own one by one."""
    ok = jobs(table)
    columns = {way: {f"{prefix}{name}": name for name in METRICS[:2]} for way, prefix in _PREFIXES.items()}
    keys = [*SUBJECT, "batch_size"]
    alone = centres(ok.rename(columns=columns["one by one"]), keys, METRICS[:2]).assign(way="one by one")
    batch = centres(ok.rename(columns=columns["batch"]), keys, METRICS).assign(way="batch")
    data = pd.concat([alone, batch]).reindex(
        columns=[*SUBJECT, "model_source", "way", "batch_size", *METRICS, "speedup_low", "speedup_high"]
    )
    numbers = [*METRICS, "speedup_low", "speedup_high"]
    data[numbers] = data[numbers].astype(float).map(significant)
    return data.sort_values(keys, kind="stable").reset_index(drop=True)


_PREFIXES = {"one by one": "one_by_one_", "batch": "batch_"}
