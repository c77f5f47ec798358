"""How the workflow is used on a cluster: profiles, GPU types, groups, the check of a node, a small job."""

import pytest
import yaml

from cluster import wait_for
from faulty import FREEZE

pytestmark = pytest.mark.slurm
FLASH = {"attention": ["flash_attention_2"]}
FOREIGN = {
    "executor": "slurm",
    "jobs": 20,
    "default-resources": ["slurm_partition=gpu", "mem_mb=2000", "runtime=20", "slurm_extra='--nice=7'"],
    "set-threads": ["other_rule=4"],
    "slurm-status-command": "squeue",
    "slurm-init-seconds-before-status-checks": 2,
    "latency-wait": 5,
    "restart-times": 0,
}


def name(precision="fp32", attention="flash_attention_2", batch_size=1):
    return f"tiny--{precision}--{attention}--loop--tiny--b{batch_size}"


def test_a_campaign_on_two_types_of_gpu_and_its_report(checkout, slurm):
    processor = slurm.types["gpu2"]
    checkout.campaign(
        axes={"batch_size": [1]}, gpu_model=[{"gpu_model": "h100", **FLASH}, {"gpu_model": processor}]
    )
    frozen = name("bf16", "sdpa")
    checkout.fault(frozen, FREEZE)
    run = checkout.submit()
    job = slurm.job_of(run, frozen)
    # By name alone: what a job is writing at the moment is no cell file yet.
    written = checkout.path("results/tiny/cells")
    wait_for(lambda: len(list(written.rglob("*.parquet"))) == 3, "three cells", run)
    assert len(checkout.cell_files()) == 3
    # While jobs run, another shell can ask how far it is.
    meanwhile = checkout.snakemake("partial", "--nolock")
    assert "4 rows of 4 cells: 2 unsupported, 1 ok, 1 missing" in meanwhile.output
    path = f"results/tiny/cells/{frozen}/replicate-1.parquet"
    assert f"missing; to measure it: snakemake {path}" in meanwhile.output
    assert [slurm.state(job), checkout.cell_files().get(frozen)] == ["RUNNING", None]
    slurm.thaw(frozen)
    assert run.wait() == 0, run.output
    assert "4 rows of 4 cells: 2 ok, 2 unsupported" in run.output
    table = checkout.table("results/tiny/measurements.parquet").set_index("cell")
    assert table["status"][[name(), name("bf16", "sdpa")]].tolist() == ["unsupported", "ok"]
    assert table["host"][[name(), name("bf16", "sdpa")]].tolist() == ["gpu1", "gpu2"]
    assert table["slurm_job_id"][frozen] == job and table["slurm_job_id"].is_unique
    page = checkout.path("results/tiny/report.html").read_text()
    row = page[page.index(f"<td>{frozen}</td>", page.index("Where each cell ran")) :].split("</tr>")[0]
    assert all(f">{text}</td>" in row for text in ("gpu2", job, table["device_name"][frozen]))


def test_a_profile_that_is_there_already_stays_and_works(checkout, slurm):
    text = yaml.safe_dump(FOREIGN)
    checkout.profile.write_text(text)
    done = checkout.run("make", "slurm-profile")
    assert done.code == 0 and "There is a profile already, and it stays" in done.output
    assert checkout.profile.read_text() == text
    checkout.campaign(axes=FLASH | {"precision": ["bf16"]})
    run = checkout.on_slurm("cells")
    assert run.wait() == 0, run.output
    files = checkout.cell_files()
    assert sorted(files) == [name("bf16"), name("bf16", batch_size=2)]
    job = checkout.rows()["slurm_job_id"][name("bf16")]
    # The site's settings are the profile's; memory and time are the campaign's.
    shown = slurm.run("scontrol", "show", "job", job)
    assert "Nice=7" in shown and "MinMemoryNode=1500M" in shown and "TimeLimit=00:15:00" in shown
    assert "TresPerJob=gres:gpu:1" in shown


def test_cells_that_share_a_job_run_in_a_row_on_one_gpu(checkout, slurm):
    checkout.campaign(axes=FLASH, cells_per_job=2)
    run = checkout.on_slurm("cells")
    assert run.wait() == 0, run.output
    table = checkout.rows().sort_values("started_at")
    assert len(table) == 4 and table["slurm_job_id"].nunique() == 2
    for job, own in table.groupby("slurm_job_id"):
        assert own["precision"].nunique() == 1 and own["host"].nunique() == 1
        shown = slurm.run("scontrol", "show", "job", job)
        assert "NumNodes=1 " in shown and "TresPerJob=gres:gpu:1\n" in shown and "mem=1500M" in shown
        first, second = own["started_at"]
        assert own["seconds"].iloc[0] <= (second_of(second) - second_of(first))


def second_of(time):
    from datetime import datetime

    return datetime.fromisoformat(time).timestamp()


def test_no_cell_is_sent_to_a_node_that_will_not_do(checkout, slurm):
    checkout.campaign(axes=FLASH, device="cuda", gpu_model="h100")
    run = checkout.on_slurm()
    assert run.wait() != 0
    assert "node gpu1 has no NVIDIA driver: ask for nodes with GPUs" in run.output.split("A job failed;")[1]
    assert run.output.count("has been submitted") == 1
    assert not checkout.path("results/tiny/cells").exists()


def test_snakemake_itself_in_a_small_job(checkout, slurm):
    checkout.campaign(axes=FLASH | {"precision": ["bf16"]})
    # As documented: a job of its own, whose interruption Slurm turns into a Ctrl-C.
    snakemake = "exec snakemake --profile slurm cells"
    options = ["--parsable", "--cpus-per-task=1", "--mem=2000", "--time=60", "--signal=B:INT@60"]
    job = slurm.run(
        "sbatch", *options, f"--chdir={checkout.folder}", "--wrap", snakemake, env=checkout.environment
    ).strip()
    wait_for(lambda: slurm.state(job) in ("COMPLETED", "FAILED"), "end of the small job")
    said = checkout.path(f"slurm-{job}.out").read_text()
    assert slurm.state(job) == "COMPLETED", said
    table = checkout.rows()
    assert len(table) == 2 and job not in set(table["slurm_job_id"]) and table["slurm_job_id"].is_unique
