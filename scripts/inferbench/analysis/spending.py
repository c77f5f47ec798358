"""Seconds of the measuring processes, by stage."""

from __future__ import annotations

import pandas as pd

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
