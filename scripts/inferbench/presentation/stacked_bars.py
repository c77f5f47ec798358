"""Stacked horizontal bars: what the time breakdowns share."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from inferbench.presentation.style import QUIET


@dataclass(frozen=True)
class Look:
    """A part of a bar: its name, its colour, and a hatch that survives grey print."""

    name: str
    colour: str
    hatch: str = ""


def draw_stacks(axes: plt.Axes, parts: pd.DataFrame, looks: dict[str, Look]) -> None:
    """A bar per row of `parts`, from the top, of the columns that `looks` names, in that order."""
    left = np.zeros(len(parts))
    places = np.arange(len(parts))
    for column, look in looks.items():
        widths = parts[column].fillna(0).to_numpy(float)
        axes.barh(places, widths, left=left, height=0.72, zorder=2, **_face(look))
        left = left + widths
    axes.set_ylim(len(parts) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def label_ends(axes: plt.Axes, totals: pd.Series, labels: list[str]) -> None:
    """A label behind each bar, with room for it."""
    for place, (total, label) in enumerate(zip(totals, labels, strict=True)):
        axes.annotate(label, (total, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    longest = max(map(len, labels), default=0)
    inches = axes.get_figure().get_size_inches()[0]
    share = min(0.6, 0.075 * longest / max(1.0, inches - 2.5))
    axes.set_xlim(0, (totals.max() or 1.0) / (1 - share))


def stack_legend(figure: plt.Figure, looks: list[Look]) -> None:
    """One legend under the panels."""
    handles = [Patch(label=look.name, **_face(look)) for look in looks]
    columns = max(1, min(len(handles), int(figure.get_size_inches()[0] // 1.5)))
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, frameon=False)


def _face(look: Look) -> dict[str, object]:
    pale = look.colour == "white"
    return {
        "facecolor": look.colour,
        "edgecolor": QUIET if pale else "white",
        "hatchcolor": QUIET if pale else "white",
        "hatch": look.hatch,
        "linewidth": 0.6,
    }
