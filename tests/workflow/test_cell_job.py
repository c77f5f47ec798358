"""scripts/benchmark.py by hand: however the measuring process ends, there is a row that says so."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from statistics import median

import psutil
import pytest

from inferbench.tables.cell_file import read_cell

PR_SET_CHILD_SUBREAPER = 36
#: Long enough that only a signal ends it before its time.
LONG = ("measure.min_seconds=30", "measure.max_seconds=30", "measure.max_iterations=1000000")


@pytest.fixture
def command(first_run, tmp_path):
    """`command(*overrides)`: the command line that measures a cell of the tiny model into cell.parquet."""

    def build(*overrides: str) -> list[str]:
        chosen = {"model": "tiny", "precision": "bf16", "attention": "sdpa", "execution": "loop"}
        chosen |= {"workload": "tiny", "device": "cpu", "measure.max_seconds": "1", "output": "cell.parquet"}
        chosen |= dict(override.split("=", 1) for override in overrides)
        script = str(first_run.path("scripts/benchmark.py"))
        return [sys.executable, script, *(f"{key}={value}" for key, value in chosen.items())]

    return build


def cell(folder):
    """(provenance, record, rows) of the file in `folder`, which holds nothing else."""
    assert [path.name for path in folder.iterdir()] == ["cell.parquet"]
    provenance, record, table = read_cell(folder / "cell.parquet")
    return provenance, record, table.to_pylist()


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def worker_of(process: subprocess.Popen) -> psutil.Process:
    """The measuring process, once it is one."""
    while True:
        assert process.poll() is None, process.communicate()[0]
        for child in psutil.Process(process.pid).children():
            if "inferbench.run.worker" in child.cmdline():
                return child
        time.sleep(0.02)


def test_a_measured_cell_has_its_rows_and_where_they_come_from(first_run, command, work):
    done = first_run.run(*command("batch_size=2", "measure.min_iterations=2"), cwd=work)
    assert done.code == 0, done.output
    provenance, record, rows = cell(work)
    assert record["status"] == "ok" and record.get("reason") is None
    assert [row["iteration"] for row in rows] == list(range(1, len(rows) + 1))
    assert {row["new_tokens"] for row in rows} == {6}
    assert {len(row["itl_ms"]) for row in rows} == {5}
    assert all(row["ttft_ms"] > 0 and min(row["itl_ms"]) > 0 for row in rows)
    assert provenance["config"]["precision"]["dtype"] == "bfloat16"
    assert provenance["config"]["batch_size"] == 2
    assert len(provenance["fingerprint"]) == len(provenance["code"]) == 16
    assert {"python", "torch", "transformers"} <= set(provenance["versions"])
    assert provenance["started_at"] < provenance["ended_at"]
    assert provenance["host"] and record["device_name"]
    # 2 sequences a step: tokens/s by the mean time between tokens of the middle iteration
    tpots = sorted(sum(row["itl_ms"]) / 5 for row in rows)
    assert f"ok: decode {2000 / median(tpots):,.1f} tokens/s, time to first token " in done.output
    assert ", random token ids for prompts: the model has no tokenizer, in cell.parquet" in done.output


def test_a_cell_that_cannot_run_is_a_row_with_its_reason(first_run, command, work):
    done = first_run.run(*command("attention=flash_attention_2"), cwd=work)
    assert done.code == 0, done.output
    _, record, rows = cell(work)
    assert record["status"] == "unsupported" and "CUDA" in record["reason"]
    assert "load" not in record["stages_s"]  # no weights were read to find out
    assert [(row["status"], row["iteration"], row["itl_ms"]) for row in rows] == [("unsupported", None, None)]


def kill_worker(first_run, command, work, number):
    """(exit code, output) of a job whose measuring process gets this signal."""
    quiet = ["bash", "-c", 'ulimit -c 0; exec "$@"', "bash"]  # no core file
    process = first_run.start(*quiet, *command(*LONG), cwd=work)
    worker_of(process).send_signal(number)
    output, _ = process.communicate()
    return process.returncode, output


def test_a_measuring_process_that_crashes_is_a_row(first_run, command, work):
    code, output = kill_worker(first_run, command, work, signal.SIGSEGV)
    assert code == 0, output
    _, record, rows = cell(work)
    assert (record["status"], record["reason"]) == ("failed", "killed by SIGSEGV during startup")
    assert [row["status"] for row in rows] == ["failed"]


def test_a_measuring_process_that_someone_kills_is_a_failed_job_and_no_row(first_run, command, work):
    code, output = kill_worker(first_run, command, work, signal.SIGKILL)
    assert code != 0
    assert "cell by-hand: killed by SIGKILL during startup. That says nothing about the cell" in output
    assert "Traceback" not in output
    assert list(work.iterdir()) == []


def test_a_fault_of_files_is_a_failed_job_and_the_same_command_measures_after_the_repair(
    first_run, command, work
):
    models = work.parent / "models"
    shutil.copytree(first_run.path("models"), models)
    shard, broken = models / "tiny/model.safetensors", models / "tiny/tokenizer.json"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    done = first_run.run(*command(f"models_dir={models}"), cwd=work)
    assert done.code != 0
    assert done.output.splitlines()[-1].startswith(f"model tiny: {shard} is not whole (")
    assert list(work.iterdir()) == []
    shard.write_bytes(whole)
    broken.write_text("{")
    done = first_run.run(*command(f"models_dir={models}"), cwd=work)
    assert done.code != 0
    assert f"the tokenizer of model tiny ({broken}) cannot be read: " in done.output.splitlines()[-1]
    assert list(work.iterdir()) == []
    broken.unlink()
    done = first_run.run(*command(f"models_dir={models}"), cwd=work)
    assert done.code == 0, done.output
    assert cell(work)[1]["status"] == "ok"


def test_a_cell_over_its_time(first_run, command, work):
    done = first_run.run(*command(*LONG, "timeout_s=1"), cwd=work)
    assert done.code == 0, done.output
    _, record, _ = cell(work)
    assert record["status"] == "timeout"
    assert record["reason"].startswith("over timeout_s = 1 s, during ")


def test_a_cell_that_runs_out_of_memory(first_run, command, work):
    # What the measuring process takes before it loads anything, and 1 GiB more; the cell needs over 3.
    imports = "import inferbench.experiments.grid.measure, re; "
    imports += "print(re.search('VmPeak:.*?(.d+)', open('/proc/self/status').read())[1])"
    peak = first_run.run(sys.executable, "-c", imports.replace(".d", "\\d"), cwd=first_run.path("scripts"))
    limit = int(peak.output.split()[-1]) + 2**20
    limited = ["bash", "-c", f'ulimit -v {limit}; exec "$@"', "bash"]
    done = first_run.run(*limited, *command("precision=fp32", "batch_size=60000"), cwd=work)
    assert done.code == 0, done.output
    _, record, rows = cell(work)
    assert record["status"] == "oom"
    assert record["reason"].startswith("out of memory during warmup: ")
    assert [row["status"] for row in rows] == ["oom"]


def test_a_cell_without_its_model_says_how_to_make_it(first_run, command, work):
    done = first_run.run(*command(f"models_dir={work.parent}/none"), cwd=work)
    assert done.code != 0
    assert "make it with: python scripts/prepare_model.py model=tiny" in done.output
    assert list(work.iterdir()) == []


def test_a_killed_job_leaves_no_measuring_process_and_no_file(first_run, command, work):
    # The orphan becomes this process's child, which so learns what it died of.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        process = first_run.start(*command(*LONG), cwd=work)
        worker = worker_of(process)
        process.kill()
        process.wait()
        _, status = os.waitpid(worker.pid, 0)
    finally:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    assert list(work.iterdir()) == []


def test_a_plan_that_the_files_have_left_behind_is_refused(first_run, command, work):
    done = first_run.run(*command("fingerprint=0123456789abcdef"), cwd=work)
    assert done.code != 0
    assert (
        "its configuration or its model's files changed after this job was planned; run snakemake again"
        in done.output
    )
    assert list(work.iterdir()) == []


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor compiles for a processor with g++")
def test_a_compiled_cell_is_measured_with_the_kernels_that_later_processes_find(first_run, command, work):
    records = []
    for _ in range(2):
        done = first_run.run(*command("execution=compiled", "cache_dir=cache"), cwd=work)
        assert done.code == 0, done.output
        records.append(read_cell(work / "cell.parquet")[1])
    cold, warm = records
    assert [record["status"] for record in records] == ["ok", "ok"]
    assert [record["compile_cache"] for record in records] == ["cold", "warm"]
    assert cold["compiled_graphs"] == warm["compiled_graphs"] == 1
