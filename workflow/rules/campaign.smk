"""The campaign: its declaration, its cells, and what each job depends on.

Inputs: the config. Outputs: no files; the names that the other rule files use.
"""

import json
import shlex

from inferbench import cells as grid
from inferbench.campaign import CampaignError, load_campaign, model_file
from inferbench.cell_file import CellFileError, read_status
from inferbench.fingerprint import cell_fingerprint, code_hash, digest, manifest_name
from inferbench.lease import visible_gpus
from snakemake.exceptions import WorkflowError

try:
    CAMPAIGN = load_campaign(config)
except CampaignError as error:
    raise WorkflowError(str(error)) from error

RESULTS = f"results/{CAMPAIGN['campaign']}"
PUBLISHED = f"results/published/{CAMPAIGN['campaign']}"
CELLS = {cell.name: cell for cell in grid.expand(CAMPAIGN)}
ORDER = list(grid.measuring_order(list(CELLS.values()), CAMPAIGN["replicates"], CAMPAIGN["seed"]))
#: Higher is sooner.
PRIORITY = {(cell.name, replicate): len(ORDER) - index for index, (cell, replicate) in enumerate(ORDER)}


def cell_file(name, replicate):
    return f"{RESULTS}/cells/{name}/replicate-{replicate}.parquet"


EVERY_CELL = [cell_file(cell.name, replicate) for cell, replicate in ORDER]


def sorted_json(value):
    """Snakemake stores params as their repr and compares them: text does not change by itself."""
    return json.dumps(value, sort_keys=True)


# Campaign keys that say what is measured or how it is summarised; `retry` and the like do not.
DECLARATION = sorted_json(
    {key: value for key, value in CAMPAIGN.items() if key not in ("retry", "models_dir")}
)


#: The measuring code that cells are asked for.
CODE = CAMPAIGN["accept_code"] or code_hash()


def manifest(name):
    return f"{CAMPAIGN['models_dir']}/{manifest_name(name)}"


def overrides(wildcards):
    cell = CELLS[wildcards.cell]
    fingerprint = cell_fingerprint(grid.meaning_overrides(CAMPAIGN, cell))
    return shlex.join(grid.job_overrides(CAMPAIGN, cell, int(wildcards.replicate), fingerprint))


def gpus(wildcards):
    """GPUs of the cell's model; a campaign on the processor asks for none."""
    return model_file(CELLS[wildcards.cell].model).get("gpus", 1) if CAMPAIGN["device"] == "cuda" else 0


def retried(name, replicate):
    """Whether a cell that is done shall be measured again, by the campaign's `retry`."""
    path = Path(cell_file(name, replicate))
    if not path.exists():
        return False
    try:
        status, flags = read_status(path)
    except CellFileError:
        return False  # aggregation refuses it, and says so
    return bool({status, *flags} & set(CAMPAIGN["retry"]))


def checkpoint_manifest(wildcards):
    """The manifest of the cell's model. ancient: a checkpoint made again (a new disk, a new machine) is
    the same checkpoint."""
    replicate = int(wildcards.replicate)
    if CAMPAIGN["retry"] and workflow.is_main_process and retried(wildcards.cell, replicate):
        # As --forcerun with this file: input functions are called before it is decided what to run.
        workflow.dag.forcefiles.add(cell_file(wildcards.cell, replicate))
    return ancient(manifest(CELLS[wildcards.cell].model))


def tables(folder):
    names = ("measurements.parquet", "iterations.parquet", "summary.parquet", "provenance.json")
    return {name.split(".")[0]: f"{folder}/{name}" for name in names}


def measured_so_far(wildcards):
    """What is there now: `partial` depends on no cell, so a dead job does not cost the report."""
    files = [Path(cell_file(cell.name, replicate)) for cell, replicate in ORDER]
    return digest([(str(file), file.stat().st_mtime_ns) for file in files if file.exists()])


def table(name):
    """A table of the run whose figures are drawn, or the published one."""
    published = CAMPAIGN["source"] == "published"
    return f"{PUBLISHED}/{name}" if published else f"{{tables}}/{name}"


wildcard_constraints:
    cell="[^/]+",
    replicate=r"\d+",
    model="[^/]+",
    fingerprint="[0-9a-f]{16}",
    tables=f"{RESULTS}(/partial)?",


localrules:
    all,
    partial,


# A local run has no scheduler to count GPUs for it, and one processor.
if workflow.resource_settings.nodes is None:
    workflow.global_resources.setdefault("processor", 1)
    if "gpu" not in workflow.global_resources and visible_gpus():
        workflow.global_resources["gpu"] = len(visible_gpus())
