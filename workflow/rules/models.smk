"""Checkpoints: made (bundled, synthetic) or fetched, once per model.

Output: models/<name>-<fingerprint>.json, written when the folder models/<name> is complete. The
fingerprint is that of the model's Hydra file, and of the files in a folder that the user brings, so a model
described otherwise, or replaced, is one not yet made.
Fetching needs network, so it runs where snakemake runs.

A manifest that lies there has no rule: were it to be made again (because this file changed, say), Snakemake
would not look at the cells, whose models are ancient, and a run would measure nothing of what it should.
"""

FINGERPRINT = "[0-9a-f]" * 16
MADE = "|".join(path.stem[-16:] for path in (REPOSITORY / MODELS_DIR).glob(f"*-{FINGERPRINT}.json"))


rule prepare_model:
    output:
        f"{CAMPAIGN['models_dir']}/{{model}}-{{fingerprint}}.json",
    log:
        f"{RESULTS}/logs/prepare_model/{{model}}-{{fingerprint}}.log",
    wildcard_constraints:
        fingerprint=f"(?!{MADE or 'none'}){FINGERPRINT}",
    # Before any cell: those of a model that is there would be measured first, out of their order.
    priority: len(PLAN.jobs) + 2
    localrule: True
    conda:
        "../../envs/benchmark-cpu.yaml"
    shell:
        f"python {SCRIPTS}/prepare_model.py model={{wildcards.model}} {MODELS_DIR_OVERRIDE} &> {{log}}"
        " || (cat {log} >&2; exit 1)"
