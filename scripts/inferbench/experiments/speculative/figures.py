"""Draw the speed-up of speculative decoding against draft length, and what it costs against what it gives."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from inferbench.experiments.speculative.table import SUBJECT, by_cell, tokens_expected
from inferbench.presentation.style import QUIET, heading, only_words
from inferbench.presentation.words import axes_words, significant, split_axes

TITLE = "What speculative decoding is worth"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")


def draw(
    table: pd.DataFrame, samples: pd.DataFrame, summary: pd.DataFrame
) -> tuple[plt.Figure, pd.DataFrame]:
    """A row of two panels per model, precision and attention; a colour per draft, a marker per strategy."""
    data = plotted(table, samples)
    if data.empty:
        return only_words(TITLE, "No job ended ok: there is nothing to draw."), data
    common, varying = split_axes(data, SUBJECT)
    rows = list(data.groupby(SUBJECT, sort=False))
    figure, grid = plt.subplots(
        len(rows), 2, figsize=(8.2, 0.6 + 3.0 * len(rows)), squeeze=False, layout="constrained"
    )
    colours = dict(zip(dict.fromkeys(data["draft"]), COLOURS * len(data)))
    markers = dict(zip(dict.fromkeys(data["strategy"]), MARKERS * len(data)))
    lines = list(dict.fromkeys(zip(data["draft"], data["strategy"])))
    # Side by side, a little: marks of equal height must not hide each other.
    shift = {line: 0.16 * (place - (len(lines) - 1) / 2) for place, line in enumerate(lines)}
    for (left, right), (_, own) in zip(grid, rows):
        # A single draft length is named by its curve.
        several = own["draft_tokens"].nunique() > 1
        for (draft, strategy), line in own.groupby(["draft", "strategy"], sort=False):
            look = {"color": colours[draft], "marker": markers[strategy], "ms": 5.5}
            line = line.sort_values("draft_tokens")
            at = line["draft_tokens"] + shift[draft, strategy]
            left.vlines(at, line["speedup_low"], line["speedup_high"], color=colours[draft], lw=1.6)
            left.plot(at, line["speedup"], lw=1.4, **look)
            left.plot(at + 0.04, line["expected_speedup"], lw=1, ls=":", mfc="white", **look)
            right.plot(line["acceptance"], line["round_cost"], ls="", **look)
            for _, point in line.iterrows():
                right.annotate(
                    f"{point['draft_tokens']}" if several else "",
                    (point["acceptance"], point["round_cost"]),
                    xytext=(5, 3),
                    textcoords="offset points",
                    fontsize=7.5,
                    color=QUIET,
                )
        left.axhline(1, color=QUIET, lw=1)
        left.set_xticks(sorted(own["draft_tokens"].unique()))
        left.set_xlim(own["draft_tokens"].min() - 1, own["draft_tokens"].max() + 1)
        left.set_ylim(0, 1.1 * max(1, own[["speedup", "speedup_high", "expected_speedup"]].max(axis=None)))
        left.set_ylabel("speed-up over plain decoding")
        left.set_title(axes_words(own.iloc[0], varying) if varying else "", loc="left")
        break_even_curves(right, sorted(own["draft_tokens"].unique()), own["round_cost"].max())
        right.set_ylabel("proposal and check (plain steps)")
    grid[-1][0].set_xlabel("draft length (tokens)")
    grid[-1][1].set_xlabel("accepted / examined tokens")
    handles = [Line2D([], [], color=colour, label=f"draft {draft}") for draft, colour in colours.items()]
    handles += [
        Line2D([], [], color=QUIET, marker=marker, ls="", label=strategy)
        for strategy, marker in markers.items()
    ]
    handles += [
        Line2D(
            [], [], color=QUIET, marker="o", mfc="white", ls=":", label="expected from acceptance and costs"
        ),
        Line2D([], [], color=QUIET, lw=1, label="break-even, by draft length"),
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False)
    heading(figure, TITLE, common, "Below its curve a draft is faster than plain decoding, above it slower.")
    return figure, data


def break_even_curves(axes: plt.Axes, lengths: list[int], highest: float) -> None:
    """Per draft length the tokens that a pass gives: what a proposal and its check may cost at most."""
    shares = np.linspace(0, 1, 101)
    top = 1.1 * max(highest, 2.0)
    for length in lengths:
        curve = tokens_expected(shares, int(length))
        axes.plot(shares, curve, color=QUIET, lw=1)
        end = int(np.searchsorted(curve, 0.97 * top).clip(max=100))
        axes.annotate(
            f"k = {length}",
            (shares[end], curve[end]),
            xytext=(0, 0) if end == 100 else (3, 0),
            textcoords="offset points",
            ha="right" if end == 100 else "left",
            va="bottom" if end == 100 else "top",
            fontsize=7.5,
            color=QUIET,
        )
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(0, top)


def plotted(table: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """A row per cell with an ok replicate. round_cost: plain steps that a proposal and its check take."""
    cells = by_cell(table, samples)
    names = [
        "speedup",
        "speedup_low",
        "speedup_high",
        "expected_speedup",
        "acceptance",
        "draft_cost",
        "check_cost",
        "break_even",
        "round_cost",
    ]
    if cells.empty:
        return pd.DataFrame(columns=["cell", *names])
    cells["round_cost"] = cells["draft_tokens"] * cells["draft_cost"] + cells["check_cost"]
    data = cells[["cell", *SUBJECT, "model_source", "draft", "draft_tokens", "strategy", *names]].copy()
    data[names] = data[names].astype(float).map(significant)
    return data
