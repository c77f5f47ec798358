"""Checkpoints: made (bundled, synthetic) or fetched, once per model.

Output: models/<name>-<fingerprint>.json, written when the folder models/<name> is complete. The
fingerprint is that of the model's Hydra file, so a model described otherwise is one not yet made.
Fetching needs network, so it runs where snakemake runs.
"""


rule prepare_model:
    output:
        f"{CAMPAIGN['models_dir']}/{{model}}-{{fingerprint}}.json",
    log:
        f"{RESULTS}/logs/prepare_model/{{model}}-{{fingerprint}}.log",
    localrule: True
    conda:
        "../../envs/benchmark-cpu.yaml"
    shell:
        f"python {SCRIPTS}/prepare_model.py model={{wildcards.model}} models_dir={MODELS_DIR} &> {{log}}"
        " || (cat {log} >&2; exit 1)"
