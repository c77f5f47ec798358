"""Tables: every declared cell and replicate becomes a row.

Input: all files of the grid, or of one experiment (`partial`: those that exist). Outputs: of the grid measurements,
iterations, summary and provenance, of an experiment its table and its samples, in results/<campaign>/ or
results/<campaign>/partial/.
"""

from itertools import product

for experiment, so_far in product((GRID, *EXPERIMENTS), (False, True)):

    rule:
        name:
            f"aggregate_{folder_of(experiment)}{'_partial' if so_far else ''}"
        input:
            [] if so_far else files_of(experiment),
        output:
            **tables(experiment, f"{RESULTS}/partial" if so_far else RESULTS),
        log:
            aggregation_log(experiment, so_far),
        localrule: True
        conda:
            "../../envs/figures.yaml"
        params:
            # What the shell is told of this rule must stand here: its text is put together when the loop is over.
            experiment=experiment,
            folder=folder_of(experiment),
            campaign=PLAN.declaration(experiment),
            partial="--partial" if so_far else "",
            existing=files_so_far(experiment) if so_far else None,
            code=table_code(experiment),
        shell:
            f"python {SCRIPTS}/aggregate.py {{params.experiment}} --campaign {{params.campaign:q}}"
            f" --files {on_disk(RESULTS)}/{{params.folder}} --models-dir {shlex.quote(MODELS_DIR)}"
            " --output $(dirname {output.table}) {params.partial} &> {log} || (cat {log} >&2; exit 1)"


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


rule partial:
    input:
        f"{RESULTS}/partial/report.html",
