"""What goes wrong on a cluster, on a real Slurm, with real cells.

In each case what was measured stays, what failed is named, `partial` reports, the next run does exactly the
missing work, and no row is lost, written twice or half-written.
"""

import os
import signal
import subprocess
import time

import psutil
import pytest

from cluster import wait_for
from faulty import CRASH, FREEZE, HOG, SEGFAULT

pytestmark = pytest.mark.slurm
TABLE = "results/tiny/measurements.parquet"
FLASH = {"attention": ["flash_attention_2"]}


def name(precision="fp32", attention="flash_attention_2", batch_size=1):
    return f"tiny--{precision}--{attention}--loop--tiny--b{batch_size}"


def story(run, cell):
    """What the last lines of a run say of a cell's failed job, which they tell once."""
    stories = run.output.split("A job failed; its log is ")[1:]
    own = [story for story in stories if story.startswith(f"results/tiny/logs/measure_cell/cells/{cell}/")]
    assert len(own) == 1, run.output
    return own[0]


def goes_on(checkout, missing, cells=8):
    """`partial` reports with exactly these cells missing; the next run measures exactly these, touches no
    other, and then each of the `cells` has one row in the table, which is given back."""
    before = checkout.cell_files()
    if missing:
        table = checkout.partial()
        assert len(table) == cells and table.index.is_unique
        assert set(table.index[table["status"] == "missing"]) == set(missing)
        found = table["status"][table["status"] != "missing"]
        assert {cell: status for cell, (status, _) in before.items()} == dict(found)
    assert checkout.planned(TABLE) == {"aggregate_cells"} | {f"{cell}/1" for cell in missing}
    run = checkout.on_slurm(TABLE)
    assert run.wait() == 0, run.output
    after = checkout.cell_files()
    assert len(after) == cells
    assert {cell: after[cell] for cell in before} == before
    table = checkout.table(TABLE).set_index("cell")
    assert len(table) == cells and table.index.is_unique
    return table


def done_cells(run, count):
    wait_for(lambda: run.output.count("(Rule: measure_cell)") >= count, f"{count} finished cells", run)


def test_jobs_that_crash_run_out_of_memory_or_time_or_are_cancelled(checkout, slurm):
    """Six faults in one run; the other two cells go on."""
    crashed, segfault, memory = name(batch_size=2), name("bf16", "sdpa"), name("bf16")
    late, cancelled, wrong = name("bf16", "sdpa", 2), name("fp32", "sdpa", 2), name("fp32", "sdpa")
    checkout.campaign(
        gpu_model=[{"gpu_model": "h100", "precision": "fp32", "attention": "sdpa", "batch_size": 1}]
    )
    faults = {crashed: CRASH, segfault: SEGFAULT, memory: HOG + FREEZE, late: FREEZE, cancelled: FREEZE}
    for cell, script in faults.items():
        checkout.fault(cell, script)
    run = checkout.submit("cells")
    slurm.run("scontrol", "update", f"JobId={slurm.job_of(run, late)}", "TimeLimit=1")
    job = slurm.job_of(run, cancelled)
    slurm.run("scancel", job)
    assert run.wait() != 0
    for cell, ended in {crashed: "FAILED", late: "TIMEOUT", cancelled: "CANCELLED"}.items():
        assert f", which ended as {ended}; Slurm's log is " in story(run, cell)
    assert f"It was Slurm job {job}, which" in story(run, cancelled)
    assert "memory limit" in story(run, memory)
    assert "DUE TO TIME LIMIT" in story(run, late)
    assert not stopped_processes()

    checkout.heal()
    table = goes_on(checkout, {crashed, late, cancelled, memory})
    assert table["reason"][segfault] == "killed by SIGSEGV during startup"
    assert table["status"][wrong] == "failed"
    assert table["reason"][wrong].startswith(
        "CheckFailed during startup: gpu_model h100 asked for, but this ran on "
    )
    assert table["status"][[late, cancelled]].tolist() == ["ok", "ok"]


def test_a_job_out_of_memory_is_tried_again_with_more(checkout):
    checkout.campaign(axes={**FLASH, "precision": ["fp32"], "batch_size": [1]})
    checkout.fault(name(), HOG + "sleep 3")
    run = checkout.on_slurm("cells", "--retries", "1")
    assert run.wait() == 0, run.output
    assert "Trying to restart job" in run.output
    assert "mem_mb=1500," in run.output and "mem_mb=3000," in run.output
    assert len(checkout.rows()) == len(checkout.cell_files()) == 1


def stopped_processes():
    """Measuring processes that are still there, stopped."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if "inferbench.run.worker" in (process.info["cmdline"] or [])
        and process.info["status"] == psutil.STATUS_STOPPED
    ]


def test_every_second_cell_failing(checkout):
    checkout.campaign(
        axes={**FLASH, "precision": ["fp32"], "batch_size": [1, 2, 3, 4, 5, 6]},
    )
    odd = {name(batch_size=size) for size in (1, 3, 5)}
    for cell in odd:
        checkout.fault(cell, CRASH)
    run = checkout.on_slurm("cells")
    assert run.wait() != 0
    for cell in odd:
        assert "which ended as FAILED" in story(run, cell)
    checkout.heal()
    goes_on(checkout, odd, cells=6)


def test_a_node_daemon_killed_and_brought_back_and_a_node_that_lost_its_power(checkout, slurm):
    node = "gpu2"
    survivor, victim = name("fp32", "sdpa"), name("fp32", "sdpa", 2)
    checkout.campaign(axes={"precision": ["fp32"]}, gpu_model=slurm.types[node])
    checkout.fault(survivor, FREEZE)
    checkout.fault(victim, FREEZE)
    run = checkout.submit("cells")
    jobs = [slurm.job_of(run, cell) for cell in (survivor, victim)]
    slurm.kill(node)
    slurm.start_node(node)
    wait_for(lambda: slurm.node_states()[node] in ("mix", "alloc"), "node in use", run)
    slurm.thaw(survivor)
    wait_for(lambda: slurm.state(jobs[0]) == "COMPLETED", "end of the job that survived", run)
    slurm.crash_node(node)
    checkout.heal()
    slurm.start_node(node)
    # Slurm runs the lost job again, under the same id.
    assert run.wait() == 0, run.output
    assert slurm.state(jobs[1]) == "COMPLETED"
    table = goes_on(checkout, set(), cells=4)
    assert table["slurm_job_id"][[survivor, victim]].tolist() == jobs


def test_one_ctrl_c(checkout, slurm):
    frozen = {name("fp32", "sdpa"), name("bf16", "sdpa")}
    checkout.campaign(axes={"batch_size": [1]})
    for cell in frozen:
        checkout.fault(cell, FREEZE)
    run = checkout.submit("cells")
    for cell in frozen:
        slurm.job_of(run, cell)
    done_cells(run, 2)
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.wait() != 0
    wait_for(lambda: not slurm.jobs(checkout.folder), "empty queue")
    wait_for(lambda: not stopped_processes(), "end of the measuring processes")
    checkout.heal()
    goes_on(checkout, frozen, cells=4)


def test_snakemake_killed_and_a_job_left_behind(checkout, slurm):
    orphan = name("fp32", "sdpa")
    checkout.campaign(axes={"precision": ["fp32"]})
    checkout.fault(orphan, FREEZE)
    run = checkout.submit("cells")
    job = slurm.job_of(run, orphan)
    done_cells(run, 3)
    run.process.kill()
    run.wait()
    checkout.heal()
    refused = checkout.on_slurm("cells")
    assert refused.wait() != 0
    assert "cannot be locked" in refused.output and "--unlock" in refused.output
    assert checkout.snakemake("--unlock").code == 0
    assert slurm.state(job) == "RUNNING"
    goes_on(checkout, {orphan}, cells=4)
    # The job that was left behind ends only now, and puts a whole file in place of a whole file.
    first = checkout.cell_files()[orphan]
    slurm.thaw(orphan)
    wait_for(lambda: slurm.state(job) == "COMPLETED", "end of the job left behind")
    assert checkout.cell_files()[orphan] > first
    table = checkout.rows()
    assert len(table) == 4 and table.index.is_unique
    assert table["slurm_job_id"][orphan] == job


def test_a_preempted_job(checkout, slurm):
    victim = name("fp32", "sdpa")
    checkout.campaign(axes={"precision": ["fp32"], "batch_size": [1]}, gpu_model="h100")
    checkout.fault(victim, FREEZE)
    run = checkout.submit("cells")
    job = slurm.job_of(run, victim)
    done_cells(run, 1)
    checkout.heal()
    slurm.run("srun", "--partition=urgent", "--nodelist=gpu1", "--exclusive", "--gpus=2", "sleep", "2")
    assert run.wait() == 0, run.output
    assert "Restarts=1" in slurm.run("scontrol", "show", "job", job)
    goes_on(checkout, set(), cells=2)


def test_the_controller_restarted_while_jobs_run(checkout, slurm):
    frozen = name("fp32", "sdpa")
    checkout.campaign(axes={"precision": ["fp32"]})
    checkout.fault(frozen, FREEZE)
    run = checkout.submit("cells")
    job = slurm.job_of(run, frozen)
    done_cells(run, 3)
    slurm.kill("slurmctld")
    # Snakemake has just seen jobs end, so it looks at the queue again after 2 and after 12 seconds, in vain.
    time.sleep(15)
    slurm.start_controller()
    slurm.thaw(frozen)
    assert run.wait() == 0, run.output
    assert slurm.state(job) == "COMPLETED"
    goes_on(checkout, set(), cells=4)


def test_an_edit_while_jobs_wait_in_the_queue(checkout, slurm):
    checkout.campaign(axes=FLASH)
    slurm.run("scontrol", "update", "PartitionName=gpu", "State=DOWN")
    try:
        run = checkout.submit("cells")
        wait_for(lambda: len(slurm.jobs(checkout.folder)) == 4, "four waiting jobs", run)
        comment = f"rule_measure_cell_wildcards_cells_{name('bf16')}_1"
        assert comment in slurm.jobs(checkout.folder, "--states=PENDING")
        checkout.edit("config/hydra/precision/bf16.yaml", "dtype: bfloat16", "dtype: float16")
        checkout.campaign(axes={**FLASH, "batch_size": [1, 3]})
    finally:
        slurm.run("scontrol", "update", "PartitionName=gpu", "State=UP")
    assert run.wait() != 0
    # Refused are the cell that means something else now, and those that nobody asks for any more.
    assert (
        "its configuration or its model's files changed after this job was planned; run snakemake again"
        in story(run, name("bf16"))
    )
    assert f"campaign tiny does not declare cell {name(batch_size=2)}" in story(run, name(batch_size=2))
    assert set(checkout.cell_files()) == {name()}
    goes_on(checkout, {name("bf16"), name(batch_size=3), name("bf16", batch_size=3)}, cells=4)


def test_a_file_system_that_is_full_half_way(checkout):
    checkout.campaign(axes={**FLASH, "batch_size": [1, 2, 3]})
    cells = checkout.path("results/tiny/cells")
    cells.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", cells], check=True)
    try:
        run = checkout.on_slurm("cells")
        assert run.wait() != 0
        measured = set(checkout.cell_files())
        every = {name(precision, batch_size=size) for precision in ("fp32", "bf16") for size in (1, 2, 3)}
        assert measured and measured < every
        for cell in every - measured:
            assert "No space left on device" in story(run, cell)
        subprocess.run(["mount", "-o", "remount,size=10m", cells], check=True)
        goes_on(checkout, every - measured, cells=6)
    finally:
        subprocess.run(["umount", "--lazy", cells], check=True)
