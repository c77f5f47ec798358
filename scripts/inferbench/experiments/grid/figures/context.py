"""Draw prefill and decode tokens/s against the length of the prompt, a line per precision and attention backend.

A row per model, execution mode and batch size that was measured with several lengths.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from inferbench.presentation.plot_data import plotted, with_several
from inferbench.presentation.style import (
    QUIET,
    heading,
    legend,
    needs_log,
    only_words,
    precision_styles,
    scale_values,
    with_commas,
)
from inferbench.presentation.words import axes_words, split_axes

QUANTITIES = {"prefill_tokens_per_s": "prefill (tokens/s)", "decode_tokens_per_s": "decode (tokens/s)"}
ROW_AXES = ["model", "execution", "batch_size"]
LINE_AXES = [*ROW_AXES, "precision", "attention"]
DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
#: More rows of panels than this are no longer a picture; the tables have them all.
MAX_ROWS = 12


def draw(measurements: pd.DataFrame, summary: pd.DataFrame) -> tuple[plt.Figure, pd.DataFrame]:
    """The figure and its data, which are empty where no prompt has several lengths; rates of the whole batch."""
    title = "Prefill and decode speed by context"
    data = plotted(measurements, summary, list(QUANTITIES))
    data.insert(8, "prompt_tokens", data["cell"].map(measurements.groupby("cell")["prompt_tokens"].max()))
    data = with_several(data, LINE_AXES, "prompt_tokens")
    drawn = data[data["value"].notna()]
    if drawn.empty:
        return only_words(title, "No combination ended ok with prompts of several lengths."), data
    common, several = split_axes(drawn, [*ROW_AXES, "attention"])
    varying = [axis for axis in ROW_AXES if axis in several]
    rows = list(drawn.groupby(ROW_AXES, sort=False))
    figure, grid = plt.subplots(
        min(len(rows), MAX_ROWS), 2, figsize=(8.4, 0.5 + 2.6 * min(len(rows), MAX_ROWS)),
        sharex=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    styles = precision_styles(drawn["precision"])
    dashes = {
        name: DASHES[place % len(DASHES)] for place, name in enumerate(dict.fromkeys(drawn["attention"]))
    }
    for line, (_, own) in zip(grid, rows, strict=False):
        for axes, (quantity, label) in zip(line, QUANTITIES.items(), strict=True):
            axes.set_ylabel(label)
            _draw_panel(axes, own[own["quantity"] == quantity], styles, dashes)
        if varying:
            line[0].set_title(axes_words(own.iloc[0], varying), loc="left")
    ticks = sorted(drawn["prompt_tokens"].unique())
    for axes in grid[-1]:
        axes.set_xlabel("prompt (tokens)")
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(with_commas)
    if "attention" in several:
        backends = [Line2D([], [], color=QUIET, ls=dash) for dash in dashes.values()]
        grid[0, 1].legend(backends, list(dashes), facecolor="white", edgecolor="none")
    legend(figure, styles, drawn[drawn["replicate"].isna()])
    left_out = f"The first {MAX_ROWS} of {len(rows)} rows are drawn." if len(rows) > MAX_ROWS else ""
    heading(figure, title, common, left_out)
    return figure, data


def _draw_panel(axes: plt.Axes, here: pd.DataFrame, styles: dict, dashes: dict) -> None:
    for (precision, attention), own in here.groupby(["precision", "attention"], sort=False):
        style = styles[precision]
        centre = own[own["replicate"].isna()].sort_values("prompt_tokens")
        x, y = (centre[name].astype(float) for name in ("prompt_tokens", "value"))
        axes.plot(x, y, color=style.colour, ls=dashes[attention], lw=1.3, zorder=2)
        faces = np.where(centre["valid"], style.colour, "white")
        axes.scatter(x, y, s=26, marker=style.marker, color=faces, edgecolor=style.colour, zorder=3)
        known = centre["low"].notna()
        axes.vlines(x[known], centre["low"][known], centre["high"][known], color=style.colour, lw=1.6)
    axes.set_xscale("log", base=2)
    scale_values(axes, here, needs_log(here))
