"""Gather the files of one decoding experiment into its table and its samples.

python scripts/aggregate_experiment.py quality --campaign '{...}' --files results/demo/quality --output results/demo
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq

from inferbench.analysis.experiment_tables import collect_experiment
from inferbench.plan.specs import experiment_names
from inferbench.presentation.words import counted
from inferbench.run.parts import part
from inferbench.tables.cell_file import CellFileError
from inferbench.tables.schema import SchemaError
from inferbench.tables.whole_files import UnwritableError, whole_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=experiment_names())
    parser.add_argument("--campaign", required=True, type=json.loads, help="the resolved campaign, as JSON")
    parser.add_argument("--files", required=True, type=Path, help="folder of the experiment's files")
    parser.add_argument("--output", required=True, type=Path, help="folder for the table and the samples")
    parser.add_argument("--partial", action="store_true", help="jobs without a file become rows `missing`")
    parser.add_argument("--models-dir", default="models", help="folder of the checkpoints")
    options = parser.parse_args()
    try:
        table, samples = collect_experiment(
            options.campaign,
            options.experiment,
            part(options.experiment, "table"),
            options.files,
            options.partial,
            options.models_dir,
        )
        with whole_file(options.output / f"{options.experiment}-samples.parquet") as path:
            pq.write_table(samples, path)
        with whole_file(options.output / f"{options.experiment}.parquet") as path:
            table.to_parquet(path, index=False)
    except (CellFileError, SchemaError, UnwritableError) as error:
        sys.exit(str(error))
    counts = ", ".join(f"{count} {status}" for status, count in table["status"].value_counts().items())
    print(f"{options.experiment}: {counted(len(table), 'row')}, {counts}")


if __name__ == "__main__":
    main()
