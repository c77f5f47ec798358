"""How the device's seconds were spent, by the stages of the measuring processes."""

from __future__ import annotations

import pandas as pd

from inferbench.analysis.spending import spent
from inferbench.presentation.words import duration, number


def spending_line(measurements: pd.DataFrame) -> str:
    """'Device time 12.4 min: measuring 55%, warm-up 10%, load 8%, ...', the largest first."""
    seconds = spent(measurements)
    total = seconds.sum()
    if total == 0:
        return "Device time: none recorded."
    shares = (100 * seconds / total).sort_values(ascending=False, kind="stable")
    words = [f"{stage} {share:.0f}%" for stage, share in shares.items() if share >= 0.5]
    return f"Device time {duration(total)}: {', '.join(words)}."


def spending_sentences(measurements: pd.DataFrame) -> list[str]:
    """The same for the report, and how much of it gave no number that may be ranked."""
    whole = spent(measurements).sum()
    sentences = [spending_line(measurements)]
    if whole == 0:
        return sentences
    for rows, what in (
        (measurements["status"] != "ok", "did not end ok"),
        ((measurements["status"] == "ok") & ~measurements["valid"], "carry a flag that forbids ranking"),
    ):
        wasted = spent(measurements[rows]).sum()
        if wasted:
            share = f"{number(100 * wasted / whole, 2)}%"
            sentences.append(f"{share} of it ({duration(wasted)}) went to replicates that {what}.")
    return sentences


def experiment_seconds(ran: pd.DataFrame) -> list[str]:
    """What the experiments took of the device's time, beside the cells of the grid."""
    if "experiment" not in ran:
        return []
    seconds = ran.groupby("experiment", sort=False)["seconds"].sum().astype(float)
    each = ", ".join(f"{name} {duration(taken)}" for name, taken in seconds.items())
    return [f"The decoding experiments took {duration(seconds.sum())} more: {each}."]
