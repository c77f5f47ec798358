"""Draw the diversity of a strategy's texts against how likely the model itself finds them.

A row of two panels per model, precision and attention: diversity over all texts, and similarity between
the seeds of one prompt.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D

from inferbench.experiments.sampling_table import SUBJECT, per_strategy
from inferbench.figures import heading, only_words, run_experiment
from inferbench.presentation import axes_words, significant, split_axes

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
    looks = {
        name: {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
        for place, name in enumerate(dict.fromkeys(known["strategy"]))
    }
    for panels, (_, own) in zip(grid, subjects):
        for axes, (quantity, label) in zip(panels, PANELS.items()):
            for row in own.to_dict("records"):
                axes.plot(
                    row["log_likelihood"], row[quantity], ls="", ms=8, mec="white", **looks[row["strategy"]]
                )
            axes.set_ylabel(label)
            axes.margins(x=0.08)
        panels[0].set_ylim(0, 1.04)
        panels[1].set_ylim(-4, 104)
        panels[0].set_title(axes_words(own.iloc[0], varying) if varying else "", loc="left")
    for axes in grid[-1]:
        axes.set_xlabel("mean log-likelihood under the model (nats a token)")
    handles = [Line2D([], [], ls="", ms=7, mec="white", label=name, **look) for name, look in looks.items()]
    figure.legend(handles=handles, loc="outside lower left", ncols=min(6, len(handles)), frameon=False)
    texts = "/".join(dict.fromkeys(known["texts"].map(str)))
    heading(figure, TITLE, f"{common}. {texts} texts a strategy.")
    return figure, data


def plotted(table: pd.DataFrame) -> pd.DataFrame:
    """A row per strategy that ended ok; of a synthetic model without the columns of its text."""
    numbers = ["log_likelihood", "log_likelihood_low", "log_likelihood_high", *PANELS, "greedy_cost"]
    data = per_strategy(table)[["cell", *SUBJECT, "model_source", "strategy", "texts", *numbers]].copy()
    for name in numbers:
        data[name] = data[name].astype(float).map(significant)
    return data


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    run_experiment(draw, __doc__, argv)


if __name__ == "__main__":
    main()
