"""Checkpoints: made (bundled, synthetic) or fetched, once per model.

Input: the model's Hydra file, by its content. Output: models/<name>.json, written when the folder
beside it is complete. Fetching needs network, so it runs where snakemake runs.
"""


rule prepare_model:
    output:
        f"{CAMPAIGN['models_dir']}/{{model}}.json",
    log:
        f"{RESULTS}/logs/prepare_model/{{model}}.log",
    localrule: True
    conda:
        "../../envs/benchmark-cpu.yaml"
    params:
        meaning=lambda wildcards: sorted_json(model_file(wildcards.model)),
        models_dir=CAMPAIGN["models_dir"],
    shell:
        "python scripts/prepare_model.py model={wildcards.model} models_dir={params.models_dir} &> {log}"
        " || (cat {log} >&2; exit 1)"
