"""Compare two campaigns cell by cell: python scripts/compare_campaigns.py A B [--output DIR]

A and B are folders that hold a measurements.parquet, of a run or published. Ratios are B over A. Exit
code 1 with --fail-on-regression when a cell is slower in B, or has a valid value in A and none in B; 2 when
the two cannot be compared.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from inferbench.analysis.compare import (
    ASKED_OTHERWISE,
    METRICS,
    CompareError,
    changes,
    common_cells,
    compare,
    load,
    other_meaning,
)
from inferbench.presentation import style
from inferbench.presentation.words import number
from inferbench.tables import terms

NAMES = {"decode_tokens_per_s": "decode speed", "ttft_ms": "TTFT", "tpot_ms": "TPOT"}
COLOURS = {"faster": "#0072B2", "slower": "#D55E00"}
MARKERS = {"faster": "^", "slower": "v", "same": "o"}
MOST_ROWS = 60  # a taller figure is no longer read


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare two campaigns cell by cell; ratios are B over A.")
    parser.add_argument("a", metavar="A", type=Path, help="folder of the campaign to compare with")
    parser.add_argument("b", metavar="B", type=Path, help="folder of the other campaign")
    parser.add_argument("--output", metavar="DIR", type=Path, help="write comparison.{svg,png,csv} there")
    parser.add_argument(
        "--fail-on-regression",
        action="store_true",
        help="exit 1 when a cell is slower in B, or has no valid value there",
    )
    arguments = parser.parse_args(argv)
    try:
        a, b = load(arguments.a), load(arguments.b)
        comparison = compare(a, b)
    except CompareError as error:
        print(f"compare_campaigns: {error}", file=sys.stderr)
        return 2
    print("\n".join(preamble(a, b, comparison)))
    print(printed(comparison))
    counts = comparison["finding"].value_counts()
    print("\n" + ", ".join(f"{count} {finding}" for finding, count in counts.items()))
    if arguments.output:
        style.apply_style()
        style.save(draw(comparison), comparison, arguments.output / "comparison")
    regressed = comparison["finding"].isin(["slower", "no valid value in B"]).any()
    return int(arguments.fail_on_regression and regressed)


def preamble(a: pd.DataFrame, b: pd.DataFrame, comparison: pd.DataFrame) -> list[str]:
    """What is compared, and what else than the code under test may explain a difference."""
    common = len(common_cells(a, b))
    only = [side["cell"].nunique() - common for side in (a, b)]
    lines = [f"{common} cells in both campaigns, {only[0]} only in A, {only[1]} only in B"]
    lines += [f"{name}: A {in_a}; B {in_b}" for name, (in_a, in_b) in changes(a, b).items()]
    if others := other_meaning(a, b):
        lines.append(f"{others} of these cells were asked for otherwise in A than in B: {ASKED_OTHERWISE}")
    return [*lines, between_cards(comparison), ""]


def between_cards(comparison: pd.DataFrame) -> str:
    """A warning where A and B ran a cell on different cards; empty where each ratio is within one."""
    count = int(comparison["between_cards"].sum())
    if not count:
        return ""
    return (
        f"A and B ran on different cards: {count} of {len(comparison)} ratios are between cards, "
        "and show what the cards differ by together with whatever else changed."
    )


def card_names(rows: pd.DataFrame) -> pd.Series:
    """The card, or both where they differ, UUIDs to the eight digits that nvidia-smi accepts."""
    short = rows[["card_a", "card_b"]].replace(r"^(GPU-[0-9a-f]{8})-[0-9a-f-]+$", r"\1", regex=True)
    one = short["card_a"].fillna(short["card_b"]).fillna("-")
    return one.where(~rows["between_cards"], one + " -> " + short["card_b"])


def printed(comparison: pd.DataFrame) -> str:
    """The comparison as text: below each cell its metrics, at the end the cells that one side has no value of."""
    absent = comparison["finding"].str.startswith("no valid value")
    lines = [] if absent.all() else metrics_by_cell(comparison[~absent])
    for finding, cells in comparison[absent].groupby("finding")["cell"]:
        lines += ["", f"{finding}:", *(f"  {cell}" for cell in cells.unique())]
    return "\n".join(lines)


def metrics_by_cell(rows: pd.DataFrame) -> list[str]:
    """A line per metric below one per cell, which names the cards where a cell has more than one pair, or two."""
    interval = "[" + rows["low"].map("{:.4f}".format) + ", " + rows["high"].map("{:.4f}".format) + "]"
    table = pd.DataFrame(
        {
            "metric": rows["metric"].str.ljust(max(map(len, METRICS))),
            "A": rows["a"].map(lambda value: number(value, 4)),
            "B": rows["b"].map(lambda value: number(value, 4)),
            "n": rows["replicates_a"].astype(str) + "/" + rows["replicates_b"].astype(str),
            "B/A": rows["ratio"].map("{:.4f}".format).where(rows["ratio"].notna(), "-"),
            "95% interval": interval.where(rows["low"].notna(), "-"),
            "p": rows["p_adjusted"].map("{:.2g}".format).where(rows["p_adjusted"].notna(), "-"),
            "finding": rows["finding"],
        }
    )
    places = rows["cell"]
    if rows["between_cards"].any() or rows.duplicated(["cell", "metric"]).any():
        places = places + ", " + card_names(rows)
    header, *texts = table.to_string(index=False).splitlines()
    lines = [f"  {header}"]
    for text, place, first in zip(texts, places, ~places.duplicated(), strict=True):
        lines += [place] * first + [f"  {text}"]
    return lines


def draw(comparison: pd.DataFrame) -> plt.Figure:
    """Change from A to B in percent with its interval; a row per cell and cards, a panel per metric."""
    keys = ["cell", "card_a", "card_b", "between_cards"]
    rows = comparison.assign(
        found=comparison["finding"].isin(COLOURS), size=np.abs(np.log(comparison["ratio"]))
    )
    rows = rows.groupby(keys, sort=False, dropna=False, as_index=False)[["found", "size"]].max()
    shown = rows.sort_values(["found", "size"], ascending=False, kind="stable").head(MOST_ROWS).sort_index()
    shown = shown.assign(row=np.arange(len(shown)))
    data = comparison.merge(shown[[*keys, "row"]], on=keys)
    warning = between_cards(comparison)
    several = bool(warning) or rows["cell"].duplicated().any()
    labels = shown["cell"] + "\n" + card_names(shown) if several else shown["cell"]

    size = (11, 1.2 + (0.4 if several else 0.26) * len(shown))
    figure, panels = plt.subplots(1, len(METRICS), sharey=True, figsize=size, layout="constrained")
    for panel, metric in zip(panels, METRICS, strict=True):
        panel.axvspan(-1, 1, color=style.NOT_OK, lw=0)
        panel.axvline(0, color=style.QUIET, lw=0.8)
        for row in data[data["metric"] == metric].itertuples():
            colour = COLOURS.get(row.finding, style.QUIET)
            if np.isnan(row.ratio):
                at = panel.get_yaxis_transform()  # across in shares of the panel, down in rows
                panel.text(0.5, row.row, row.finding, transform=at, color=colour, ha="center", va="center")
                continue
            low, high, ratio = (100 * (value - 1) for value in (row.low, row.high, row.ratio))
            panel.plot([low, high], [row.row, row.row], color=colour, lw=1.6)
            panel.plot(ratio, row.row, MARKERS.get(row.finding, "|"), color=colour, ms=6)
        panel.set_xlabel(f"{NAMES[metric]}, change in %\n{terms.METRICS[metric]} is better")
    panels[0].set_yticks(shown["row"], labels)
    panels[0].set_ylim(len(shown) - 0.5, -0.5)
    left_out = f"{len(shown)} of {len(rows)} rows: findings and the largest changes."
    style.heading(
        figure,
        "Campaign B against campaign A",
        "Ratio of geometric means with its 95% interval. Triangle: faster (up) or slower (down); dot: the "
        "same; bar: unclear, too few replicates or a shared compilation. Inside the grey band (1%) nothing is a finding.",
        left_out if len(shown) < len(rows) else "",
        warning,
    )
    return figure


if __name__ == "__main__":
    sys.exit(main())
