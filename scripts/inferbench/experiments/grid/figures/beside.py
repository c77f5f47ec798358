"""Draw a campaign's decode speed over that of other campaigns, cell by cell."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from inferbench.analysis.other_campaigns import AXES, SPEED, Campaign, comparisons
from inferbench.presentation import style
from inferbench.presentation.words import significant, split_axes

TITLE = "Decode speed beside other campaigns"
LOOKS = {"faster": ("#0072B2", "^"), "slower": ("#D55E00", "v"), "same": (style.QUIET, "o")}
OTHER_LOOK = (style.QUIET, "|")
COLUMNS = ["other", "cell", "card_a", "card_b", "between_cards", "a", "b", "ratio", "low", "high", "finding"]
MOST_ROWS = 60  # a taller figure is no longer read


def draw(measurements: pd.DataFrame, others: list[Campaign]) -> tuple[plt.Figure, pd.DataFrame]:
    """The figure and its data: a panel per other campaign, a row per cell, ratios here ÷ there."""
    rows = comparisons(measurements, others)
    rows = rows[rows["metric"] == SPEED]
    if rows.empty or rows["ratio"].isna().all():
        return style.only_words(TITLE, "No cell has a valid replicate both here and there."), pd.DataFrame(
            columns=COLUMNS
        )
    data = rows[COLUMNS].copy()
    for column in ("a", "b", "ratio", "low", "high"):
        data[column] = data[column].astype(float).map(significant)
    common, varying = split_axes(rows, AXES)
    labels = rows.drop_duplicates("cell").set_index("cell")[varying or ["precision"]].astype(str)
    labels = labels.agg(", ".join, axis=1)
    if "batch_size" in varying:
        labels = labels.str.replace(r"(\d+)$", r"batch \1", regex=True)
    size = np.abs(np.log(data["ratio"])).groupby(data["cell"]).max().dropna()
    shown = [cell for cell in labels.index if cell in set(size.nlargest(MOST_ROWS).index)]
    names = [other.name for other in others if other.name in set(data["other"])]
    figure, panels = plt.subplots(
        1,
        len(names),
        sharey=True,
        squeeze=False,
        figsize=(max(7, 2 + 3.6 * len(names)), 1.2 + 0.26 * len(shown)),
        layout="constrained",
    )
    for panel, name in zip(panels[0], names, strict=True):
        _panel(panel, data[data["other"] == name], {cell: place for place, cell in enumerate(shown)})
        panel.set_xlabel(f"decode speed, here ÷ {name}")
    panels[0][0].set_yticks(range(len(shown)), labels[shown])
    panels[0][0].set_ylim(len(shown) - 0.5, -0.5)
    handles = [
        Line2D([], [], ls="", color=colour, marker=marker, label=finding)
        for finding, (colour, marker) in LOOKS.items()
        if finding in set(data["finding"])
    ]
    handles += [Line2D([], [], ls="", color=OTHER_LOOK[0], marker=OTHER_LOOK[1], label="unclear, or too few")]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), frameon=False)
    left_out = f"{len(shown)} of {len(size)} cells: those that differ most." if len(shown) < len(size) else ""
    between = "Hollow: between two cards." if data["between_cards"].any() else ""
    style.heading(figure, TITLE, common, between, left_out)
    return figure, data


def _panel(panel: plt.Axes, data: pd.DataFrame, places: dict[str, int]) -> None:
    """Ratios with their intervals on a logarithmic axis that shows 1."""
    panel.axvspan(0.99, 1.01, color=style.NOT_OK, lw=0)
    panel.axvline(1, color=style.QUIET, lw=0.8)
    for row in data[data["ratio"].notna() & data["cell"].isin(places)].itertuples():
        colour, marker = LOOKS.get(row.finding, OTHER_LOOK)
        face = "white" if row.between_cards else colour
        panel.plot([row.low, row.high], [places[row.cell]] * 2, color=colour, lw=1.4)
        panel.plot(row.ratio, places[row.cell], marker, color=colour, mfc=face, ms=6, mew=1.2)
    ends = data[["ratio", "low", "high"]].to_numpy(float)
    low, high = min(1, np.nanmin(ends)) / 1.05, max(1, np.nanmax(ends)) * 1.05
    panel.set_xscale("log")
    panel.set_xlim(low, high)
    near = high / low < 2
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]) if near else LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
