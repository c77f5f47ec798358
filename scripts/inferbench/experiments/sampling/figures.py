"""Draw the diversity of a strategy's texts against how likely the model itself finds them.

A row of two panels per model, precision and attention: diversity over all texts, and similarity between
the seeds of one prompt.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D

from inferbench.experiments.sampling.table import SUBJECT, per_strategy
from inferbench.presentation.style import heading, only_words
from inferbench.presentation.words import axes_words, significant, split_axes

TITLE = "Diversity against likelihood, by sampling strategy"
# Okabe and Ito's colours.
COLOURS = ("#4D4D4D", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "<", ">")
PANELS = {
    "distinct_2": "distinct pairs of tokens\n(more diverse ↑)",
    "self_bleu": "self-BLEU between seeds\n(more diverse ↓)",
}


def draw(
    table: pd.DataFrame, samples: pd.DataFrame, summary: pd.DataFrame
) -> tuple[plt.Figure, pd.DataFrame]:
    """The figure and its data: a row per strategy."""
    data = plotted(table)
    known = data[data["log_likelihood"].notna()]
    if known.empty:
        return only_words(TITLE, "No text of a real model: there is nothing to draw."), data
    common, varying = split_axes(known, SUBJECT)
    subjects = list(known.groupby(SUBJECT, sort=False))
    size = (8.6, 0.7 + 2.9 * len(subjects))
    figure, grid = plt.subplots(len(subjects), 2, figsize=size, squeeze=False, layout="constrained")
    looks = {name: _look(place) for place, name in enumerate(dict.fromkeys(known["strategy"]))}
    for panels, (_, own) in zip(grid, subjects):
        for axes, (quantity, label) in zip(panels, PANELS.items()):
            for row in own.to_dict("records"):
                axes.plot(-row["log_likelihood"], row[quantity], **looks[row["strategy"]])
            axes.set_ylabel(label)
            _surprise_axis(axes, -own["log_likelihood"])
        panels[0].set_ylim(0, 1.04)
        panels[1].set_ylim(-4, 104)
        panels[0].set_title(axes_words(own.iloc[0], varying) if varying else "", loc="left")
    for axes in grid[-1]:
        axes.set_xlabel("likelier ← mean negative log-likelihood (nats a token)")
    handles = [Line2D([], [], label=name, **look) for name, look in looks.items()]
    figure.legend(handles=handles, loc="outside lower left", ncols=min(6, len(handles)), frameon=False)
    texts = "/".join(dict.fromkeys(known["texts"].map(str)))
    heading(figure, TITLE, f"{common}. {texts} texts a strategy.")
    return figure, data


def _look(place: int) -> dict[str, object]:
    """Hollow, so that neighbours show through each other."""
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
    return {"ls": "", "marker": marker, "ms": 7.5, "mfc": "none", "mec": colour, "mew": 1.8}


def _surprise_axis(axes: plt.Axes, values: pd.Series) -> None:
    """Logarithmic: strategies in use lie near 1 nat, and hot ones far off."""
    axes.set_xscale("log")
    axes.minorticks_off()
    low, high = values.min() / 1.25, values.max() * 1.25
    axes.set_xlim(low, high)
    steps = (1, 2, 5) if high / low > 8 else (1, 1.5, 2, 3, 5, 7)
    places = [step * 10.0**power for power in range(-3, 3) for step in steps]
    ticks = [place for place in places if low <= place <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])


def plotted(table: pd.DataFrame) -> pd.DataFrame:
    """A row per strategy that ended ok; of a synthetic model without the columns of its text."""
    numbers = ["log_likelihood", "log_likelihood_low", "log_likelihood_high", *PANELS, "greedy_cost"]
    data = per_strategy(table)[["cell", *SUBJECT, "model_source", "strategy", "texts", *numbers]].copy()
    data[numbers] = data[numbers].astype(float).map(significant)
    return data
