"""Write the report of a campaign: one HTML file that needs no network."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from inferbench.analysis.compare import CompareError
from inferbench.analysis.experiment_tables import read_experiments
from inferbench.analysis.other_campaigns import read_campaigns
from inferbench.report.page import write_report
from inferbench.run.parts import part
from inferbench.tables import schema


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measurements", type=Path, required=True, help="measurements.parquet of a campaign")
    parser.add_argument("--summary", type=Path, required=True, help="summary.parquet of the same campaign")
    parser.add_argument("--provenance", type=Path, required=True, help="its provenance.json")
    parser.add_argument("--figures", type=Path, required=True, help="folder that holds its figures as SVG")
    parser.add_argument("--output", type=Path, required=True, help="the HTML file to write")
    parser.add_argument(
        "--experiments",
        type=Path,
        required=True,
        help="experiments.json, beside the tables of those it names",
    )
    parser.add_argument(
        "--limits", type=json.loads, default={}, help="`limits` of the campaign, as JSON; none when left out"
    )
    parser.add_argument(
        "--compare-with",
        type=Path,
        action="append",
        default=[],
        help="folder of another campaign to stand beside",
    )
    arguments = parser.parse_args(argv)
    try:
        others = read_campaigns(arguments.compare_with)
        measurements = schema.read_table(arguments.measurements, schema.measurements)
        summary = schema.read_table(arguments.summary, schema.summary)
        experiments = read_experiments(arguments.experiments)
        provenance = json.loads(arguments.provenance.read_text(encoding="utf-8"))
    except (CompareError, OSError, ValueError) as error:
        sys.exit(f"write_report.py: {error}")
    write_report(
        measurements,
        summary,
        experiments,
        provenance,
        arguments.figures,
        part,
        arguments.output,
        arguments.limits,
        others,
    )


if __name__ == "__main__":
    main()
