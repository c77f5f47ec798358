"""Gather the files of a campaign's grid, or of one decoding experiment, into its tables.

python scripts/aggregate.py grid --campaign '{...}' --files results/demo/cells --output results/demo
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from inferbench.analysis.aggregate import collect_grid
from inferbench.analysis.experiment_tables import collect_experiment
from inferbench.analysis.summarise import summarise
from inferbench.plan.specs import GRID, specs
from inferbench.presentation.words import counted
from inferbench.report.spending import spending_line
from inferbench.run.parts import part
from inferbench.tables.cell_file import CellFileError
from inferbench.tables.schema import SchemaError
from inferbench.tables.whole_files import UnwritableError, whole_file

#: Missing replicates that are named one by one.
NAMED = 10
#: File name -> what writes that file to a path.
Writers = dict[str, Callable[[Path], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=list(specs()))
    parser.add_argument("--campaign", required=True, type=json.loads, help="the resolved campaign, as JSON")
    parser.add_argument("--files", required=True, type=Path, help="folder of the files of its cells")
    parser.add_argument("--output", required=True, type=Path, help="folder for the tables")
    parser.add_argument("--partial", action="store_true", help="jobs without a file become rows `missing`")
    parser.add_argument("--models-dir", default="models", help="folder of the checkpoints")
    options = parser.parse_args()
    try:
        writers, told = of_grid(options) if options.experiment == GRID else of_experiment(options)
        for name, write in writers.items():
            with whole_file(options.output / name) as path:
                write(path)
    except (CellFileError, SchemaError, UnwritableError) as error:
        sys.exit(str(error))
    print(*told, sep="\n")


def of_grid(options: argparse.Namespace) -> tuple[Writers, list[str]]:
    """(what is to be written, what a person reads of it)."""
    measurements, iterations, provenance = collect_grid(
        options.campaign, options.files, options.partial, options.models_dir
    )
    summary = summarise(measurements, options.campaign["baseline"])
    writers: Writers = {
        "iterations.parquet": lambda path: pq.write_table(iterations, path),
        "provenance.json": lambda path: path.write_text(json.dumps(provenance, indent=1)),
        "summary.parquet": lambda path: summary.to_parquet(path, index=False),
        "measurements.parquet": lambda path: measurements.to_parquet(path, index=False),
    }
    rows = f"{counted(len(measurements), 'row')} of {counted(len(summary), 'cell')}"
    told = [f"{rows}: {statuses(measurements)}", *missing(measurements, options.files)]
    return writers, [*told, spending_line(measurements)]


def of_experiment(options: argparse.Namespace) -> tuple[Writers, list[str]]:
    """(what is to be written, what a person reads of it)."""
    name = options.experiment
    table, samples = collect_experiment(
        options.campaign, name, part(name, "table"), options.files, options.partial, options.models_dir
    )
    writers: Writers = {
        f"{name}-samples.parquet": lambda path: pq.write_table(samples, path),
        f"{name}.parquet": lambda path: table.to_parquet(path, index=False),
    }
    rows = f"{name}: {counted(len(table), 'row')}, {statuses(table)}"
    return writers, [rows, *missing(table, options.files)]


def statuses(table: pd.DataFrame) -> str:
    """How many rows ended as what."""
    return ", ".join(f"{count} {status}" for status, count in table["status"].value_counts().items())


def missing(table: pd.DataFrame, files: Path) -> Iterator[str]:
    """The command that measures each job without a file."""
    jobs = table.loc[table["status"] == "missing", ["cell", "replicate"]]
    for cell, replicate in jobs.head(NAMED).itertuples(index=False):
        yield f"missing; to measure it: snakemake {files / cell / f'replicate-{replicate}.parquet'}"
    if len(jobs) > NAMED:
        yield f"... and {len(jobs) - NAMED} more; snakemake without a target measures all that are missing"


if __name__ == "__main__":
    main()
