"""Made-up tables of experiments: rows as their jobs give them, with the columns of every job."""

import pandas as pd

import draw_figure
from inferbench.analysis.experiment_tables import table_schema
from inferbench.run.parts import part
from inferbench.tables.schema import validate

JOB = {
    "campaign": "demo",
    "model": "smollm2-135m",
    "model_source": "bundled",
    "attention": "sdpa",
    "replicate": 1,
    "status": "ok",
    "weight_bytes": 269_030_400,
    "mixed_code": False,
}


def experiment_table(experiment, rows):
    """The validated table; `rows` have a cell's axes and the experiment's columns, and may replace those of JOB."""
    table = pd.DataFrame([{**JOB, "experiment": experiment, **row} for row in rows])
    return validate(table, table_schema(part(experiment, "table")))


def draw_experiment(name, tmp_path, table, samples, summary):
    """(data that were drawn, the SVG with its texts in comments) of an experiment."""
    paths = {"table": table, "samples": samples, "summary": summary}
    arguments = []
    for option, content in paths.items():
        content.to_parquet(tmp_path / f"{option}.parquet")
        arguments += [f"--{option}", str(tmp_path / f"{option}.parquet")]
    draw_figure.main([name, *arguments, "--output", str(tmp_path / "figure")])
    return pd.read_csv(tmp_path / "figure.csv"), (tmp_path / "figure.svg").read_text()
