"""Made-up tables of experiments: rows as their jobs give them, with the columns of every job."""

import pandas as pd

from inferbench.experiment_tables import table_schema
from inferbench.schema import validate

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
    return validate(table, table_schema(experiment))


def draw_experiment(plot, tmp_path, table, samples, summary):
    """(data that were drawn, the SVG with its texts in comments) of a plotting script."""
    paths = {"table": table, "samples": samples, "summary": summary}
    arguments = []
    for name, content in paths.items():
        content.to_parquet(tmp_path / f"{name}.parquet")
        arguments += [f"--{name}", str(tmp_path / f"{name}.parquet")]
    plot.main([*arguments, "--output", str(tmp_path / "figure")])
    return pd.read_csv(tmp_path / "figure.csv"), (tmp_path / "figure.svg").read_text()
