"""Gather a campaign's cell files into its tables: measurements, iterations, summary, provenance.

python scripts/aggregate_cells.py --campaign '{...}' --cells results/demo/cells --output results/demo
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq

from inferbench.analysis.aggregate import collect
from inferbench.analysis.summarise import summarise
from inferbench.presentation.words import counted
from inferbench.report.spending import spending_line
from inferbench.tables.cell_file import CellFileError
from inferbench.tables.schema import SchemaError
from inferbench.tables.whole_files import UnwritableError, whole_file

#: Missing replicates that are named one by one.
NAMED = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--campaign", required=True, type=json.loads, help="the resolved campaign, as JSON")
    parser.add_argument("--cells", required=True, type=Path, help="folder of the cell files")
    parser.add_argument("--output", required=True, type=Path, help="folder for the tables")
    parser.add_argument("--partial", action="store_true", help="cells without a file become rows `missing`")
    parser.add_argument("--models-dir", default="models", help="folder of the checkpoints")
    options = parser.parse_args()
    try:
        measurements, iterations, provenance = collect(
            options.campaign, options.cells, options.partial, options.models_dir
        )
        summary = summarise(measurements, options.campaign["baseline"])
    except (CellFileError, SchemaError) as error:
        sys.exit(str(error))
    writers = {
        "iterations.parquet": lambda path: pq.write_table(iterations, path),
        "provenance.json": lambda path: path.write_text(json.dumps(provenance, indent=1)),
        "summary.parquet": lambda path: summary.to_parquet(path, index=False),
        "measurements.parquet": lambda path: measurements.to_parquet(path, index=False),
    }
    try:
        for name, write in writers.items():
            with whole_file(options.output / name) as path:
                write(path)
    except UnwritableError as error:
        sys.exit(str(error))
    counts = ", ".join(f"{count} {status}" for status, count in measurements["status"].value_counts().items())
    print(f"{counted(len(measurements), 'row')} of {counted(len(summary), 'cell')}: {counts}")
    missing = measurements[measurements["status"] == "missing"]
    for cell, replicate in missing[["cell", "replicate"]].head(NAMED).itertuples(index=False):
        print(f"missing; to measure it: snakemake {options.cells / cell / f'replicate-{replicate}.parquet'}")
    if len(missing) > NAMED:
        print(
            f"... and {len(missing) - NAMED} more; snakemake without a target measures all that are missing"
        )
    print(spending_line(measurements))


if __name__ == "__main__":
    main()
