"""Draw inter-token latencies over the sequence and their distribution, streamed and not streamed."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from inferbench.experiments.streaming.table import PLAIN, STREAMED, SUBJECT, token_times
from inferbench.presentation.style import QUIET, heading, only_words
from inferbench.presentation.words import axes_words, number, significant, split_axes

TITLE = "What the reader of a stream sees"
COLOURS = {STREAMED: "#0072B2", PLAIN: "#E69F00"}
#: The second is drawn over the first, which shows through.
DASHES = {STREAMED: "-", PLAIN: (0, (3, 3))}
PERCENTILES = (50, 90, 99)


def draw(
    table: pd.DataFrame, samples: pd.DataFrame, summary: pd.DataFrame
) -> tuple[plt.Figure, pd.DataFrame]:
    """A row of two panels per model, precision and attention."""
    data = plotted(table, samples)
    if data.empty:
        return only_words(TITLE, "No job ended ok: there is nothing to draw."), data
    common, varying = split_axes(data, SUBJECT)
    rows = list(data.groupby(SUBJECT, sort=False))
    figure, grid = plt.subplots(
        len(rows),
        2,
        figsize=(9.2, 0.5 + 2.8 * len(rows)),
        sharey="row",
        squeeze=False,
        layout="constrained",
        width_ratios=(3, 2),
    )
    for (left, right), (_, own) in zip(grid, rows):
        for way, colour in COLOURS.items():
            here = own[own["way"] == way]
            line = here[here["panel"] == "sequence"]
            left.fill_between(line["position"], line["low"], line["high"], color=colour, alpha=0.18, lw=0)
            left.plot(line["position"], line["itl_ms"], color=colour, lw=1.4, ls=DASHES[way])
            shares = here[here["panel"] == "distribution"]
            right.plot(shares["position"], shares["itl_ms"], color=colour, lw=1.4, ls=DASHES[way])
            marks = shares[shares["position"].isin(PERCENTILES)]
            right.plot(
                marks["position"],
                marks["itl_ms"],
                color=colour,
                ls="",
                marker="o",
                ms=5 if way == STREAMED else 3,
            )
        for percent in PERCENTILES:
            right.axvline(percent, color=QUIET, lw=0.6, ls=":", zorder=1)
        left.set_ylabel("inter-token latency (ms)")
        # The few longest gaps are told, not drawn: they would flatten all the others.
        gaps = own[own["panel"] == "distribution"]
        top = 1.25 * gaps[gaps["position"] == PERCENTILES[-1]]["itl_ms"].max()
        left.set_ylim(0, top)
        longest = ", ".join(
            f"{way} {number(gaps[(gaps['way'] == way) & (gaps['position'] == 100)]['itl_ms'].iloc[0])} ms"
            for way in COLOURS
        )
        name = axes_words(own.iloc[0], varying)
        left.set_title("\n".join(filter(None, [name, f"longest: {longest}"])), loc="left", fontsize=8.5)
        right.set_xticks([0, 50, 90, 99], labels=["0", "p50", "p90", "p99"], fontsize=8)
    for left, right in grid[-1:]:
        left.set_xlabel("token of the sequence")
        right.set_xlabel("share of tokens with at most that latency (%)")
    handles = {way: Line2D([], [], color=colour, lw=1.6, ls=DASHES[way]) for way, colour in COLOURS.items()}
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=2, frameon=False)
    heading(figure, TITLE, common)
    return figure, data


def plotted(table: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Latencies of all rounds and replicates of a cell together. Panel `sequence`: a row per token after the
    first (`position`), the median and the smallest and largest; panel `distribution`: a row per percentile."""
    ok = table[table["status"] == "ok"].drop_duplicates("cell")
    parts = []
    for cell in ok.itertuples():
        own = token_times(samples[samples["cell"] == cell.cell])
        for way in COLOURS:
            gaps = own[(own["way"] == way) & own["itl_ms"].notna()]
            by_token = gaps.groupby("token")["itl_ms"].agg(["median", "min", "max"]).reset_index()
            sequence = by_token.set_axis(["position", "itl_ms", "low", "high"], axis=1)
            shares = np.arange(101)
            values = np.percentile(gaps["itl_ms"], shares)
            distribution = pd.DataFrame({"position": shares, "itl_ms": values})
            about = {"cell": cell.cell, **{axis: getattr(cell, axis) for axis in (*SUBJECT, "model_source")}}
            parts += [
                part.assign(**about, way=way, panel=panel)
                for panel, part in {"sequence": sequence, "distribution": distribution}.items()
            ]
    columns = ["cell", *SUBJECT, "model_source", "way", "panel", "position", "itl_ms", "low", "high"]
    data = pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)
    numbers = columns[-3:]
    data[numbers] = data[numbers].astype(float).map(significant)
    return data.reset_index(drop=True)
