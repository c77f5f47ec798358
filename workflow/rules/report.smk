"""Figures and the report, from the tables alone.

Inputs: measurements, summary, provenance: of this run, or published ones. Outputs: figures/*.{svg,png}
with the plotted data as CSV, and report.html.
"""

PAGE = ("page.html.j2", "explorer.html.j2", "explorer.css", "explorer.js")

for drawing in DRAWN:
    figure = drawing.figure

    rule:
        name:
            f"draw_{figure.name}"
        input:
            **{option: table(name) for option, name in drawing.tables.items()},
            others=OTHERS if drawing.beside else [],
        output:
            report(
                f"{{tables}}/figures/{figure.name}.svg",
                caption="../report/figure.rst",
                category=figure.category,
                labels={"figure": figure.title},
            ),
            f"{{tables}}/figures/{figure.name}.png",
            f"{{tables}}/figures/{figure.name}.csv",
        log:
            f"{{tables}}/logs/draw_{figure.name}.log",
        localrule: True
        conda:
            "../../envs/figures.yaml"
        params:
            figure=figure.name,
            caption=figure.caption,
            target=lambda wildcards, output: Path(output[0]).with_suffix(""),
            options=lambda wildcards, input: [
                *(f"--{option}={path}" for option, path in input.items() if option != "others"),
                *compared(input.others),
            ],
            code=code_hash(*drawing.code),
        shell:
            f"python {SCRIPTS}/draw_figure.py {{params.figure}} {{params.options:q}} --output {{params.target}}"
            " &> {log} || (cat {log} >&2; exit 1)"


rule write_report:
    input:
        measurements=table("measurements.parquet"),
        summary=table("summary.parquet"),
        provenance=table("provenance.json"),
        experiments=table("experiments.json"),
        tables=[
            table(f"{experiment}{part}.parquet") for experiment in EXPERIMENTS for part in ("", "-samples")
        ],
        others=OTHERS,
        figures=[f"{{tables}}/{file}" for file in FIGURE_FILES],
    output:
        "{tables}/report.html",
    log:
        "{tables}/logs/write_report.log",
    localrule: True
    conda:
        "../../envs/figures.yaml"
    params:
        code=code_hash("write_report.py", *REPORT_CODE),
        page=digest([(REPOSITORY / "workflow/report" / part).read_text() for part in PAGE]),
        limits=sorted_json(CAMPAIGN["limits"]),
        others=lambda wildcards, input: compared(input.others),
    shell:
        f"python {SCRIPTS}/write_report.py"
        " --measurements {input.measurements} --summary {input.summary}"
        " --experiments {input.experiments} --provenance {input.provenance} --figures $(dirname {input.figures[0]})"
        " --limits {params.limits:q} {params.others:q} --output {output} &> {log} || (cat {log} >&2; exit 1)"
