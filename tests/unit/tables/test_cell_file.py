"""The cell file is there whole or not at all."""

import os
import resource

import pyarrow.parquet as pq
import pytest

from inferbench.tables.cell_file import CellFileError, read_cell, read_ending, write_cell

PROVENANCE = {"cell": "c", "replicate": 2, "fingerprint": "f", "code": "0123"}
OK = {
    "status": "ok",
    "flags": ["power_capped"],
    "weight_bytes": 7,
    "iterations": [
        {"ttft_ms": 1.5, "itl_ms": [0.5, 0.25], "new_tokens": 3},
        {"ttft_ms": 2.5, "itl_ms": [0.5, 0.75], "new_tokens": 3},
    ],
}


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "cells" / "c" / "replicate-2.parquet"
    write_cell(path, PROVENANCE, OK)
    provenance, record, table = read_cell(path)
    assert provenance == PROVENANCE
    assert record == {"status": "ok", "flags": ["power_capped"], "weight_bytes": 7}
    common = {"cell": "c", "replicate": 2, "status": "ok", "reason": None, "new_tokens": 3}
    assert table.to_pylist() == [
        {**common, "iteration": 1, "ttft_ms": 1.5, "itl_ms": [0.5, 0.25]},
        {**common, "iteration": 2, "ttft_ms": 2.5, "itl_ms": [0.5, 0.75]},
    ]
    assert read_ending(path) == ("ok", ["power_capped"], "", "f", "0123")
    assert os.listdir(path.parent) == [path.name]


def test_a_cell_that_is_not_ok_has_one_row(tmp_path):
    path = tmp_path / "x.parquet"
    write_cell(path, PROVENANCE, {"status": "oom", "reason": "too big"})
    [row] = read_cell(path)[2].to_pylist()
    assert (row["status"], row["reason"], row["iteration"], row["ttft_ms"]) == ("oom", "too big", None, None)
    assert read_ending(path) == ("oom", [], "too big", "f", "0123")


def test_a_cell_measured_again_replaces_the_file(tmp_path):
    path = tmp_path / "x.parquet"
    write_cell(path, PROVENANCE, {"status": "failed", "reason": "a crash"})
    write_cell(path, PROVENANCE, OK)
    assert read_ending(path)[0] == "ok"


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "x.parquet"
    write_cell(path, PROVENANCE, {"status": "oom", "reason": "too big"})
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # no file may be longer
    try:
        with pytest.raises(CellFileError) as caught:
            write_cell(path, PROVENANCE, OK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value) == f"cannot write {path}: File too large"
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CellFileError, match="cannot write .*file/x.parquet: "):
        write_cell(tmp_path / "file" / "x.parquet", PROVENANCE, OK)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-50])


def damaged_inside(path):
    content = bytearray(path.read_bytes())
    content[4:60] = bytes(56)
    path.write_bytes(content)


def of_something_else(path):
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)


BROKEN = {
    "truncated": truncated,
    "empty": lambda path: path.write_bytes(b""),
    "not Parquet": lambda path: path.write_text("status: ok\n"),
    "without its record": of_something_else,
    "absent": lambda path: path.unlink(),
}


@pytest.mark.parametrize("reader", [read_cell, read_ending])
@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_with_its_path(tmp_path, reader, damage):
    path = tmp_path / "x.parquet"
    write_cell(path, PROVENANCE, OK)
    damage(path)
    with pytest.raises(CellFileError) as caught:
        reader(path)
    assert str(caught.value).startswith(f"{path} is not a whole cell file")
    assert "\n" not in str(caught.value)


def test_damage_inside_the_rows_is_refused_too(tmp_path):
    path = tmp_path / "x.parquet"
    write_cell(path, PROVENANCE, OK)
    damaged_inside(path)
    with pytest.raises(CellFileError):
        read_cell(path)
