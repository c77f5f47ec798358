"""The decoding experiments through the real workflow: run, edited, failed, and drawn again from what was
published."""

import os
import re
import shutil
import sys

import pytest

from checkouts import REPORT as WHOLE_REPORT
from inferbench.plan.figures import experiment_drawings, figure_files
from inferbench.tables.cell_file import read_cell, write_cell

EXPERIMENTS = {
    "batching": {"batch_size": [2], "settings": {"new_tokens": 3, "rounds": 2}},
    "kv_cache": {"cache": ["off", "static"], "settings": {"lengths": [4, 8, 12], "steps": 2}},
    "streaming": {"settings": {"prompt_tokens": 4, "new_tokens": 4, "rounds": 3}},
}
AXES = {"precision": ["fp32"], "attention": ["sdpa"], "batch_size": [1]}
JOBS = {
    "batching": {"batching/tiny--fp32--sdpa--b2/1"},
    "kv_cache": {"kv_cache/tiny--fp32--sdpa--off/1", "kv_cache/tiny--fp32--sdpa--static/1"},
    "streaming": {"streaming/tiny--fp32--sdpa/1"},
}
FIGURES = figure_files(drawing for name in EXPERIMENTS for drawing in experiment_drawings(name))
PAGE = {"write_report", "all"}


def tables(experiment):
    """The jobs behind the files of an experiment: its table, its figure, and the page."""
    return {f"aggregate_{experiment}", f"draw_{experiment}"} | PAGE


def file_of(job):
    experiment, cell, replicate = job.split("/")
    return f"results/tiny/{experiment}/{cell}/replicate-{replicate}.parquet"


def declare(checkout, **changes):
    """The tiny campaign with the experiments; `changes` replaces one of these."""
    checkout.campaign(axes=AXES, baseline={"precision": "fp32"}, experiments={**EXPERIMENTS, **changes})


@pytest.fixture(scope="module")
def run(clone, tmp_path_factory):
    """A clone in which that campaign ran to its end. Not to be written to."""
    checkout = clone.copy(tmp_path_factory.mktemp("experiments") / "checkout")
    declare(checkout)
    done = checkout.snakemake()
    assert done.code == 0, done.output
    # 2 caches at 3 lengths.
    assert "kv_cache: 6 rows, 6 ok\n" in done.output
    return checkout


@pytest.fixture
def explored(run, tmp_path):
    return run.copy(tmp_path / "checkout")


def test_experiments_run_with_the_grid_and_are_tabled_drawn_and_reported(run):
    assert run.planned() == set()
    page = run.path("results/tiny/report.html").read_text()
    for name, jobs in JOBS.items():
        table = run.table(f"results/tiny/{name}.parquet")
        assert table["status"].unique().tolist() == ["ok"]
        assert table["cell"].nunique() == len(jobs)
        assert f'id="{name}"' in page
    assert all(run.path(f"results/tiny/{figure}").exists() for figure in FIGURES)
    assert run.table("results/tiny/batching.parquet")["text_equal"].tolist() == [True, True]
    # A file per job has the raw samples, and what they depend on.
    provenance, _, samples = read_cell(run.path(file_of(*JOBS["streaming"])))
    assert len(samples) == 2 * 3 * 4
    assert provenance["config"]["experiment"]["new_tokens"] == 4


def test_jobs_of_grid_and_experiments_are_measured_one_at_a_time_in_the_one_order_planned(run):
    priorities = {name: value for name, value in run.priorities("--forceall").items() if "/" in name}
    assert set(priorities) == {"tiny--fp32--sdpa--loop--tiny--b1/1"}.union(*JOBS.values())
    files = [run.path(f"results/tiny/{folder}") for folder in ("cells", *JOBS)]
    abouts = [read_cell(file)[0] for folder in files for file in folder.rglob("*.parquet")]
    abouts.sort(key=lambda about: about["started_at"])
    order = sorted(priorities, key=priorities.get, reverse=True)
    assert [about["cell"] for about in abouts] == [name.split("/")[-2] for name in order]
    assert all(one["ended_at"] <= other["started_at"] for one, other in zip(abouts, abouts[1:]))


def test_an_experiment_is_a_target_by_its_name(explored):
    for jobs in JOBS.values():
        for job in jobs:
            explored.path(file_of(job)).unlink()
    planned = explored.planned("kv_cache")
    assert planned == JOBS["kv_cache"] | {"aggregate_kv_cache", "draw_kv_cache", "kv_cache"}


def test_a_deleted_file_is_measured_again(explored):
    explored.path(file_of(*JOBS["streaming"])).unlink()
    assert explored.planned() == JOBS["streaming"] | tables("streaming")


@pytest.mark.parametrize(
    "name, added, planned",
    [
        ("config/hydra/experiment/kv_cache.yaml", "\nsteps: 9\n", JOBS["kv_cache"] | tables("kv_cache")),
        ("config/hydra/experiment/kv_cache.yaml", "\n# A thought.\n", set()),
        (
            "scripts/inferbench/experiments/batching/measure.py",
            "\nADDED = 1\n",
            JOBS["batching"] | tables("batching"),
        ),
        ("scripts/inferbench/experiments/batching/table.py", "\nADDED = 1\n", tables("batching")),
        ("scripts/inferbench/experiments/streaming/section.py", "\nADDED = 1\n", PAGE),
        ("scripts/inferbench/experiments/streaming/figures.py", "\nADDED = 1\n", {"draw_streaming"} | PAGE),
    ],
)
def test_an_edit_of_one_experiment_runs_that_one_again(explored, name, added, planned):
    explored.append(name, added)
    assert explored.planned() == planned


@pytest.mark.parametrize(
    "changes, planned",
    [
        (
            {"streaming": {"settings": {"prompt_tokens": 4, "new_tokens": 5, "rounds": 3}}},
            JOBS["streaming"] | tables("streaming"),
        ),
        (
            {"batching": {**EXPERIMENTS["batching"], "batch_size": [2, 3]}},
            {"batching/tiny--fp32--sdpa--b3/1"} | tables("batching"),
        ),
        ({"kv_cache": {**EXPERIMENTS["kv_cache"], "cache": ["off"]}}, tables("kv_cache")),
    ],
    ids=["a setting", "one more value of an axis", "one less"],
)
def test_an_edit_of_one_experiment_in_the_campaign_runs_the_difference(explored, changes, planned):
    declare(explored, **changes)
    assert explored.planned() == planned | {"declare_experiments"}


def test_retry_measures_jobs_of_experiments_again(explored):
    again = {"streaming/tiny--fp32--sdpa/1", "kv_cache/tiny--fp32--sdpa--off/1"}
    for job, changes in zip(
        sorted(again), ({"flags": ["contended"]}, {"status": "failed", "reason": "a bug"})
    ):
        file = explored.path(file_of(job))
        provenance, record, samples = read_cell(file)
        changed = file.stat()
        write_cell(file, provenance, {**record, "samples": samples.to_pylist(), **changes})
        os.utime(file, ns=(changed.st_atime_ns, changed.st_mtime_ns))
    assert explored.planned() == set()
    explored.campaign(
        axes=AXES, baseline={"precision": "fp32"}, experiments=EXPERIMENTS, retry=["failed", "contended"]
    )
    assert explored.planned() == again | tables("kv_cache") | tables("streaming")


def test_cells_of_experiments_share_jobs_as_those_of_the_grid_do(fresh):
    axes = {**AXES, "precision": ["fp32", "bf16"]}
    fresh.campaign(axes=axes, replicates=2, cells_per_job=2, experiments=EXPERIMENTS)
    done = fresh.snakemake(
        "--dry-run", "--", "results/tiny/batching.parquet", "results/tiny/kv_cache.parquet"
    )
    assert done.code == 0, done.output
    groups = [
        re.findall(r"folder=(\w+), cell=tiny--(\w+)--\S+ replicate=(\d)", group)
        for group in re.split("(?m)^.*Group job ", done.output)[1:]
    ]
    # A batch and two caches of each precision and replicate, two at a time.
    assert sorted(map(len, groups)) == [1] * 4 + [2] * 4
    assert all(len({(precision, replicate) for _, precision, replicate in group}) == 1 for group in groups)
    assert {folder for group in groups for folder, _, _ in group} == {"batching", "kv_cache"}


def test_prompts_are_part_of_what_experiments_depend_on(explored):
    explored.append("config/prompts.yaml", "\n- One more prompt.\n")
    assert set().union(*JOBS.values()) <= explored.planned()


def test_a_job_that_fails_is_a_row_and_partial_still_reports(explored):
    planted = '\n\ndef run_plain(*_):\n    raise ValueError("planted")\n'
    explored.append("scripts/inferbench/experiments/streaming/measure.py", planted)
    done = explored.snakemake("streaming")
    assert done.code == 0, done.output
    [row] = explored.table("results/tiny/streaming.parquet").to_dict("records")
    assert (row["status"], row["reason"]) == ("failed", "ValueError during warmup: planted")

    gone = "kv_cache/tiny--fp32--sdpa--off/1"
    explored.path(file_of(gone)).unlink()
    done = explored.snakemake("partial")
    assert done.code == 0, done.output
    statuses = explored.table("results/tiny/partial/kv_cache.parquet").groupby("cell")["status"].unique()
    assert statuses["tiny--fp32--sdpa--off"].tolist() == ["missing"]
    assert statuses["tiny--fp32--sdpa--static"].tolist() == ["ok"]
    page = explored.path("results/tiny/partial/report.html").read_text()
    assert "1 of 1 jobs failed: ValueError during warmup: planted (tiny--fp32--sdpa)." in page
    assert "1 of 2 jobs missing: not measured so far: there is no cell file (tiny--fp32--sdpa--off)." in page
    assert not explored.path(file_of(gone)).exists()


def test_published_experiments_are_drawn_again_byte_for_byte(explored):
    drawn = {name: explored.path(f"results/tiny/{name}").read_bytes() for name in FIGURES}
    publish = explored.run(sys.executable, "scripts/publish_campaign.py", "tiny", "tiny")
    assert publish.code == 0, publish.output
    shutil.rmtree(explored.path("results/tiny"))
    shutil.rmtree(explored.path("models"))
    explored.campaign(axes=AXES, baseline={"precision": "fp32"}, experiments=EXPERIMENTS, source="published")
    plots = {f"draw_{name}" for name in EXPERIMENTS}
    assert explored.planned() == WHOLE_REPORT | plots
    done = explored.snakemake()
    assert done.code == 0, done.output
    assert {name: explored.path(f"results/tiny/{name}").read_bytes() for name in FIGURES} == drawn
    page = explored.path("results/tiny/report.html").read_text()
    assert all(f'id="{name}"' in page for name in EXPERIMENTS)
    # ... and by the reviewer's command, which says so.
    done = explored.run(sys.executable, "scripts/redraw_published.py", "tiny")
    assert done.code == 0, done.output
    assert all(f"{name}: byte-identical" in done.output for name in EXPERIMENTS)
