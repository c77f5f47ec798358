"""Jobs of an experiment that a cause outside the process slowed: rows of its table, and of nothing that is said or drawn.

Dropped and not hollow as in figures of the grid: nearly every mark of an experiment is of several jobs together.
"""

from __future__ import annotations

import pandas as pd

from inferbench.presentation.words import counted


def unflagged(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of an experiment's table without those of jobs that ended ok and whose flags forbid ranking."""
    return table[(table["status"] != "ok") | table["valid"].astype(bool)]


def flagged_sentences(table: pd.DataFrame) -> list[str]:
    """Which jobs that leaves out, and for which flags; nothing where there are none."""
    jobs = table.drop_duplicates(["cell", "replicate"])
    left_out = jobs[(jobs["status"] == "ok") & ~jobs["valid"].astype(bool)]
    if left_out.empty:
        return []
    flags = sorted(set(",".join(left_out["flags"]).split(",")))
    cells = ", ".join(dict.fromkeys(left_out["cell"]))
    return [
        f"Left out: {len(left_out)} of {counted(len(jobs), 'job')}, flagged {', '.join(flags)} ({cells})."
    ]
