"""The campaign: its declaration, its cells, and what each job depends on.

Inputs: the config. Outputs: no files; the names that the other rule files use.
"""

import json
import os
import shlex

from inferbench import cells as grid
from inferbench.campaign import CampaignError, check_contexts, draft_model, load_campaign, model_file
from inferbench.cell_file import CellFileError, read_status
from inferbench.experiment_cells import OWN, expand_experiment, experiment_jobs, experiment_meaning
from inferbench.faults import is_fault
from inferbench.fingerprint import (
    REPOSITORY,
    cell_fingerprint,
    code_hash,
    digest,
    experiment_code,
    manifest_name,
)
from inferbench.figure_list import BESIDE, EXPERIMENT_FIGURES, OF_ANOTHER, drawn_from, figure_files
from inferbench.lease import visible_gpus
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
MODELS_DIR_OVERRIDE = shlex.quote(f"models_dir={grid.hydra_quoted(MODELS_DIR)}")
#: The campaign as jobs are told of it.
PLACED = {**CAMPAIGN, "models_dir": MODELS_DIR}

RESULTS = f"results/{CAMPAIGN['campaign']}"
PUBLISHED = f"results/published/{CAMPAIGN['campaign']}"
if CAMPAIGN["source"] == "published" and not Path(on_disk(f"{PUBLISHED}/measurements.parquet")).exists():
    raise WorkflowError(
        f"source: published draws from {PUBLISHED}/, which holds no published campaign: name one of"
        " results/published/ with the key campaign, or leave the key source out to measure."
    )
REPLICATES = grid.expand(CAMPAIGN)
CELLS = {cell.name: cell for cell in REPLICATES}
if CAMPAIGN["source"] == "run" and workflow.is_main_process:
    try:
        check_contexts(CAMPAIGN, REPLICATES, MODELS_DIR)
    except CampaignError as error:
        raise WorkflowError(str(error)) from error
ORDER = list(grid.measuring_order(REPLICATES, CAMPAIGN["seed"]))
#: Higher is sooner.
PRIORITY = {(cell.name, replicate): len(ORDER) - index for index, (cell, replicate) in enumerate(ORDER)}


def cell_file(name, replicate):
    return f"{RESULTS}/cells/{name}/replicate-{replicate}.parquet"


EVERY_CELL = [cell_file(cell.name, replicate) for cell, replicate in ORDER]


def sorted_json(value):
    """Snakemake stores params as their repr and compares them: text does not change by itself."""
    return json.dumps(value, sort_keys=True)


#: Campaign keys that say neither what is measured nor how it is summarised.
LOGISTICS = ("retry", "models_dir", "limits", "compare_with", "mem_mb", "cells_per_job")
DECLARED = {key: value for key, value in CAMPAIGN.items() if key not in LOGISTICS}
DECLARATION = sorted_json({key: value for key, value in DECLARED.items() if key != "experiments"})


#: The measuring code that cells are asked for.
CODE = CAMPAIGN["accept_code"] or code_hash()


def manifest(name):
    return f"{CAMPAIGN['models_dir']}/{manifest_name(name, MODELS_DIR)}"


def overrides(wildcards):
    return job_overrides(wildcards, *meaning_of(cell_of(wildcards)))


def meaning_of(cell):
    """(overrides that say what is measured, their fingerprint) of a cell of the grid."""
    meaning = grid.meaning_overrides(CAMPAIGN, cell)
    return meaning, cell_fingerprint(meaning, models_dir=MODELS_DIR)


def job_overrides(wildcards, meaning, fingerprint):
    asked = planned(job_file(wildcards), fingerprint)
    return shlex.join(grid.job_overrides(PLACED, meaning, wildcards.cell, int(wildcards.replicate), asked))


def gpus_of(cell):
    """GPUs of the cell's model."""
    return model_file(cell.model).get("gpus", 1)


def gpus(wildcards):
    return gpus_of(cell_of(wildcards))


def retried(path):
    """Whether a job that is done shall be done again: by the campaign's `retry`, or since a version before 1.0.1
    stored a fault of files or of the machine as its result.

    That is looked for with `accept_code` alone. Without it the cells of those versions are measured again for their
    code, and 10 000 files take two seconds to look into.
    """
    if not (CAMPAIGN["retry"] or CAMPAIGN["accept_code"]) or not path.exists():
        return False
    try:
        status, flags, reason = read_status(path)
    except CellFileError:
        return False  # aggregation refuses it, and says so
    return bool({status, *flags} & set(CAMPAIGN["retry"])) or (status == "failed" and is_fault(reason))


def checkpoint_manifest(wildcards):
    """The manifest of the cell's model. ancient: a checkpoint made again (a new disk, a new machine) is
    the same checkpoint."""
    path = on_disk(job_file(wildcards))
    if workflow.is_main_process and retried(Path(path)):
        # As --forcerun with this file: input functions are called before it is decided what to run.
        workflow.dag.forcefiles.add(path)
    return ancient(manifest(cell_of(wildcards).model))


def draft_manifests(wildcards):
    """The manifest of the draft's own model, where an experiment's cell has such a draft."""
    draft = dict(cell_of(wildcards).axes).get("draft")
    model = draft_model(draft) if draft else None
    return [ancient(manifest(model))] if model else []


EXPERIMENTS = list(CAMPAIGN["experiments"])
DRAWN = drawn_from(EXPERIMENTS)
#: What the report and its figure read of each other campaign.
OTHERS = [os.path.join(folder, name) for folder in CAMPAIGN["compare_with"] for name in OF_ANOTHER]
if OTHERS:
    DRAWN.append((BESIDE, {"measurements": "measurements.parquet"}))
for file in OTHERS if workflow.is_main_process else []:
    folder = os.path.dirname(file)
    if os.path.abspath(on_disk(folder)) == os.path.abspath(on_disk(RESULTS)):
        raise WorkflowError(f"compare_with: {folder} is this campaign's own folder; name another's.")
    if not os.path.exists(on_disk(file)):
        raise WorkflowError(
            f"compare_with: there is no {file}; name the folder of a finished or published campaign,"
            " or leave it out."
        )
FIGURE_FILES = figure_files(figure for figure, _ in DRAWN)


def compared(others):
    """The option of each campaign whose files these are."""
    return [f"--compare-with={folder}" for folder in dict.fromkeys(map(os.path.dirname, others))]


#: What the report runs by an experiment's name.
REPORT_CODE = [
    f"inferbench/experiments/{experiment}_{part}.py"
    for experiment in EXPERIMENTS
    for part in ("table", "report")
]
#: experiment -> cell name -> cell
EXPERIMENT_CELLS = {
    experiment: {cell.name: cell for cell in expand_experiment(CAMPAIGN, experiment)}
    for experiment in EXPERIMENTS
}


def experiment_file(experiment, name, replicate):
    return f"{RESULTS}/{experiment}/{name}/replicate-{replicate}.parquet"


def experiment_files(experiment):
    """Every file of an experiment."""
    return [
        experiment_file(experiment, cell.name, replicate)
        for cell, replicate in experiment_jobs(CAMPAIGN, experiment)
    ]


def deleted_files(wildcards):
    """Files of the grid and of the experiments that are gone and whose table is there: nothing else would have
    them measured again, where a table that is to be made has every file of its own measured."""
    if CAMPAIGN["source"] == "published":
        return []
    made_of = {"measurements": EVERY_CELL} | {name: experiment_files(name) for name in EXPERIMENTS}
    made = [files for table, files in made_of.items() if Path(on_disk(f"{RESULTS}/{table}.parquet")).exists()]
    return [file for files in made for file in files if not Path(on_disk(file)).exists()]


def cell_of(wildcards):
    """The cell of a job, of the grid or of an experiment."""
    experiment = wildcards.get("experiment")
    declared = EXPERIMENT_CELLS.get(experiment, {}) if experiment else CELLS
    if wildcards.cell not in declared:  # a job that waited, while the campaign was edited
        raise WorkflowError(f"campaign {CAMPAIGN['campaign']} does not declare cell {wildcards.cell}")
    return declared[wildcards.cell]


def job_file(wildcards):
    if experiment := wildcards.get("experiment"):
        return experiment_file(experiment, wildcards.cell, wildcards.replicate)
    return cell_file(wildcards.cell, wildcards.replicate)


def experiment_overrides(wildcards):
    return job_overrides(wildcards, *experiment_meaning_of(cell_of(wildcards)))


def experiment_meaning_of(cell):
    """As `meaning_of`, of a cell of an experiment."""
    meaning = experiment_meaning(CAMPAIGN, cell)
    return meaning, cell_fingerprint(meaning, "run_experiment", MODELS_DIR)


def measuring_code(wildcards):
    return CAMPAIGN["accept_code"] or code_hash(*experiment_code(wildcards.experiment))


def table_code(wildcards):
    return code_hash("aggregate_experiment.py", f"inferbench/experiments/{wildcards.experiment}_table.py")


def experiment_declaration(wildcards):
    """What the table of one experiment depends on: another experiment's settings do not."""
    return sorted_json(
        DECLARED | {"experiments": {wildcards.experiment: CAMPAIGN["experiments"][wildcards.experiment]}}
    )


def files_so_far(wildcards):
    """As `measured_so_far`, of one experiment."""
    return digest_of_files(experiment_files(wildcards.experiment))


def digest_of_files(paths):
    files = [Path(on_disk(path)) for path in paths]
    return digest([(str(file), file.stat().st_mtime_ns) for file in files if file.exists()])


def tables(folder):
    names = ("measurements.parquet", "iterations.parquet", "summary.parquet", "provenance.json")
    return {name.split(".")[0]: f"{folder}/{name}" for name in names}


def measured_so_far(wildcards):
    """What is there now: `partial` depends on no cell, so a dead job does not cost the report."""
    return digest_of_files(EVERY_CELL)


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
    experiment="|".join(OWN),


# A local run has no scheduler to count GPUs for it, and one processor.
if workflow.resource_settings.nodes is None:
    workflow.global_resources.setdefault("processor", 1)
    if "gpu" not in workflow.global_resources and visible_gpus():
        workflow.global_resources["gpu"] = len(visible_gpus())
