"""The GPU jobs: one per cell and replicate, of the grid and of the decoding experiments alike.

Inputs: the model's checkpoint, and that of a draft with a model of its own. Output: one Parquet file, in `cells/` or
in the experiment's folder. Steps: the job's script measures in a fresh process; a cell that fails for a reason of its
own is a result, and its job succeeds.

`params` are functions of the wildcards alone, so exactly the cells whose meaning or code changed run
again. No file of the repository is an input: in a fresh clone it would be newer than its results.
"""


rule measure_cell:
    input:
        models=checkpoint_manifests,
        checked=node_check if CAMPAIGN["device"] == "cuda" else [],
    output:
        f"{RESULTS}/{{folder}}/{{cell}}/replicate-{{replicate}}.parquet",
    log:
        f"{RESULTS}/logs/measure_cell/{{folder}}/{{cell}}/replicate-{{replicate}}.log",
    priority: priority
    group:
        job_group if CAMPAIGN["cells_per_job"] > 1 else None
    conda:
        f"../../envs/benchmark-{'gpu' if CAMPAIGN['device'] == 'cuda' else 'cpu'}.yaml"
    threads: CAMPAIGN["cpu_threads"]
    resources:
        gpu=GPUS,
        gpu_model=GPU_MODEL,
        mem_mb=memory,
        runtime=minutes,
        processor=0 if CAMPAIGN["device"] == "cuda" else 1,
    params:
        command=command,
        code=measuring_code,
    shell:
        # What a failed job said reaches the person even where the disk is too full for its log.
        f"said=$(python {SCRIPTS}/{{params.command}} output={{output}} 2>&1 | tee {{log}})"
        ' || (echo "$said" >&2; exit 1)'


rule cells:
    input:
        files_of(GRID),


for experiment in EXPERIMENTS:

    rule:
        name:
            experiment
        input:
            files_of(experiment),
            tables(experiment, RESULTS)["table"],
            [f"{RESULTS}/{file}" for file in figure_files(experiment_drawings(experiment))],
