"""The cell file: one Parquet per replicate, a row per iteration, and everything else in its metadata.

A cell that did not end ok has one row, with its status and reason. The file appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

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


class CellFileError(RuntimeError):
    """A cell file that cannot be written, read or used. The message has its path."""


def write_cell(path: Path, provenance: dict[str, Any], record: dict[str, Any]) -> None:
    """Write the file atomically; the temporary one is unique to this process, so that an orphan of an
    earlier job cannot overwrite it. Raises CellFileError and leaves nothing behind."""
    iterations = record.get("iterations") or [{}]
    common = {
        "cell": provenance["cell"],
        "replicate": provenance["replicate"],
        "status": record["status"],
        "reason": record.get("reason"),
    }
    numbered = [number if record.get("iterations") else None for number in range(1, len(iterations) + 1)]
    rows = [{**common, "iteration": n, **iteration} for n, iteration in zip(numbered, iterations)]
    rest = {key: value for key, value in record.items() if key != "iterations"}
    metadata = {PROVENANCE: json.dumps(provenance), RECORD: json.dumps(rest)}
    table = pa.Table.from_pylist(rows, schema=ROWS.with_metadata(metadata))
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, temporary)
        os.replace(temporary, path)
    except OSError as error:
        # Arrow puts a story of its own in place of the system's word.
        reason = os.strerror(error.errno) if error.errno else error
        raise CellFileError(f"cannot write {path}: {reason}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def read_cell(path: Path) -> tuple[dict[str, Any], dict[str, Any], pa.Table]:
    """(provenance, record, rows). Raises CellFileError when the file is not a whole cell file."""
    try:
        table = pq.read_table(path, partitioning=None)
        metadata = table.schema.metadata
        return json.loads(metadata[PROVENANCE]), json.loads(metadata[RECORD]), table
    except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError) as error:
        raise CellFileError(f"{path} is not a whole cell file ({error}): delete it and run again") from error


def read_status(path: Path) -> tuple[str, list[str]]:
    """(status, flags) from the file's footer alone. Raises CellFileError as `read_cell` does."""
    try:
        record = json.loads(pq.read_schema(path).metadata[RECORD])
        return record["status"], record.get("flags") or []
    except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError) as error:
        raise CellFileError(f"{path} is not a whole cell file ({error}): delete it and run again") from error
