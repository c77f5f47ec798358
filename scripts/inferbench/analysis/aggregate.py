"""From the cell files of a campaign to its tables: every declared cell and replicate becomes a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from inferbench.analysis.summarise import cards
from inferbench.plan.cells import Cell, expand, meaning_overrides
from inferbench.plan.fingerprint import cell_fingerprint
from inferbench.tables.cell_file import CellFileError, read_cell
from inferbench.tables.derive import measurement
from inferbench.tables.schema import measurements as schema
from inferbench.tables.schema import validate

#: The row of a cell and replicate; its iterations and where they come from, None where there is no file.
Loaded = tuple[dict[str, Any], pa.Table | None, dict[str, Any] | None]
#: Measured ceilings, and what is a share of each.
CEILINGS = {
    "copy_bandwidth_gb_s": "decode_mbu",
    "read_bandwidth_gb_s": None,
    "matmul_tflop_s": "prefill_mfu",
}
#: Reason of a row `missing`.
NOT_MEASURED = "not measured so far: there is no cell file"


def cell_path(cells_dir: Path, cell: Cell, replicate: int) -> Path:
    return cells_dir / cell.name / f"replicate-{replicate}.parquet"


def collect(
    campaign: dict[str, Any], cells_dir: Path, partial: bool, models_dir: str = "models"
) -> tuple[pd.DataFrame, pa.Table, dict[str, Any]]:
    """(measurements, iterations, provenance) of a campaign.

    A declared cell without a file is a row `missing` when `partial`, else an error. Raises
    CellFileError for a file that is broken, or that another configuration wrote.
    """
    cells = expand(campaign)
    fingerprints = {
        cell: cell_fingerprint(meaning_overrides(campaign, cell), models_dir=models_dir) for cell in cells
    }

    def load(cell: Cell, replicate: int) -> Loaded:
        path = cell_path(cells_dir, cell, replicate)
        if partial and not path.exists():
            return (
                _declared(campaign, cell, replicate) | {"status": "missing", "reason": NOT_MEASURED},
                None,
                None,
            )
        return _measured(campaign, cell, replicate, path, fingerprints[cell])

    # One after the other: of files this small most of the time is Python's, and threads wait for each other.
    loaded = [load(cell, replicate) for cell, count in cells.items() for replicate in range(1, count + 1)]
    rows = [row for row, _, _ in loaded]
    mark_mixed_code(rows)
    tables = [table for _, table, _ in loaded if table is not None]
    about = {"campaign": campaign, "cells": [origin for _, _, origin in loaded if origin is not None]}
    iterations = pa.concat_tables(tables) if tables else pa.table({})
    return with_best_ceilings(validate(pd.DataFrame(rows), schema)), iterations, about


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


def _declared(campaign: dict[str, Any], cell: Cell, replicate: int) -> dict[str, Any]:
    return {
        "campaign": campaign["campaign"],
        "cell": cell.name,
        **vars(cell),
        "replicate": replicate,
        "flags": "",
        "valid": False,
    }


def _measured(campaign: dict[str, Any], cell: Cell, replicate: int, path: Path, fingerprint: str) -> Loaded:
    provenance, record, table = read_cell(path)
    with derived_from(path):
        require_asked_for(path, provenance, cell.name, replicate, fingerprint)
        iterations = table.select(["ttft_ms", "itl_ms", "new_tokens"]).to_pylist()
        row = _declared(campaign, cell, replicate) | measurement(provenance, record, iterations)
    keep = {key: value for key, value in provenance.items() if key != "config"}
    origin = keep | {key: record.get(key) for key in ("status", "device_name", "device_uuid", "driver")}
    return row, table.replace_schema_metadata(None), origin


@contextmanager
def derived_from(path: Path) -> Iterator[None]:
    """Raise CellFileError for what the file of another version of this code does not hold."""
    try:
        yield
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise CellFileError(
            f"{path} lacks what its row is made of ({error!r}): delete it and run snakemake again"
        ) from error


def require_asked_for(
    path: Path, provenance: dict[str, Any], name: str, replicate: int, fingerprint: str
) -> None:
    """Raise CellFileError for a file of another cell, or of the cell as it was configured once."""
    if provenance["fingerprint"] != fingerprint:
        raise CellFileError(
            f"{path} was measured with another configuration (fingerprint {provenance['fingerprint']}, asked for"
            f" {fingerprint}): delete it and run snakemake again"
        )
    if (provenance["cell"], provenance["replicate"]) != (name, replicate):
        raise CellFileError(
            f"{path} is of cell {provenance['cell']}, replicate {provenance['replicate']}: delete it and run"
            " snakemake again"
        )


def mark_mixed_code(rows: list[dict[str, Any]]) -> None:
    """Say of each measured row whether other code measured it than the newest one."""
    measured = [row for row in rows if row.get("code")]
    newest = max(measured, key=lambda row: row["started_at"], default={}).get("code")
    for row in measured:
        row["mixed_code"] = row["code"] != newest
