"""What of a campaign may be ranked: its flags, and whether its numbers drifted while it ran."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from inferbench.analysis.statistics import SIGNIFICANCE
from inferbench.analysis.summarise import drift, start_hours
from inferbench.presentation.words import counted, duration, number
from inferbench.tables.terms import INVALIDATING_FLAGS, NOTES

MEANINGS = {
    "throttled": "clocks were held down by heat or a power brake while timing",
    "contended": "another process was on the GPU before or after timing",
    "power_capped": "the power limit held clocks down: normal under load",
    "beyond_context": "prompt and new tokens are more than the context that the model's config states: its text means"
    " little, and its speed is as it is",
    "unstable": "the timed iterations drifted as warm-up had, or the slowest took over 1.5 times the fastest: it counts, "
    "since leaving out what looks unsteady would choose by the outcome",
}
#: What only the driver's counters can show.
FROM_DRIVER = ("throttled", "contended", "power_capped")


def flag_counts(measurements: pd.DataFrame) -> list[dict[str, Any]]:
    """Each flag with its meaning, how many ok replicates carry it, and whether that forbids ranking.

    Where no driver answered, what only it can show was not looked for, and the count says so.
    """
    ok = measurements[measurements["status"] == "ok"]
    carried = ok["flags"].fillna("").str.split(",").map(set)
    asked = int(ok["driver"].notna().sum())
    rows = []
    for flag in (*INVALIDATING_FLAGS, *NOTES):
        looked_at = asked if flag in FROM_DRIVER else len(ok)
        count = sum(flag in flags for flags in carried)
        rows.append(
            {
                "flag": flag,
                "meaning": MEANINGS[flag],
                "replicates": f"{count} of {looked_at}" if looked_at or count else "not checked: no driver",
                "ranked": "yes" if flag in NOTES else "no",
            }
        )
    return rows


def iterations_sentence(measurements: pd.DataFrame) -> str:
    """How many timed runs the number of a process is the median of; nothing where none ended ok."""
    counts = measurements.loc[measurements["status"] == "ok", "iterations"].dropna().astype(int)
    if counts.empty:
        return ""
    fewest, most, usual = counts.min(), counts.max(), counts.mode()[0]
    runs = f"{fewest}" if fewest == most else f"{fewest} to {most}, most often {usual}"
    return f"The number of a process is the median of its timed iterations: {runs}."


def drift_sentence(measurements: pd.DataFrame) -> str:
    """Whether decode speed moved with start time, each cell compared with itself on one card."""
    found = drift(measurements)
    if math.isnan(found.p):
        return "No cell has two valid replicates on one card, so drift over the campaign cannot be tested."
    test = (
        f"seasonal Kendall test over {counted(found.pairs, 'pair')} of replicates of one cell on one card, started up"
        f" to {duration(3600 * found.longest_h)} apart: tau {found.tau:+.2f}, p {number(found.p, 2)}"
    )
    if found.p <= SIGNIFICANCE:
        slope = "" if math.isnan(found.percent_per_hour) else f", median change {_change(found)} per hour"
        return f"Decode speed drifted with the time of the start ({test}{slope})."
    apart = start_hours(measurements[measurements["valid"].to_numpy(bool)]).max()
    beyond = (
        f" The campaign's starts are up to {duration(3600 * apart)} apart: what drifts over longer times cannot be told"
        " from what differs between cells and cards."
        if apart > 2 * found.longest_h
        else ""
    )
    return f"No drift of decode speed with the time of the start was found ({test}).{beyond}"


def _change(found) -> str:
    return f"{found.percent_per_hour:+.1f}%" if abs(found.percent_per_hour) < 100 else "over 100%"
