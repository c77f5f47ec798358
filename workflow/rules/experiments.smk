"""The decoding experiments: quality, sampling, batching, kv_cache, streaming, speculative.

Inputs: the model's checkpoint, and that of a draft with a model of its own. Outputs: a Parquet file per
cell and replicate with the raw samples, and per experiment a table and all its samples. Each declared
experiment is a target of its own name.
"""

AGGREGATE_EXPERIMENT = (
    f"python {SCRIPTS}/aggregate_experiment.py {{wildcards.experiment}} --campaign {{params.campaign:q}}"
    f" --files {on_disk(RESULTS)}/{{wildcards.experiment}} --models-dir {shlex.quote(MODELS_DIR)}"
    " --output $(dirname {output.table})"
)


rule measure_experiment:
    input:
        model=checkpoint_manifest,
        draft=draft_manifests,
        checked=node_check if CAMPAIGN["device"] == "cuda" else [],
    output:
        f"{RESULTS}/{{experiment}}/{{cell}}/replicate-{{replicate}}.parquet",
    log:
        f"{RESULTS}/logs/{{experiment}}/{{cell}}/replicate-{{replicate}}.log",
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
        overrides=overrides,
        code=measuring_code,
    shell:
        f"said=$(python {SCRIPTS}/run_experiment.py "
        "{params.overrides} output={output} 2>&1 | tee {log})"
        ' || (echo "$said" >&2; exit 1)'


rule aggregate_experiment:
    input:
        lambda wildcards: of_results(PLAN.files(wildcards.experiment)),
    output:
        table=f"{RESULTS}/{{experiment}}.parquet",
        samples=f"{RESULTS}/{{experiment}}-samples.parquet",
    log:
        f"{RESULTS}/logs/aggregate_experiment/{{experiment}}.log",
    localrule: True
    conda:
        "../../envs/figures.yaml"
    params:
        campaign=lambda wildcards: PLAN.declaration(wildcards.experiment),
        code=table_code,
    shell:
        f"{AGGREGATE_EXPERIMENT} &> {{log}} || (cat {{log}} >&2; exit 1)"


rule aggregate_experiment_partial:
    output:
        table=f"{RESULTS}/partial/{{experiment}}.parquet",
        samples=f"{RESULTS}/partial/{{experiment}}-samples.parquet",
    log:
        f"{RESULTS}/logs/aggregate_experiment_partial/{{experiment}}.log",
    localrule: True
    conda:
        "../../envs/figures.yaml"
    params:
        campaign=lambda wildcards: PLAN.declaration(wildcards.experiment),
        code=table_code,
        existing=files_so_far,
    shell:
        f"{AGGREGATE_EXPERIMENT} --partial &> {{log}} || (cat {{log}} >&2; exit 1)"


rule declare_experiments:
    output:
        "{tables}/experiments.json",
    log:
        "{tables}/logs/declare_experiments.log",
    localrule: True
    conda:
        "../../envs/figures.yaml"
    params:
        declared=sorted_json(CAMPAIGN["experiments"]),
    shell:
        "echo {params.declared:q} > {output} 2> {log}"


for experiment in EXPERIMENTS:

    rule:
        name:
            experiment
        input:
            of_results(PLAN.files(experiment)),
            f"{RESULTS}/{experiment}.parquet",
            [f"{RESULTS}/{file}" for file in figure_files(experiment_drawings(experiment))],
