"""How the device's seconds were spent, by the stages of the measuring processes."""

from __future__ import annotations

import pandas as pd

from inferbench.presentation import number

#: Column of `measurements` -> the stage's name, in the order of a process.
STAGES = {
    "startup_s": "start-up",
    "ceilings_s": "ceilings",
    "load_s": "load",
    "check_s": "check",
    "compile_s": "compile",
    "warmup_s": "warm-up",
    "measure_s": "measuring",
    "profile_s": "profile",
    "energy_s": "energy",
}
#: Of a process's wall time what no stage has: its end, and the file that it leaves.
REST = "rest"


def stage_seconds(measurements: pd.DataFrame) -> pd.DataFrame:
    """Seconds by stage and REST, a column each, for the rows of `measurements`; 0 where there are none.

    Every status counts: a cell that failed has used the device too.
    """
    stages = measurements[list(STAGES)].astype(float).fillna(0.0).rename(columns=STAGES)
    whole = measurements["seconds"].astype(float).fillna(0.0)
    return stages.assign(**{REST: (whole - stages.sum(axis=1)).clip(lower=0.0)})


def spent(measurements: pd.DataFrame) -> pd.Series:
    """Seconds by stage, summed over all replicates."""
    return stage_seconds(measurements).sum()


def duration(seconds: float) -> str:
    """'41.2 s', '12.4 min' or '3.25 h'."""
    unit, per_unit = ("s", 1) if seconds < 100 else ("min", 60) if seconds < 7200 else ("h", 3600)
    return f"{number(seconds / per_unit)} {unit}"


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
