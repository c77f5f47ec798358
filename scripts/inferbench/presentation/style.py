"""The one style of all figures, and saving them so that the same data give the same bytes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from inferbench.presentation.words import counted, precision_order

INK = "#222222"
QUIET = "#666666"
NOT_OK = "#EBEBEB"
UNITS = {
    "decode_tokens_per_s": "decode (tokens/s)",
    "ttft_ms": "TTFT (ms)",
    "tpot_ms": "TPOT (ms)",
}


@dataclass(frozen=True)
class Style:
    """How a precision looks: its colour everywhere, and a marker and hatch that survive grey print."""

    colour: str
    marker: str
    hatch: str


# Okabe and Ito's colours, which the common kinds of colour blindness tell apart; black lightened so that
# points show on it, and olive added for an eighth.
_STYLES = {
    "fp32": Style("#4D4D4D", "o", ""),
    "fp16": Style("#56B4E9", "s", ".."),
    "bf16": Style("#0072B2", "D", "//"),
    "int8": Style("#E69F00", "^", "\\\\"),
    "int8-threshold0": Style("#D55E00", "<", "--"),
    "nf4": Style("#009E73", "v", "xx"),
    "nf4-double": Style("#7A7A00", ">", "||"),
    "fp4": Style("#CC79A7", "P", "++"),
}
_OTHERS = (Style("#882255", "X", "oo"), Style("#44AA99", "p", "**"), Style("#661100", "h", "OO"))


def precision_styles(precisions: Iterable[str]) -> dict[str, Style]:
    """A style for each precision, in the order to list them; unknown names share out the spare styles."""
    order = precision_order(precisions)
    unknown = [name for name in order if name not in _STYLES]
    spare = {name: _OTHERS[place % len(_OTHERS)] for place, name in enumerate(unknown)}
    return {name: _STYLES.get(name) or spare[name] for name in order}


def apply_style() -> None:
    """Set matplotlib and seaborn to this project's style, whatever the user's own settings say."""
    matplotlib.rcdefaults()
    sns.set_theme(
        style="whitegrid",
        rc={
            # The font that matplotlib carries: another machine has it too.
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "axes.labelsize": 9,
            "axes.titlesize": 9.5,
            "xtick.labelsize": 8.5,
            "ytick.labelsize": 8.5,
            "legend.fontsize": 8.5,
            "axes.edgecolor": "#999999",
            "axes.linewidth": 0.8,
            "axes.spines.left": False,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "grid.color": "#E3E3E3",
            "text.color": INK,
            "axes.labelcolor": INK,
            "hatch.linewidth": 0.6,
            # Identifiers in the SVG are random unless salted.
            "svg.hashsalt": "inferbench",
            "svg.fonttype": "path",
        },
    )


def heading(figure: plt.Figure, title: str, *notes: str) -> None:
    """Title and notes at the top left, in room taken from the layout below them. Call it last."""
    width, height = figure.get_size_inches()
    lines = [line for note in notes if note for line in textwrap.wrap(note, int(width * 15.5))]
    room = 0.42 + 0.17 * len(lines)
    height += room
    figure.set_size_inches(width, height)
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - room / height))
    figure.text(0.12 / width, 1 - 0.1 / height, title, fontsize=12, fontweight="bold", va="top")
    for place, line in enumerate(lines):
        at = 1 - (0.37 + 0.17 * place) / height
        figure.text(0.12 / width, at, line, fontsize=8.5, color=QUIET, va="top")


def add_note(figure: plt.Figure, note: str) -> None:
    """One more note below those of `heading`, in room of its own."""
    width, before = figure.get_size_inches()
    share = figure.get_layout_engine().get()["rect"][3]
    lines = textwrap.wrap(note, int(width * 15.5))
    height = before + 0.17 * len(lines)
    for text in figure.texts:
        text.set_y(1 - (1 - text.get_position()[1]) * before / height)
    figure.set_size_inches(width, height)
    figure.get_layout_engine().set(rect=(0, 0, 1, share * before / height))
    for place, line in enumerate(lines):
        at = 1 - ((1 - share) * before - 0.05 + 0.17 * place) / height
        figure.text(0.12 / width, at, line, fontsize=8.5, color=QUIET, va="top")


def name_devices(figure: plt.Figure, names: Iterable[str]) -> None:
    """Say at the right of the title on which kinds of device the numbers were measured: a figure is looked at apart
    from its campaign too. Kinds that have no room there are counted."""
    kinds = list(dict.fromkeys(names))
    width, height = figure.get_size_inches()
    free = width - 0.5 - figure.texts[0].get_window_extent().width / figure.dpi
    place = {"x": 1 - 0.12 / width, "y": 1 - 0.13 / height, "ha": "right", "va": "top"}
    words = figure.text(s=", ".join(kinds), **place, fontsize=8.5, color=QUIET)
    if words.get_window_extent().width / figure.dpi > free:
        words.set_text(counted(len(kinds), "kind") + " of device")


def needs_log(here: pd.DataFrame) -> bool:
    """Whether the smallest value could not be seen on an axis from zero."""
    return here["value"].max() > 30 * here["value"].min()


def scale_values(axes: plt.Axes, here: pd.DataFrame, log: bool) -> None:
    """From zero, or logarithmic."""
    if log:
        axes.set_yscale("log")
        axes.set_ylim(here["value"].min() / 1.4, here[["value", "high"]].max().max() * 1.4)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylabel(f"{axes.get_ylabel()}, log scale")
    else:
        axes.set_ylim(0, 1.08 * here[["value", "high"]].max().max())
    axes.yaxis.set_major_formatter(with_commas)


def with_commas(value: float, _place: int) -> str:
    """A tick's words, as the tables write numbers."""
    return f"{value:,.10g}"


def legend(figure: plt.Figure, styles: dict[str, Style], data: pd.DataFrame, interval: str = "|") -> None:
    """One legend under the panels: the precisions, and whichever kinds of mark `data` has. interval: the marker that
    lies as the intervals do."""
    kinds = {
        "replicate": (data["replicate"].notna(), {"marker": "o", "ms": 2.5}),
        "95% interval": (data["low"].notna(), {"marker": interval, "ms": 11, "mew": 1.4}),
        "flagged, not ranked": (data["value"].notna() & ~data["valid"], {"marker": "o", "mfc": "white"}),
    }
    handles = {name: Line2D([], [], color=look.colour, marker=look.marker) for name, look in styles.items()}
    handles |= {
        name: Line2D([], [], ls="", color=QUIET, **look) for name, (has, look) in kinds.items() if has.any()
    }
    columns = max(1, min(len(handles), int(figure.get_size_inches()[0] // 1.35)))
    # matplotlib fills a legend by columns; readers read it by rows.
    rows = list(zip_longest(*[iter(handles.items())] * columns))
    by_column = [item for column in zip(*rows, strict=True) for item in column if item]
    figure.legend(
        [handle for _, handle in by_column],
        [name for name, _ in by_column],
        loc="outside lower left",
        ncols=columns,
        frameon=False,
    )


def only_words(title: str, sentence: str) -> plt.Figure:
    """A figure for a campaign with nothing to draw: it says so."""
    figure, axes = plt.subplots(figsize=(7, 1.2), layout="constrained")
    axes.set_axis_off()
    axes.text(0.5, 0.5, sentence, ha="center", va="center", fontsize=11, color=QUIET)
    heading(figure, title)
    return figure


def save(figure: plt.Figure, data: pd.DataFrame, output: Path) -> None:
    """Write `output`.svg, .png and .csv (the data that were drawn), free of dates and versions."""
    output.parent.mkdir(parents=True, exist_ok=True)
    # An image of more than 65 536 pixels a side cannot be drawn: very tall figures get coarser ones.
    dpi = min(150, 60_000 // max(figure.get_size_inches()))
    _settle(figure)
    figure.savefig(f"{output}.svg", dpi=dpi, metadata={"Date": None, "Creator": None})
    # compress_type 3, runs alone: zlib-ng's search for longer matches differs between kinds of CPU.
    figure.savefig(f"{output}.png", dpi=dpi, metadata={"Software": None}, pil_kwargs={"compress_type": 3})
    plt.close(figure)
    data.to_csv(f"{output}.csv", index=False, lineterminator="\n", float_format="%.15g")


def _settle(figure: plt.Figure) -> None:
    """Lay the figure out once, and put its panels on whole millionths of it: the solver's last bits differ from run
    to run, and with them the names that an SVG gives its clip paths."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(side, 6) for side in axes.get_position(original=True).bounds])
