"""The campaign: its declaration, its cells, and what each job depends on.

Inputs: the config. Outputs: no files; the names that the other rule files use.
"""

import os
import shlex
from functools import cache

from inferbench.device.lease import visible_gpus
from inferbench.plan.campaign import CampaignError, check_contexts, load_campaign
from inferbench.plan.cells import hydra_quoted
from inferbench.plan.figures import (
    OF_ANOTHER,
    beside_drawings,
    drawings,
    experiment_drawings,
    figure_files,
)
from inferbench.plan.fingerprint import code_hash, digest, manifest_name
from inferbench.plan.jobs import GRID_FOLDER, Plan, folder_of, sorted_json
from inferbench.plan.specs import GRID, experiment_names
from inferbench.settings.faults import is_fault
from inferbench.settings.repository import REPOSITORY
from inferbench.tables.cell_file import CellFileError, read_ending
from snakemake.exceptions import WorkflowError
from snakemake.io import flag

try:
    CAMPAIGN = load_campaign(config)
except CampaignError as error:
    raise WorkflowError(str(error)) from error

#: Snakemake puts the `prefix` of a workflow that uses this one as a module before the paths of rules; code has
#: to put it before a path by itself.
on_disk = workflow.modifier.modify_path
#: The scripts, and the models' folder as they take it: a relative one is the repository's. Seen from where
#: `snakemake` runs, so that a copy of the whole folder has the same commands and measures nothing again.
SCRIPTS = shlex.quote(os.path.relpath(REPOSITORY / "scripts"))
MODELS_DIR = CAMPAIGN["models_dir"]
if not os.path.isabs(MODELS_DIR):
    MODELS_DIR = os.path.relpath(on_disk(MODELS_DIR), REPOSITORY)
MODELS_DIR_OVERRIDE = shlex.quote(f"models_dir={hydra_quoted(MODELS_DIR)}")

RESULTS = f"results/{CAMPAIGN['campaign']}"
PUBLISHED = f"results/published/{CAMPAIGN['campaign']}"
if CAMPAIGN["source"] == "published" and not Path(on_disk(f"{PUBLISHED}/measurements.parquet")).exists():
    raise WorkflowError(
        f"source: published draws from {PUBLISHED}/, which holds no published campaign: name one of"
        " results/published/ with the key campaign, or leave the key source out to measure."
    )
PLAN = Plan(CAMPAIGN, MODELS_DIR)
if CAMPAIGN["source"] == "run" and workflow.is_main_process:
    try:
        check_contexts(CAMPAIGN, PLAN.cells[GRID].values(), MODELS_DIR)
    except CampaignError as error:
        raise WorkflowError(str(error)) from error


def manifest(model):
    return f"{CAMPAIGN['models_dir']}/{manifest_name(model, MODELS_DIR)}"


def of_results(files):
    return [f"{RESULTS}/{file}" for file in files]


def job_of(wildcards):
    """The job, of the grid or of an experiment, whose file has these wildcards."""
    try:
        return PLAN.job(wildcards.folder, wildcards.cell, int(wildcards.replicate))
    except CampaignError as error:
        raise WorkflowError(str(error)) from error


def command(wildcards):
    """The job's script and what it is told, but for its output."""
    job = job_of(wildcards)
    return shlex.join([f"{job.primary}.py", *PLAN.overrides(job, planned(job))])


def priority(wildcards):
    return PLAN.priorities.get(job_of(wildcards).file, 0)


@cache
def ending(path):
    """How the job ended whose file this is; None without one, or of a broken one, which aggregation refuses."""
    try:
        return read_ending(path) if path.exists() else None
    except CellFileError:
        return None


def retried(path):
    """Whether a job that is done shall be done again: by the campaign's `retry`, or since a version before 1.0.1
    stored a fault of files or of the machine as its result.

    That is looked for with `accept_code` alone. Without it the cells of those versions are measured again for their
    code, and 10 000 files take two seconds to look into.
    """
    ended = ending(path) if CAMPAIGN["retry"] or CAMPAIGN["accept_code"] else None
    if ended is None:
        return False
    asked = bool({ended.status, *ended.flags} & set(CAMPAIGN["retry"]))
    return asked or (ended.status == "failed" and is_fault(ended.reason))


def measuring_code(wildcards):
    """The code of a job now; of a file that is there, and whose code is accepted, that one: Snakemake sees no change.

    Not of one that is measured again for another reason: Snakemake would note the old code beside the new file, and
    measure it once more.
    """
    job = job_of(wildcards)
    if CAMPAIGN["accept_code"]:
        path = Path(on_disk(f"{RESULTS}/{job.file}"))
        ended = ending(path)
        kept = ended is not None and ended.code in CAMPAIGN["accept_code"] and not retried(path)
        if kept and ended.fingerprint == planned(job):
            return ended.code
    try:
        return PLAN.code(job)
    except CampaignError as error:
        raise WorkflowError(str(error)) from error


def checkpoint_manifests(wildcards):
    """The manifests of the cell's model, and of its draft's own one where it has such a draft. ancient: a checkpoint
    made again (a new disk, a new machine) is the same checkpoint."""
    job = job_of(wildcards)
    path = on_disk(f"{RESULTS}/{job.file}")
    if workflow.is_main_process and retried(Path(path)):
        # As --forcerun with this file: input functions are called before it is decided what to run.
        workflow.dag.forcefiles.add(path)
    return [ancient(manifest(model)) for model in (job.cell.model, job.draft) if model]


EXPERIMENTS = PLAN.experiments
DRAWN = drawings(EXPERIMENTS)
#: What the report and its figure read of each other campaign.
OTHERS = [os.path.join(folder, name) for folder in CAMPAIGN["compare_with"] for name in OF_ANOTHER]
if OTHERS:
    DRAWN += beside_drawings()
for file in OTHERS if workflow.is_main_process else []:
    folder = os.path.dirname(file)
    if os.path.abspath(on_disk(folder)) == os.path.abspath(on_disk(RESULTS)):
        raise WorkflowError(f"compare_with: {folder} is this campaign's own folder; name another's.")
    if not os.path.exists(on_disk(file)):
        raise WorkflowError(
            f"compare_with: there is no {file}; name the folder of a finished or published campaign,"
            " or leave it out."
        )
FIGURE_FILES = figure_files(DRAWN)


def compared(others):
    """The option of each campaign whose files these are."""
    return [f"--compare-with={folder}" for folder in dict.fromkeys(map(os.path.dirname, others))]


#: What the report runs by an experiment's name.
REPORT_CODE = [
    f"inferbench/experiments/{experiment}/{part}.py"
    for experiment in EXPERIMENTS
    for part in ("table", "section")
]


def deleted_files(wildcards):
    """Files of the grid and of the experiments that are gone and whose table is there: nothing else would have
    them measured again, where a table that is to be made has every file of its own measured."""
    if CAMPAIGN["source"] == "published":
        return []
    made = [name for name in (GRID, *EXPERIMENTS) if Path(on_disk(tables(name, RESULTS)["table"])).exists()]
    files = [file for name in made for file in of_results(PLAN.files(name))]
    return [file for file in files if not Path(on_disk(file)).exists()]


def table_code(experiment):
    own = [] if experiment == GRID else [f"inferbench/experiments/{experiment}/table.py"]
    return code_hash("aggregate.py", *own)


def files_of(experiment):
    """An input function, as is the next: 10 000 names are made only where they are asked for."""
    return lambda wildcards: of_results(PLAN.files(experiment))


def files_so_far(experiment):
    """What is there now: `partial` depends on no cell, so a dead job does not cost the report."""

    def states(wildcards):
        files = [Path(on_disk(path)) for path in of_results(PLAN.files(experiment))]
        return digest([(str(file), file.stat().st_mtime_ns) for file in files if file.exists()])

    return states


def tables(experiment, folder):
    """The files that aggregation makes of an experiment, or of the grid."""
    own = {"table": f"{experiment}.parquet", "samples": f"{experiment}-samples.parquet"}
    grid = {"table": "measurements.parquet", "provenance": "provenance.json"}
    grid |= {name: f"{name}.parquet" for name in ("iterations", "summary")}
    return {key: f"{folder}/{name}" for key, name in (grid if experiment == GRID else own).items()}


def aggregation_log(experiment, so_far):
    return f"{RESULTS}/logs/aggregate{'_partial' if so_far else ''}/{folder_of(experiment)}.log"


def table(name):
    """A table of the run whose figures are drawn, or the published one."""
    published = CAMPAIGN["source"] == "published"
    return f"{PUBLISHED}/{name}" if published else f"{{tables}}/{name}"


wildcard_constraints:
    cell="[^/]+",
    replicate=r"\d+",
    model="[^/]+",
    gpu_model="[A-Za-z0-9_.]+",
    fingerprint="[0-9a-f]{16}",
    tables=f"{RESULTS}(/partial)?",
    folder="|".join([GRID_FOLDER, *experiment_names()]),


# A local run has no scheduler to count GPUs for it, and one processor.
if workflow.resource_settings.nodes is None:
    workflow.global_resources.setdefault("processor", 1)
    if "gpu" not in workflow.global_resources and visible_gpus():
        workflow.global_resources["gpu"] = len(visible_gpus())
