"""From the files of a campaign's jobs to tables: every declared cell and replicate becomes a row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from inferbench.analysis.summarise import cards
from inferbench.plan.fingerprint import named_code
from inferbench.plan.jobs import Job, declared_cells
from inferbench.plan.specs import GRID
from inferbench.tables.cell_file import CellFile, CellFileError, read_cell
from inferbench.tables.derive import measurement
from inferbench.tables.schema import measurements as schema
from inferbench.tables.schema import validate

#: Measured ceilings, and what is a share of each.
CEILINGS = {
    "copy_bandwidth_gb_s": "decode_mbu",
    "read_bandwidth_gb_s": None,
    "matmul_tflop_s": "prefill_mfu",
}
#: Rows by what names their code, as `named_code` gives it.
Combinations = dict[tuple[str, tuple[str, ...]], list[dict[str, Any]]]
#: Reason of a row `missing`.
NOT_MEASURED = "not measured so far: there is no cell file"


def job_files(
    campaign: dict[str, Any], experiment: str, folder: Path, partial: bool, models_dir: str
) -> Iterator[tuple[dict[str, Any], Path, CellFile | None]]:
    """(the columns that the campaign knows, the file's path and content) of every job that the campaign declares of an
    experiment or of its grid, cell by cell.

    folder: of their files. A job without a file is a row `missing`, its content None, when `partial`, else an error.
    Raises CellFileError for a file that is broken, or that another configuration wrote.
    """
    for cell, replicates in declared_cells(campaign, experiment).items():
        _, fingerprint = Job(experiment, cell, 1).meaning(campaign, models_dir)
        for job in (Job(experiment, cell, number) for number in range(1, replicates + 1)):
            declared = {
                "campaign": campaign["campaign"],
                "cell": cell.name,
                **job.axes,
                "replicate": job.replicate,
            }
            path = folder / cell.name / Path(job.file).name
            if partial and not path.exists():
                unmeasured = {"status": "missing", "reason": NOT_MEASURED, "flags": "", "valid": False}
                yield declared | unmeasured, path, None
                continue
            content = read_cell(path)
            with derived_from(path):
                _require_asked_for(path, content[0], job, fingerprint)
            yield declared, path, content


def collect_grid(
    campaign: dict[str, Any], folder: Path, partial: bool, models_dir: str = "models"
) -> tuple[pd.DataFrame, pa.Table, dict[str, Any]]:
    """(measurements, iterations, provenance) of a campaign's grid. Arguments and errors as `job_files` has them."""
    rows, tables, origins = [], [], []
    combinations: Combinations = defaultdict(list)
    # One after the other: of files this small most of the time is Python's, and threads wait for each other.
    for row, path, content in job_files(campaign, GRID, folder, partial, models_dir):
        if content:
            provenance, record, table = content
            with derived_from(path):
                iterations = table.select(["ttft_ms", "itl_ms", "new_tokens"]).to_pylist()
                row |= measurement(provenance, record, iterations)
                combinations[named_code(provenance["config"])].append(row)
            tables.append(table.replace_schema_metadata(None))
            keep = {key: value for key, value in provenance.items() if key != "config"}
            device = {key: record.get(key) for key in ("status", "device_name", "device_uuid", "driver")}
            origins.append(keep | device)
        rows.append(row)
    mark_mixed_code(combinations)
    iterations = pa.concat_tables(tables) if tables else pa.table({})
    measured = with_best_ceilings(validate(pd.DataFrame(rows), schema))
    return measured, iterations, {"campaign": campaign, "cells": origins}


def with_best_ceilings(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the best ceilings that their card showed to any process, and shares of those.

    A neighbour can slow a process's copy of a second by a fifth while its cell runs as fast as ever: of that ceiling
    the cell would reach a share that no cell reaches.
    """
    card = cards(rows)
    for ceiling, share in CEILINGS.items():
        best = rows.groupby(card)[ceiling].transform("max").where(rows[ceiling].notna())
        if share:
            rows[share] *= rows[ceiling] / best
        rows[ceiling] = best
    return rows


@contextmanager
def derived_from(path: Path) -> Iterator[None]:
    """Raise CellFileError for what the file of another version of this code does not hold."""
    try:
        yield
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise CellFileError(
            f"{path} lacks what its row is made of ({error!r}): delete it and run snakemake again"
        ) from error


def _require_asked_for(path: Path, provenance: dict[str, Any], job: Job, fingerprint: str) -> None:
    """Raise CellFileError for a file of another cell, or of the cell as it was configured once."""
    if provenance["fingerprint"] != fingerprint:
        raise CellFileError(
            f"{path} was measured with another configuration (fingerprint {provenance['fingerprint']}, asked for"
            f" {fingerprint}): delete it and run snakemake again"
        )
    if (provenance["cell"], provenance["replicate"]) != (job.cell.name, job.replicate):
        raise CellFileError(
            f"{path} is of cell {provenance['cell']}, replicate {provenance['replicate']}: delete it and run"
            " snakemake again"
        )


def mark_mixed_code(combinations: Combinations) -> None:
    """Say of each measured row whether other code measured it than the newest one of its combination."""
    for rows in combinations.values():
        newest = max(rows, key=lambda row: row["started_at"])["code"]
        for row in rows:
            row["mixed_code"] = row["code"] != newest
