"""Entry point: `snakemake` in this folder runs the campaign of config/config.yaml."""

import os

# Without --cores or --jobs a run is local and takes the whole machine: `snakemake` alone works.
if workflow.resource_settings.cores is None and workflow.resource_settings.nodes is None:
    workflow.resource_settings.cores = os.cpu_count()
    workflow.global_resources["_cores"] = os.cpu_count()


include: "workflow/Snakefile"


workflow.default_target = "all"
