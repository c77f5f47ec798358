"""The cell file: one Parquet per replicate, a row per iteration, and everything else in its metadata.

A cell that did not end ok has one row, with its status and reason. The file appears whole or not at all.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from inferbench.tables.whole_files import UnwritableError, whole_file

ROWS = pa.schema(
    [
        ("cell", pa.string()),
        ("replicate", pa.int32()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("iteration", pa.int32()),
        ("new_tokens", pa.int32()),
        ("ttft_ms", pa.float64()),
        ("itl_ms", pa.list_(pa.float64())),
    ]
)
#: Keys of the schema metadata; each holds JSON.
PROVENANCE, RECORD = b"provenance", b"record"
#: (provenance, record, rows).
CellFile = tuple[dict[str, Any], dict[str, Any], pa.Table]


class CellFileError(RuntimeError):
    """A cell file that cannot be written, read or used. The message has its path."""


def write_cell(path: Path, provenance: dict[str, Any], record: dict[str, Any]) -> None:
    """Write the file whole or not at all. Raises CellFileError and leaves nothing behind."""
    common = {
        "cell": provenance["cell"],
        "replicate": provenance["replicate"],
        "status": record["status"],
        "reason": record.get("reason"),
    }
    rest = {key: value for key, value in record.items() if key not in ("iterations", "samples")}
    metadata = {PROVENANCE: json.dumps(provenance), RECORD: json.dumps(rest)}
    if record["status"] == "ok" and "samples" in record:
        # An experiment's raw samples have columns of its own.
        rows = [{**common, **sample} for sample in record["samples"]]
        table = pa.Table.from_pylist(rows).replace_schema_metadata(metadata)
    else:
        iterations = record.get("iterations") or [{}]
        numbered = [number if record.get("iterations") else None for number in range(1, len(iterations) + 1)]
        rows = [{**common, "iteration": n, **iteration} for n, iteration in zip(numbered, iterations)]
        table = pa.Table.from_pylist(rows, schema=ROWS.with_metadata(metadata))
    try:
        with whole_file(path) as temporary:
            pq.write_table(table, temporary)
    except UnwritableError as error:
        raise CellFileError(str(error)) from error


def read_cell(path: Path) -> CellFile:
    """The content of a cell file. Raises CellFileError when the file is not a whole cell file."""
    try:
        # A third of the time that pq.read_table takes, which treats each file as a data set; a path that
        # ParquetFile opens is first looked up among file systems.
        with pa.OSFile(str(path)) as opened, pq.ParquetFile(opened) as file:
            table = file.read(use_threads=False)
        metadata = table.schema.metadata
        return json.loads(metadata[PROVENANCE]), json.loads(metadata[RECORD]), table
    except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError) as error:
        raise CellFileError(f"{path} is not a whole cell file ({error}): delete it and run again") from error


class Ending(NamedTuple):
    """How a job ended, and what it was measured with."""

    status: str
    flags: list[str]
    reason: str
    fingerprint: str
    code: str


def read_ending(path: Path) -> Ending:
    """From the file's footer alone. Raises CellFileError as `read_cell` does."""
    try:
        with pa.OSFile(str(path)) as opened:
            metadata = pq.read_metadata(opened).metadata
        provenance, record = json.loads(metadata[PROVENANCE]), json.loads(metadata[RECORD])
        flags, reason = record.get("flags") or [], record.get("reason") or ""
        return Ending(record["status"], flags, reason, provenance["fingerprint"], provenance["code"])
    except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError) as error:
        raise CellFileError(f"{path} is not a whole cell file ({error}): delete it and run again") from error
