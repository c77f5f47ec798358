"""Draw how the device's seconds were spent: the whole campaign, then by execution and precision.

The upper bar is the sum over all replicates; the lower ones are means per replicate that ended ok, so
that they do not grow with the number of cells.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from inferbench.analysis.spending import REST, STAGES, stage_seconds
from inferbench.presentation.cell_means import EXECUTIONS, nothing_to_draw
from inferbench.presentation.stacked_bars import Look, draw_stacks, label_ends, stack_legend
from inferbench.presentation.style import heading, only_words
from inferbench.presentation.words import duration, model_label, precision_order, significant

LOOKS = {
    "start-up": Look("start-up", "#AA4499", ".."),
    "ceilings": Look("ceilings", "#999933", "--"),
    "load": Look("load", "#DDCC77", "//"),
    "check": Look("check", "#117733", "xx"),
    "compile": Look("compile", "#CC6677", "||"),
    "warm-up": Look("warm-up", "#44AA99", "\\\\"),
    "measuring": Look("measuring", "#332288"),
    "profile": Look("profile", "#882255", "oo"),
    "energy": Look("energy", "#88CCEE", "++"),
    REST: Look("rest", "white", "///"),
}
WHOLE = "whole campaign"
GROUP = ["model", "model_source", "execution", "precision"]


def totals(measurements: pd.DataFrame) -> pd.DataFrame:
    """A row for the whole campaign (sum), then one per model, execution and precision (mean of the ok).

    Columns: `bar`, GROUP, `replicates`, and seconds by stage, to 6 significant digits.
    """
    seconds = stage_seconds(measurements)
    recorded = measurements["seconds"].notna()
    whole = pd.DataFrame([seconds.sum()]).assign(bar=WHOLE, replicates=int(recorded.sum()))
    ok = recorded & (measurements["status"] == "ok")
    rows = pd.concat([measurements.loc[ok, GROUP].astype(object), seconds[ok]], axis=1)
    grouped = rows.groupby(GROUP, sort=False, dropna=False)
    means = grouped.mean().assign(replicates=grouped.size()).reset_index()
    several = means["model"].nunique() > 1
    names = (means["execution"] + ", " + means["precision"]).tolist()
    if several:
        labels = [model_label(*pair) for pair in means[GROUP[:2]].itertuples(index=False, name=None)]
        names = [f"{label}, {name}" for label, name in zip(labels, names, strict=True)]
    means = means.assign(bar=names).sort_values(GROUP, kind="stable", key=_rank)
    data = pd.concat([whole, means], ignore_index=True)
    stages = [*STAGES.values(), REST]
    data[stages] = data[stages].astype(float).map(significant)
    return data[["bar", *GROUP, "replicates", *stages]]


def _rank(names: pd.Series) -> pd.Series:
    order = {"precision": precision_order(names.dropna()), "execution": EXECUTIONS}.get(names.name)
    order = list(dict.fromkeys(names)) if order is None else list(order)
    return names.map({name: place for place, name in enumerate(order)}).fillna(len(order))


def draw(measurements: pd.DataFrame, summary: pd.DataFrame) -> tuple[plt.Figure, pd.DataFrame]:
    """The figure and its data, in seconds."""
    title = "How the device's time was spent"
    data = totals(measurements)
    bars = data.iloc[1:]
    if not (data["replicates"] > 0).any() or bars.empty:
        return only_words(title, nothing_to_draw(measurements, "No times were recorded.")), tidy(
            data.iloc[:0]
        )
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(9.2, 1.9 + 0.3 * len(bars)), height_ratios=[1.1, len(bars) + 0.3], layout="constrained"
    )  # fmt: skip
    stages = list(LOOKS)
    minutes = data.iloc[:1].assign(**(data.loc[[0], stages] / 60))
    draw_stacks(upper, minutes, LOOKS)
    total = data.loc[0, stages].sum()
    upper.set_yticks([0], [WHOLE])
    upper.set_xlabel("sum over all replicates (min)")
    label_ends(upper, minutes[stages].sum(axis=1), [duration(total)])
    _shares(upper, minutes.iloc[0][stages])
    draw_stacks(lower, bars, LOOKS)
    lower.set_yticks(range(len(bars)), bars["bar"])
    lower.set_xlabel("mean of an ok replicate (s)")
    ends = bars[stages].sum(axis=1)
    label_ends(
        lower, ends, [f"{duration(end)}, n = {n}" for end, n in zip(ends, bars["replicates"], strict=True)]
    )
    stack_legend(figure, [LOOKS[stage] for stage in stages if data[stage].sum() > 0])
    models = bars[GROUP[:2]].drop_duplicates()
    common = model_label(*models.iloc[0]) if len(models) == 1 else ""
    heading(figure, title, common, "Rest: what no stage has, such as the end of the process.")
    return figure, tidy(data)


def tidy(data: pd.DataFrame) -> pd.DataFrame:
    """The same, a row per bar and stage."""
    return data.melt(["bar", *GROUP, "replicates"], list(LOOKS), "quantity", "value")


def _shares(axes: plt.Axes, parts: pd.Series) -> None:
    """Per cent in each part of the bar that has room for it."""
    left, whole = 0.0, parts.sum()
    for size in parts:
        if size > 0.045 * whole:
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
            words = f"{100 * size / whole:.0f}%"
            axes.text(left + size / 2, 0, words, ha="center", va="center", fontsize=8, bbox=box, zorder=4)
        left += size
