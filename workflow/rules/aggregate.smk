"""Tables: every declared cell and replicate becomes a row.

Input: all cell files (`partial`: those that exist). Outputs: measurements, iterations, summary and
provenance, in results/<campaign>/ or results/<campaign>/partial/.
"""

AGGREGATE = (
    f"python {SCRIPTS}/aggregate_cells.py --campaign {{params.campaign:q}}"
    f" --cells {on_disk(RESULTS)}/cells --models-dir {shlex.quote(MODELS_DIR)}"
    " --output $(dirname {output.measurements})"
)


rule aggregate_cells:
    input:
        lambda wildcards: of_results(PLAN.files(GRID)),
    output:
        **tables(RESULTS),
    log:
        f"{RESULTS}/logs/aggregate_cells.log",
    localrule: True
    conda:
        "../../envs/figures.yaml"
    params:
        campaign=PLAN.declaration(GRID),
        code=code_hash("aggregate_cells.py"),
    shell:
        f"{AGGREGATE} &> {{log}} || (cat {{log}} >&2; exit 1)"


rule aggregate_partial:
    output:
        **tables(f"{RESULTS}/partial"),
    log:
        f"{RESULTS}/logs/aggregate_partial.log",
    localrule: True
    conda:
        "../../envs/figures.yaml"
    params:
        campaign=PLAN.declaration(GRID),
        code=code_hash("aggregate_cells.py"),
        existing=files_so_far,
    shell:
        f"{AGGREGATE} --partial &> {{log}} || (cat {{log}} >&2; exit 1)"


rule partial:
    input:
        f"{RESULTS}/partial/report.html",
