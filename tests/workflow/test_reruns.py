"""After an edit exactly what depends on it runs again; each line on the real workflow, by dry runs."""

import os
import re
import shutil
import sys
from base64 import b64encode
from collections import Counter

import pytest

from checkouts import DOWNSTREAM, FIGURE_RULES, REPORT, cell_file, cells
from inferbench.plan.fingerprint import manifest_name
from inferbench.tables.cell_file import read_cell, write_cell

ALL = cells()
LOCK = "envs/benchmark-cpu.txt"
TINY = "config/campaigns/tiny.yaml"


def test_nothing_to_do_after_a_run(finished):
    assert finished.planned() == set()
    # ... and the campaign is the same one under its own file's name
    assert finished.planned("--configfile", TINY) == set()


EDITS = {
    "precision": (
        "config/hydra/precision/bf16.yaml",
        "\ndtype: float16\n",
        cells(precision=["bf16"]),
    ),
    "attention": (
        "config/hydra/attention/flash_attention_2.yaml",
        "\nimplementation: flash_attention_3\n",
        cells(attention=["flash_attention_2"]),
    ),
    "nested default": ("config/hydra/workload/base.yaml", "\nlengths: unequal\n", ALL),
    "prompts": ("config/prompts.yaml", "\n- One more prompt.\n", ALL),
    "defaults of every cell": ("config/hydra/benchmark.yaml", "\nseed: 1\n", ALL),
    "another model": ("config/hydra/model/smollm2-135m.yaml", "\ngpus: 2\n", None),
    "a comment": ("config/hydra/precision/bf16.yaml", "\n# Half of float32.\n", None),
    "lock": (LOCK, "\nsome-new-package==1.0\n", ALL),
    "comment in the lock": (LOCK, "\n# Made on another day.\n", None),
    "lock for GPUs": ("envs/benchmark-gpu.txt", "\nsome-new-package==1.0\n", None),
    "lock of figures": ("envs/figures.txt", "\nsome-new-package==1.0\n", None),
    "measuring code": ("scripts/inferbench/engines/decoding.py", "\nADDED = 1\n", ALL),
    "code that only the GPU needs": ("scripts/inferbench/device/nvml.py", "\nADDED = 1\n", ALL),
    "code of another engine": ("scripts/inferbench/engines/generate.py", "\nADDED = 1\n", None),
    "code of another library": ("scripts/inferbench/precision/bitsandbytes.py", "\nADDED = 1\n", None),
    "comment in measuring code": ("scripts/inferbench/engines/decoding.py", "\n# A thought.\n", None),
    "supervising code": ("scripts/inferbench/run/supervise.py", "\nADDED = 1\n", None),
}


@pytest.mark.parametrize("name, added, rerun", EDITS.values(), ids=EDITS)
def test_an_edit_measures_again_what_it_concerns(finished, name, added, rerun):
    finished.append(name, added)
    assert finished.planned() == (rerun | DOWNSTREAM if rerun else set())


def test_a_docstring_of_measuring_code_measures_nothing_again(finished):
    for name in ("engines/decoding", "run/worker", "settings/job"):
        path = finished.path(f"scripts/inferbench/{name}.py")
        path.write_text(re.sub(r'"""(?=\w)', '"""Better said: ', path.read_text()))
    assert finished.planned() == set()


def test_a_model_made_otherwise_is_made_and_measured_again(finished):
    finished.edit("config/hydra/model/tiny.yaml", "seed: 0", "seed: 1")
    assert finished.planned() == {"prepare_model"} | ALL | DOWNSTREAM


def test_a_model_made_otherwise_hides_no_other_edit(finished):
    finished.edit("config/hydra/model/tiny.yaml", "seed: 0", "seed: 1")
    done = finished.run(sys.executable, "scripts/prepare_model.py", "model=tiny")
    assert done.code == 0, done.output
    assert finished.planned() == ALL | DOWNSTREAM
    # back again: the weights of before are gone, and are not taken for those that lie there
    finished.edit("config/hydra/model/tiny.yaml", "seed: 1", "seed: 0")
    finished.append("config/hydra/precision/bf16.yaml", "\ndtype: float16\n")
    assert finished.planned() == {"prepare_model"} | ALL | DOWNSTREAM


def test_a_model_that_lies_there_is_not_made_again_and_hides_no_cell(finished):
    finished.edit("workflow/rules/models.smk", "prepare_model.py model", "prepare_model.py  model")
    finished.append("config/hydra/precision/bf16.yaml", "\ndtype: float16\n")
    assert finished.planned() == cells(precision=["bf16"]) | DOWNSTREAM


def test_an_edited_plot_draws_its_figure_and_writes_the_report(finished):
    assert {"draw_grid", "draw_latency"} <= FIGURE_RULES
    finished.append("scripts/inferbench/experiments/grid/figures/grid.py", "\nADDED = 1\n")
    assert finished.planned() == {"draw_grid", "write_report", "all"}


@pytest.mark.parametrize("part", ["page.html.j2", "explorer.html.j2", "explorer.css", "explorer.js"])
def test_an_edited_page_writes_the_report(finished, part):
    finished.append(f"workflow/report/{part}", "\n")
    assert finished.planned() == {"write_report", "all"}


def test_edited_statistics_aggregate_again(finished):
    finished.append("scripts/inferbench/analysis/statistics.py", "\nADDED = 1\n")
    assert finished.planned() == DOWNSTREAM


def take_as_done(fresh, names):
    """Have these cells count as measured: where only what is planned matters, or there is no GPU."""
    manifest = f"models/{manifest_name('tiny', 'models')}"
    for path in (manifest, *(cell_file(name) for name in names)):
        fresh.path(path).parent.mkdir(parents=True, exist_ok=True)
        fresh.path(path).touch()
    assert fresh.snakemake("--touch", "--forceall", "cells").code == 0
    assert fresh.planned("cells") == set()


def test_a_shared_part_of_the_4_bit_precisions_concerns_these(fresh):
    fresh.campaign(axes={"precision": ["bf16", "nf4", "nf4-double", "int8"], "attention": ["sdpa"]})
    names = {
        f"tiny--{precision}--sdpa--loop--tiny--b{batch}/1"
        for precision in ("bf16", "nf4", "nf4-double", "int8")
        for batch in (1, 2)
    }
    take_as_done(fresh, names)
    fresh.edit("config/hydra/precision/base_4bit.yaml", "dtype: bfloat16", "dtype: float16")
    assert fresh.planned("cells") == {name for name in names if "nf4" in name} | {"cells"}


def test_code_of_one_engine_and_of_one_library_concerns_their_cells(fresh):
    axes = {"precision": ["bf16", "nf4"], "attention": ["sdpa"], "execution": ["loop", "generate"]}
    fresh.campaign(axes=axes | {"batch_size": [1]})
    names = {
        f"tiny--{precision}--sdpa--{execution}--tiny--b1/1"
        for precision in axes["precision"]
        for execution in axes["execution"]
    }
    take_as_done(fresh, names)
    fresh.append("scripts/inferbench/engines/generate.py", "\nADDED = 1\n")
    generate = {name for name in names if "generate" in name}
    assert fresh.planned("cells") == generate | {"cells"}
    fresh.append("scripts/inferbench/precision/bitsandbytes.py", "\nADDED = 1\n")
    assert fresh.planned("cells") == generate | {name for name in names if "nf4" in name} | {"cells"}


def test_a_campaign_on_gpus_that_grows_checks_the_node_and_measures_the_new_cells_alone(fresh):
    grid = {"precision": ["bf16", "fp32"], "attention": ["sdpa"]}
    fresh.campaign(axes=grid, device="cuda")
    old = {
        f"tiny--{precision}--sdpa--loop--tiny--b{batch}/1"
        for precision in grid["precision"]
        for batch in (1, 2)
    }
    take_as_done(fresh, old)
    fresh.campaign(axes=grid | {"batch_size": [1, 2, 4]}, device="cuda")
    new = {f"tiny--{precision}--sdpa--loop--tiny--b4/1" for precision in grid["precision"]}
    assert fresh.planned("cells") == new | {"check_node", "cells"}


CAMPAIGN_EDITS = [
    ({"retry": ["oom", "timeout"]}, set()),  # no cell is either
    ({"also": [{"precision": ["bf16"]}]}, DOWNSTREAM),  # in the grid already
    ({"seed": 0, "cpu_threads": 2}, set()),  # the defaults, spelled out
    ({"limits": {"memory_gb": 8}}, {"write_report", "all"}),
    ({"baseline": {"precision": "fp32", "attention": "sdpa"}}, DOWNSTREAM),
    ({"measure": {"max_iterations": 3}}, ALL | DOWNSTREAM),
    ({"seed": 1}, ALL | DOWNSTREAM),
    ({"replicates": 2}, cells(replicate=[2]) | DOWNSTREAM),
    ({"axes": {"batch_size": [1, 2, 4]}}, cells(batch_size=[4]) | DOWNSTREAM),
    ({"axes": {"batch_size": [2]}}, DOWNSTREAM),
    ({"exclude": [{"attention": "flash_attention_2", "batch_size": 2}]}, DOWNSTREAM),
]


@pytest.mark.parametrize(
    "changes, planned", CAMPAIGN_EDITS, ids=[str(changes) for changes, _ in CAMPAIGN_EDITS]
)
def test_an_edit_of_the_campaign_runs_the_difference(finished, changes, planned):
    finished.campaign(**changes)
    assert finished.planned() == planned


def test_a_deleted_cell_is_measured_again(finished):
    cell = "tiny--bf16--sdpa--loop--tiny--b2/1"
    finished.path(cell_file(cell)).unlink()
    assert finished.planned() == {cell} | DOWNSTREAM


def test_a_file_whose_process_was_stopped_as_it_ended_is_made_again_without_being_asked(finished):
    cell = "tiny--bf16--sdpa--loop--tiny--b2/1"
    # As Snakemake notes a job that has begun: a file named by the output in base 64.
    begun = finished.path(".snakemake/incomplete") / b64encode(cell_file(cell).encode()).decode()
    begun.parent.mkdir(exist_ok=True)
    begun.write_text('{"external_jobid": null}')
    assert finished.planned() == {cell} | DOWNSTREAM


def test_a_deleted_figure_is_drawn_again(finished):
    finished.path("results/tiny/figures/grid.png").unlink()
    assert finished.planned() == {"draw_grid", "write_report", "all"}


def test_a_deleted_model_measures_nothing_again(finished):
    shutil.rmtree(finished.path("models"))
    assert finished.planned() == set()


def test_a_model_made_again_with_more_cells_measures_these_alone(finished):
    """The weights of a campaign that is done are deleted for their size, all but the manifest."""
    shutil.rmtree(finished.path("models/tiny"))
    finished.campaign(axes={"batch_size": [1, 2, 4]})
    assert finished.planned() == cells(batch_size=[4]) | DOWNSTREAM


def test_retry_measures_cells_of_that_status_again(finished):
    unsupported = cells(attention=["flash_attention_2"])
    finished.campaign(retry=["unsupported"])
    assert finished.planned() == unsupported | DOWNSTREAM
    # For as long as they stay unsupported and `retry` stands in the campaign, every run tries them again.
    again = cell_file(min(unsupported))
    before = finished.path(again).stat().st_mtime_ns
    done = finished.snakemake("--until", "measure_cell", "--", again)
    assert done.code == 0, done.output
    assert finished.path(again).stat().st_mtime_ns > before
    assert finished.planned() == unsupported | DOWNSTREAM
    finished.campaign()
    assert finished.planned() == DOWNSTREAM


def test_accepted_code_keeps_the_cells_that_it_measured_and_marks_them_in_the_tables(finished):
    old = "tiny--fp32--flash_attention_2--loop--tiny--b1/1"
    code = read_cell(finished.path(cell_file(old)))[0]["code"]
    finished.append("scripts/inferbench/measure/reasons.py", "\nADDED = 1\n")
    # One new cell, whose attention no CPU has: it ends soon.
    added = "tiny--bf16--flash_attention_3--loop--tiny--b1/1"
    new = {"attention": ["flash_attention_3"], "precision": ["bf16"], "batch_size": [1]}
    finished.campaign(accept_code=["0123456789abcdef"], also=[new])
    assert finished.planned() == ALL | {added} | DOWNSTREAM
    for accepted in (code, ["0123456789abcdef", code]):
        finished.campaign(accept_code=accepted, also=[new])
        assert finished.planned() == {added} | DOWNSTREAM
    done = finished.snakemake("results/tiny/measurements.parquet")
    assert done.code == 0, done.output
    rows = finished.table("results/tiny/measurements.parquet").set_index("attention")["mixed_code"]
    assert not rows["flash_attention_3"]
    assert rows.drop("flash_attention_3").tolist() == [True] * len(ALL)
    # The new cell is of the code of today, and done, whatever is accepted of the others.
    assert finished.planned() == REPORT
    finished.campaign(also=[new])
    assert finished.planned() == ALL | DOWNSTREAM


def test_a_fault_that_was_stored_as_a_result_is_measured_again_though_its_code_is_accepted(finished):
    died_of = {
        "tiny--bf16--sdpa--loop--tiny--b1/1": "SafetensorError during load: incomplete metadata",
        "tiny--bf16--sdpa--loop--tiny--b2/1": "OSError during load: [Errno 28] No space left on device",
        "tiny--fp32--sdpa--loop--tiny--b1/1": "CheckFailed during check: logits differ",
    }
    for name, reason in died_of.items():
        provenance, _, _ = read_cell(finished.path(cell_file(name)))
        changed = finished.path(cell_file(name)).stat()
        write_cell(finished.path(cell_file(name)), provenance, {"status": "failed", "reason": reason})
        os.utime(finished.path(cell_file(name)), ns=(changed.st_atime_ns, changed.st_mtime_ns))
    assert finished.planned() == set()
    finished.append("scripts/inferbench/measure/reasons.py", "\nADDED = 1\n")
    finished.campaign(accept_code=provenance["code"])
    faults = {name for name, reason in died_of.items() if "Check" not in reason}
    assert finished.planned() == faults | DOWNSTREAM
    # Once: then they are of the code of today.
    done = finished.snakemake("cells")
    assert done.code == 0, done.output
    assert finished.planned("cells") == set()


def test_a_fresh_clone_runs_everything(fresh):
    assert fresh.planned() == {"prepare_model", "declare_experiments"} | ALL | DOWNSTREAM


def test_the_default_campaign_is_the_demo(clone):
    planned = clone.planned()
    jobs = [name.split("/") for name in planned if "/" in name]
    # 4 precisions x 3 attentions x 2 batch sizes x 2 replicates, as cell/replicate
    assert sum(len(job) == 2 for job in jobs) == 48
    # 3 precisions; 6 strategies; 2 batch sizes; 3 caches; 1; 2 drafts x 1 length x 2 strategies
    experiments = {
        "quality": 3,
        "sampling": 6,
        "batching": 2,
        "kv_cache": 3,
        "streaming": 1,
        "speculative": 4,
    }
    assert Counter(job[0] for job in jobs if len(job) == 3) == experiments
    others = {name for name in planned if "/" not in name}
    tables = {f"aggregate_{name}" for name in experiments}
    figures = {f"draw_{name}" for name in experiments}
    assert others == {"prepare_model", "declare_experiments"} | tables | figures | DOWNSTREAM


def test_another_campaign_inherits_nothing_of_the_default_one(finished):
    finished.campaign(
        campaign="other",
        axes={"precision": ["fp16"], "batch_size": [8]},
        also=[{"execution": ["generate"]}],
        exclude=[{"precision": "bf16"}],
        measure={"max_iterations": 9, "energy_seconds": 1},
        replicates=3,
        seed=5,
        baseline={"precision": "fp16"},
    )
    assert finished.planned("--configfile", TINY) == set()


def test_published_results_start_no_measurement(finished):
    publish = finished.run(sys.executable, "scripts/publish_campaign.py", "tiny", "tiny")
    assert publish.code == 0, publish.output
    finished.campaign(source="published")
    assert finished.planned() == REPORT
    finished.path("config/hydra/precision/bf16.yaml").write_text(
        "name: bf16\ndtype: float16\nlibrary: plain\n"
    )
    shutil.rmtree(finished.path("results/tiny"))
    shutil.rmtree(finished.path("models"))
    assert finished.planned() == REPORT
    asked = finished.snakemake("--dry-run", cell_file(min(ALL)))
    assert asked.code != 0 and "benchmark.py" not in asked.output


def test_order_is_a_block_per_replicate_with_every_cell_of_grid_and_experiments_in_it(fresh):
    fresh.campaign(
        replicates=3, experiments={"kv_cache": {"cache": ["off", "static"], "attention": ["sdpa"]}}
    )
    caches = {f"kv_cache/tiny--{p}--sdpa--{cache}" for p in ("fp32", "bf16") for cache in ("off", "static")}
    priorities = {name: value for name, value in fresh.priorities().items() if "/" in name}
    size = len(ALL) + len(caches)
    assert len(set(priorities.values())) == 3 * size
    order = sorted(priorities, key=priorities.get, reverse=True)
    blocks = [order[start : start + size] for start in (0, size, 2 * size)]
    for replicate, block in enumerate(blocks, start=1):
        assert set(block) == cells(replicate=[replicate]) | {f"{cell}/{replicate}" for cell in caches}
    inside = [[name.rsplit("/", 1)[0] for name in block] for block in blocks]
    assert inside[0] != inside[1] != inside[2]
