"""A job of seconds before the first cell of each GPU type: driver, CUDA, the type, checkpoints, free disk.

Inputs: the checkpoints. Output: what was found, for as long as cells of this run are to be measured. A node
that will not do fails here with one sentence, and no cell is sent.
"""


rule check_node:
    input:
        [ancient(manifest(model)) for model in PLAN.models],
    output:
        temp(f"{RESULTS}/checked/{{gpu_model}}.json"),
    log:
        f"{RESULTS}/logs/check_node/{{gpu_model}}.log",
    # Before any cell.
    priority: len(PLAN.jobs) + 1
    conda:
        "../../envs/benchmark-gpu.yaml"
    resources:
        gpu=1,
        gpu_model=lambda wildcards: "" if wildcards.gpu_model == "any" else wildcards.gpu_model,
        mem_mb=4000,
        runtime=10,
    params:
        models=PLAN.models,
        gpu_model=lambda wildcards: (
            "" if wildcards.gpu_model == "any" else f"--gpu-model {wildcards.gpu_model}"
        ),
    shell:
        f"said=$(python {SCRIPTS}/check_node.py --models {{params.models}} --models-dir {shlex.quote(MODELS_DIR)}"
        " {params.gpu_model} --results $(dirname {log}) --output {output} 2>&1 | tee {log})"
        ' || (echo "$said" >&2; exit 1)'
