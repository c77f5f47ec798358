"""The campaign: its declaration, its cells, and what each job depends on.

Inputs: the config. Outputs: no files; the names that the other rule files use.
"""

import json
import shlex

from inferbench import cells as grid
from inferbench.campaign import CampaignError, load_campaign, model_file
from inferbench.cell_file import CellFileError, read_status
from inferbench.fingerprint import cell_fingerprint, code_hash, digest
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


def sorted_json(value):
    """Snakemake stores params as their repr and compares them: text does not change by itself."""
    return json.dumps(value, sort_keys=True)


# Campaign keys that say what is measured or how it is summarised; `retry` and the like do not.
DECLARATION = sorted_json(
    {key: value for key, value in CAMPAIGN.items() if key not in ("retry", "models_dir")}
)


wildcard_constraints:
    cell="[^/]+",
    replicate=r"\d+",
    model="[^/]+",
    tables=f"{RESULTS}(/partial)?",


localrules:
    all,
    partial,


# A local run has no scheduler to count GPUs for it.
if workflow.resource_settings.nodes is None and "gpu" not in workflow.global_resources and visible_gpus():
    workflow.global_resources["gpu"] = len(visible_gpus())
