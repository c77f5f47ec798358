"""Real runs that do not go smoothly: absent and broken files, interruptions, two runs at once."""

import os
import shutil
import signal
import sys
import time

import pytest

from checkouts import cell_file, cells
from inferbench.tables.cell_file import read_cell

CELL, OTHER = "tiny--bf16--sdpa--loop--tiny--b1/1", "tiny--fp32--sdpa--loop--tiny--b1/1"
TABLE = "results/tiny/measurements.parquet"
#: More than a machine under load gets through before it is told to stop.
BATCHES = list(range(1, 9))
CELLS = cells(attention=["flash_attention_2"], batch_size=BATCHES)
#: Only the cells, on a machine that pretends to have many cores: they are measured one at a time anyway.
SNAKEMAKE_CELLS = (sys.executable, "-m", "snakemake", "--cores", "16", "cells")


def test_the_first_run_measured_every_cell_and_reported(first_run):
    table = first_run.table(TABLE)
    assert len(table) == len(cells())
    by_attention = table.groupby("attention")["status"].unique()
    assert by_attention["sdpa"].tolist() == ["ok"]
    assert by_attention["flash_attention_2"].tolist() == ["unsupported"]
    page = first_run.path("results/tiny/report.html").read_text()
    assert "flash_attention_2 runs on CUDA GPUs only" in page


def last_words(done):
    """What a failed run ends with, after all that Snakemake says."""
    return done.output.partition("A job failed; its log is ")[2]


def test_partial_reports_what_is_there(finished):
    gone = {CELL, "tiny--fp32--flash_attention_2--loop--tiny--b2/1"}
    for cell in gone:
        finished.path(cell_file(cell)).unlink()
    complete = finished.path(TABLE).read_bytes()
    done = finished.snakemake("partial")
    assert done.code == 0, done.output
    table = finished.table("results/tiny/partial/measurements.parquet")
    missing = table[table["status"] == "missing"]
    assert {f"{row.cell}/{row.replicate}" for row in missing.itertuples()} == gone
    assert len(table) == len(cells())
    assert finished.path("results/tiny/partial/report.html").exists()
    assert finished.path(TABLE).read_bytes() == complete
    assert not any(finished.path(cell_file(cell)).exists() for cell in gone)
    # It says what is there now: with another cell it is made again, without it is not.
    assert finished.planned("partial") == set()
    finished.path(cell_file(OTHER)).unlink()
    assert "aggregate_cells_partial" in finished.planned("partial")


def test_partial_before_anything_was_measured(fresh):
    done = fresh.snakemake("results/tiny/partial/summary.parquet")
    assert done.code == 0, done.output
    assert fresh.table("results/tiny/partial/summary.parquet")["status"].unique().tolist() == ["missing"]


def test_a_corrupted_cell_file_is_refused_with_its_path(finished):
    path = finished.path(cell_file(CELL))
    path.write_bytes(path.read_bytes()[:-100])
    before = finished.path(TABLE).read_bytes()
    done = finished.snakemake(TABLE)
    assert done.code != 0
    assert f"{cell_file(CELL)} is not a whole cell file" in last_words(done)
    assert "Traceback" not in done.output
    assert finished.path(TABLE).exists() is False or finished.path(TABLE).read_bytes() == before


def test_a_cell_file_of_another_configuration_is_refused_with_its_path(finished):
    shutil.copyfile(finished.path(cell_file(OTHER)), finished.path(cell_file(CELL)))
    done = finished.snakemake(TABLE)
    assert done.code != 0
    assert f"{cell_file(CELL)} was measured with another configuration" in last_words(done)
    assert "Traceback" not in done.output


@pytest.fixture(scope="module")
def interrupted(clone, tmp_path_factory):
    """(checkout, second run beside the first, {file that the first left: its time}) of a run that was
    interrupted, as by Ctrl-C, once two cells were done; its cells are all unsupported, which is soon found."""
    checkout = clone.copy(tmp_path_factory.mktemp("interrupted") / "checkout")
    checkout.campaign(
        axes={"attention": ["flash_attention_2"], "batch_size": BATCHES}, baseline={"precision": "bf16"}
    )
    run = checkout.start(*SNAKEMAKE_CELLS, start_new_session=True)
    folder = checkout.path("results/tiny/cells")
    while len(list(folder.glob("*/replicate-1.parquet"))) < 2 and run.poll() is None:
        time.sleep(0.2)
    second = checkout.run(*SNAKEMAKE_CELLS)
    os.killpg(run.pid, signal.SIGINT)
    said, _ = run.communicate()
    left = {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    assert run.returncode != 0
    # Nothing failed: it was stopped.
    assert "Interrupted. What was measured stays" in said and "A job failed" not in said
    return checkout, second, left


def test_a_second_run_in_the_same_folder_is_refused(interrupted):
    _, second, _ = interrupted
    assert second.code != 0
    assert "cannot be locked" in second.output


def test_an_interrupted_run_leaves_whole_files_and_goes_on_where_it_stopped(interrupted):
    checkout, _, left = interrupted
    assert 1 < len(left) < len(CELLS)
    assert all(name.endswith("/replicate-1.parquet") for name in left)
    done = checkout.run(*SNAKEMAKE_CELLS)
    assert done.code == 0, done.output
    folder = checkout.path("results/tiny/cells")
    now = {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    assert len(now) == len(CELLS)
    # The newest may have been whole before Snakemake heard of its job's end: that one is measured again.
    newest = max(left, key=left.get)
    assert {name for name in left if now[name] != left[name]} <= {newest}


def test_cells_are_measured_one_at_a_time_in_the_order_planned(interrupted):
    checkout, _, _ = interrupted
    checkout.run(*SNAKEMAKE_CELLS)
    priorities = checkout.priorities("--forceall", "cells")
    abouts = [read_cell(checkout.path(cell_file(cell)))[0] for cell in CELLS]
    abouts.sort(key=lambda about: about["started_at"])
    measured = [f"{about['cell']}/{about['replicate']}" for about in abouts]
    assert measured == sorted(CELLS, key=priorities.get, reverse=True)
    assert all(one["ended_at"] <= other["started_at"] for one, other in zip(abouts, abouts[1:]))
