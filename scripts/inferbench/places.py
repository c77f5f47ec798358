"""Where each cell ran: node, job, device and driver of every process that measured."""

from __future__ import annotations

import pandas as pd

from inferbench.page_tables import Table, table_of
from inferbench.presentation import STATUS_WORDS

COLUMNS = {
    "host": "node",
    "slurm_job_id": "Slurm job",
    "device_name": "device",
    "device_uuid": "device UUID",
    "driver": "driver",
    "started_at": "started (UTC)",
}


def place_table(measurements: pd.DataFrame) -> Table:
    """A row per cell and replicate; columns that say nothing, as the Slurm job of a local run, are left out."""
    texts = {
        "cell": measurements["cell"],
        "replicate": measurements["replicate"].astype(str),
        "status": measurements["status"].map(lambda status: STATUS_WORDS.get(status, status)),
        **{title: measurements[name].fillna("") for name, title in COLUMNS.items()},
    }
    texts["started (UTC)"] = texts["started (UTC)"].str.slice(0, 19).str.replace("T", " ")
    return table_of(texts, {*texts} - {"replicate"})
