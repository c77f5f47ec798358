"""What may be said of two cells' speeds: what the summary's test found of a cell and its baseline, and no more.

Of any other pair there is a ratio of centres, which tells no order: whether two intervals overlap would be a second
criterion, and between two cards it would be one of the cards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from inferbench.analysis.statistics import SHARED_COMPILATION, TOO_FEW
from inferbench.analysis.summarise import OTHER_CARDS, RATIO_METRIC
from inferbench.presentation.words import also_differ, left_out, number

NOT_TESTED = "not tested"
#: Findings that are an order, and which one the other cell has.
OPPOSITE = {"faster": "slower", "slower": "faster"}
#: Findings that are a test's.
TESTED = (*OPPOSITE, "same", "unclear")
WORDS = {
    "same": "the same within 1%",
    TOO_FEW: "too few replicates on a shared card",
    SHARED_COMPILATION: "replicates share a compilation",
    OTHER_CARDS: "not compared",
}
#: What is read of a row of a summary `with_cards`, beside the speed.
READ = ["cell", "baseline_cell", "ratio", "p_adjusted", "finding", "cards", "shares", "flagged"]


class Verdict(NamedTuple):
    """One cell over another. ratio: of replicates on one card where the summary has it, else of the centres. finding:
    as the summary has it, or NOT_TESTED. words: the finding, and what else the two differ by."""

    ratio: float
    finding: str
    words: str


def verdict(one: Mapping[str, Any], other: Mapping[str, Any], speed: str = RATIO_METRIC) -> Verdict:
    """Of two rows of a summary `with_cards`, by a speed of which more is better."""
    ratio, finding, p = one[speed] / other[speed], NOT_TESTED, pd.NA
    differ = also_differ(one, other)
    for row, base, backwards in ((one, other, False), (other, one, True)):
        if speed == RATIO_METRIC and row["baseline_cell"] == base["cell"]:
            finding, p = row["finding"], row["p_adjusted"]
            if backwards:
                finding = OPPOSITE.get(finding, finding)
            if pd.notna(row["ratio"]):
                ratio = 1 / row["ratio"] if backwards else row["ratio"]
                differ = left_out(one, other)
    words = "a finding" if finding in OPPOSITE else WORDS.get(finding, finding)
    if pd.notna(p):
        words += ", p < 0.001" if p < 0.001 else f", p {number(p, 2)}"
    return Verdict(np.nan if pd.isna(ratio) else float(ratio), finding, words + differ)


def of_pair(pair: Mapping[str, Any], speed: str = RATIO_METRIC) -> Verdict:
    """Of a row that has both cells, the columns of the second with `_base` behind their names."""
    return verdict(pair, {name: pair[f"{name}_base"] for name in (*READ, speed)}, speed)
