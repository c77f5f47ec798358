"""Where each number comes from: node, job, device, driver and code of every process that measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from inferbench.presentation.page_tables import Table, table_of
from inferbench.presentation.words import STATUS_WORDS

if TYPE_CHECKING:
    from inferbench.analysis.experiment_tables import Experiment

COLUMNS = {
    "host": "node",
    "slurm_job_id": "Slurm job",
    "device_name": "device",
    "device_uuid": "device UUID",
    "driver": "driver",
    "started_at": "started (UTC)",
    "git_commit": "commit",
}


def processes(measurements: pd.DataFrame, experiments: dict[str, Experiment]) -> pd.DataFrame:
    """A row per process that measured, of the grid and of the experiments, whose names stand before their cells'."""
    own = [
        table.table.drop_duplicates(["cell", "replicate"]).assign(
            cell=lambda rows: rows["experiment"] + ": " + rows["cell"]
        )
        for table in experiments.values()
    ]
    columns = ["cell", "replicate", "status", "seconds", "code", "mixed_code", *COLUMNS]
    return pd.concat(
        [measurements[columns], *(rows[["experiment", *columns]] for rows in own)], ignore_index=True
    )


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


def provenance_facts(ran: pd.DataFrame, provenance: dict[str, Any]) -> list[tuple[str, str]]:
    """Where the numbers come from; what differs between processes is listed with every value."""
    cells = provenance.get("cells") or []
    facts = [
        ("device", distinct(ran["device_name"])),
        ("device UUID", distinct(ran["device_uuid"])),
        ("driver", distinct(ran["driver"])),
        ("host", distinct(ran["host"])),
        ("Slurm jobs", distinct(ran["slurm_job_id"])),
        ("git commit", distinct(ran["git_commit"])),
        ("measuring code", distinct(ran["code"], most=len(ran))),  # as `accept_code` takes them
    ]
    mixed = int(ran["mixed_code"].fillna(False).sum())
    if mixed:
        facts.append(
            (
                "mixed code",
                f"{mixed} of {len(ran)} replicates ran other code than the newest ones of their engine and library",
            )
        )
    versions = [(cell.get("versions") or {}) for cell in cells]
    for package in sorted({package for version in versions for package in version}):
        facts.append((package, distinct(version.get(package) for version in versions)))
    started = pd.to_datetime(ran["started_at"], utc=True, format="ISO8601")
    ended = started + pd.to_timedelta(ran["seconds"].astype(float).fillna(0.0), unit="s")
    if started.notna().any():
        facts.append(
            ("measured (UTC)", f"{started.min():%Y-%m-%d %H:%M:%S} to {ended.max():%Y-%m-%d %H:%M:%S}")
        )
    return [(name, value) for name, value in facts if value]


def distinct(values: Iterable[Any], most: int = 12) -> str:
    """The values that are there, each once, in order of appearance."""
    found = list(dict.fromkeys(str(value) for value in values if pd.notna(value) and value != ""))
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more
