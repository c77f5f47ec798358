"""What a job asks a scheduler for, and what was planned when it was handed over.

Inputs: the campaign. Outputs: the plan of a run in Snakemake's own folder, and the names that the rules of
measuring use. Site settings (account, partition, QOS) are the profile's.
"""

import json
import os

#: Whether jobs go to a scheduler: then `--jobs` stands in for cores.
ON_CLUSTER = workflow.resource_settings.nodes is not None
#: Minutes of a cell's job beside its own time limit: Python, Snakemake and a cold file system.
START_MINUTES = 10


def gpu_model(wildcards):
    return PLAN.gpu_model(job_of(wildcards))


def gpus(wildcards):
    return job_of(wildcards).gpus


#: What is the same for every job is no function: Snakemake spends about as long on each as on fingerprints.
#: A campaign on the processor asks for no GPU.
GPUS = gpus if CAMPAIGN["device"] == "cuda" else 0
GPU_MODEL = gpu_model if CAMPAIGN["gpu_model"] else ""


def memory(wildcards, attempt):
    return CAMPAIGN["mem_mb"] * attempt


def minutes(wildcards, attempt):
    """The parent ends a cell at `timeout_s`, with a row that says so: the scheduler's limit comes later."""
    return (int(CAMPAIGN["timeout_s"] // 60) + START_MINUTES) * attempt


# A job may wait for hours, and reads the campaign again when it starts. What it was sent to measure stands
# in the plan: a cell that has become another one since is refused, not measured under the old one's name.
PLAN_VARIABLE = "INFERBENCH_PLAN"
SENT = None
if not workflow.is_main_process and PLAN_VARIABLE in os.environ:
    SENT = json.loads(Path(os.environ[PLAN_VARIABLE]).read_text())
elif ON_CLUSTER and workflow.is_main_process and not workflow.dryrun:
    plan = dict(PLAN.fingerprints())
    file = Path(f".snakemake/plans/{digest(plan)}.json").absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(plan))
    os.environ[PLAN_VARIABLE] = str(file)


def keep_min_job_age(plugin):
    """Have Snakemake's Slurm plugin remember the site's MinJobAge.

    It asks for it at every look at the queue, and takes the silence of a controller that restarts for a reason
    to ask sacct, which without an accounting database knows no job: it then waits for its jobs for ever.
    """
    ask, known = plugin.get_min_job_age, {}

    def get_min_job_age():
        known["seconds"] = ask() or known.get("seconds")
        return known["seconds"]

    plugin.get_min_job_age = get_min_job_age


if ON_CLUSTER and workflow.is_main_process and "snakemake_executor_plugin_slurm" in sys.modules:
    keep_min_job_age(sys.modules["snakemake_executor_plugin_slurm"])


def planned(job):
    """The fingerprint that a job was sent for; in the process that plans, the present one."""
    return PLAN.meaning(job)[1] if SENT is None else SENT.get(job.file, "not planned")


# Cells of one model, precision, attention and replicate, of the grid and of experiments alike, in one job, one after
# the other on one's GPUs:
# Snakemake would otherwise sum what they ask for, and Slurm spread the sum over nodes.
if CAMPAIGN["cells_per_job"] > 1:

    resource_scopes:
        gpu="local",
        processor="local",

    workflow.global_resources["gpu"] = PLAN.most_gpus
    workflow.global_resources["processor"] = 1


def job_group(wildcards):
    axes = job_of(wildcards).axes
    name = "--".join([axes["model"], axes["precision"], axes["attention"], wildcards.replicate])
    components = {**workflow.group_settings.group_components, name: CAMPAIGN["cells_per_job"]}
    workflow.group_settings.group_components = components
    return name


def node_check(wildcards):
    """What must have been found well before a cell on a GPU is sent.

    A cell that is there already names it and does not need it: its model's manifest stands in. Otherwise, since
    Snakemake has an ancient input that is to be made trigger all that hang on it, one new cell would have every
    finished one measured again.
    """
    checked = ancient(f"{RESULTS}/checked/{gpu_model(wildcards) or 'any'}.json")
    file = Path(on_disk(f"{RESULTS}/{job_of(wildcards).file}"))
    if workflow.is_main_process and (not file.exists() or retried(file)):
        return checked
    # What Snakemake compares with the inputs of the last time is the path in this flag.
    return flag(
        ancient(on_disk(manifest(job_of(wildcards).cell.model))), "sourcecache_entry", on_disk(checked)
    )
