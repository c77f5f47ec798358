"""Tables: every declared cell and replicate becomes a row.

Input: all cell files (`partial`: those that exist). Outputs: measurements, iterations, summary and
provenance, in results/<campaign>/ or results/<campaign>/partial/.
"""

AGGREGATE = "python scripts/aggregate_cells.py --campaign {params.campaign:q} --cells {params.cells} --output {params.output}"
TABLES = ("measurements.parquet", "iterations.parquet", "summary.parquet", "provenance.json")


rule aggregate_cells:
    input:
        [cell_file(cell.name, replicate) for cell, replicate in ORDER],
    output:
        [f"{RESULTS}/{table}" for table in TABLES],
    log:
        f"{RESULTS}/logs/aggregate_cells.log",
    localrule: True
    conda:
        "../../envs/figures.yaml"
    params:
        campaign=DECLARATION,
        cells=f"{RESULTS}/cells",
        output=RESULTS,
        code=code_hash("aggregate_cells.py"),
    shell:
        f"{AGGREGATE} &> {{log}} || (cat {{log}} >&2; exit 1)"


def measured_so_far(wildcards):
    """What is there now: `partial` depends on no cell, so a dead job does not cost the report."""
    files = [Path(cell_file(cell.name, replicate)) for cell, replicate in ORDER]
    return digest([(str(file), file.stat().st_mtime_ns) for file in files if file.exists()])


rule aggregate_partial:
    output:
        [f"{RESULTS}/partial/{table}" for table in TABLES],
    log:
        f"{RESULTS}/logs/aggregate_partial.log",
    localrule: True
    conda:
        "../../envs/figures.yaml"
    params:
        campaign=DECLARATION,
        cells=f"{RESULTS}/cells",
        output=f"{RESULTS}/partial",
        code=code_hash("aggregate_cells.py"),
        existing=measured_so_far,
    shell:
        f"{AGGREGATE} --partial &> {{log}} || (cat {{log}} >&2; exit 1)"


rule partial:
    input:
        f"{RESULTS}/partial/report.html",
