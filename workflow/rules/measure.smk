"""The GPU jobs: one per cell and replicate.

Input: the model's checkpoint. Output: one Parquet file. Steps: scripts/benchmark.py measures in a
fresh process; a cell that fails for a reason of its own is a result, and its job succeeds.

`params` are functions of the wildcards alone, so exactly the cells whose meaning or code changed run
again. No file of the repository is an input: in a fresh clone it would be newer than its results.
"""

CODE = CAMPAIGN["accept_code"] or code_hash()


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


if CAMPAIGN["retry"] and workflow.is_main_process:
    again = {cell_file(cell.name, replicate) for cell, replicate in ORDER if retried(cell.name, replicate)}
    workflow.dag_settings.forcerun = frozenset({*workflow.dag_settings.forcerun, *again})


rule measure_cell:
    input:
        # ancient: a checkpoint made again (a new disk, a new machine) is the same checkpoint.
        model=lambda wildcards: ancient(f"{CAMPAIGN['models_dir']}/{CELLS[wildcards.cell].model}.json"),
    output:
        f"{RESULTS}/cells/{{cell}}/replicate-{{replicate}}.parquet",
    log:
        f"{RESULTS}/logs/measure_cell/{{cell}}/replicate-{{replicate}}.log",
    priority: lambda wildcards: PRIORITY[wildcards.cell, int(wildcards.replicate)]
    conda:
        f"../../envs/benchmark-{'gpu' if CAMPAIGN['device'] == 'cuda' else 'cpu'}.yaml"
    threads: CAMPAIGN["cpu_threads"]
    resources:
        gpu=gpus,
        processor=0 if CAMPAIGN["device"] == "cuda" else 1,
    params:
        overrides=overrides,
        code=CODE,
    shell:
        "python scripts/benchmark.py {params.overrides} output={output} &> {log}"


rule cells:
    input:
        [cell_file(cell.name, replicate) for cell, replicate in ORDER],
