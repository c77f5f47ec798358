"""Draw one figure of a campaign, and save the data that were drawn beside it.

python scripts/draw_figure.py ranking --measurements results/demo/measurements.parquet \\
    --summary results/demo/summary.parquet --output results/demo/figures/ranking
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from inferbench.analysis.compare import CompareError
from inferbench.analysis.other_campaigns import read_campaigns
from inferbench.plan.figures import beside_drawings, drawings
from inferbench.plan.specs import experiment_names
from inferbench.presentation.drawing import draw_figure
from inferbench.run.parts import part
from inferbench.tables.schema import SchemaError


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    known = {own.figure.name: own for own in (*drawings(experiment_names()), *beside_drawings())}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=known, metavar="NAME", help=", ".join(known))
    for option in dict.fromkeys(option for own in known.values() for option in own.tables):
        parser.add_argument(f"--{option}", type=Path, help=f"Parquet file of the table `{option}`")
    parser.add_argument(
        "--compare-with", type=Path, action="append", default=[], help="folder of another campaign"
    )
    parser.add_argument("--output", type=Path, required=True, help="path without .svg, .png, .csv")
    arguments = parser.parse_args(argv)
    drawing = known[arguments.name]
    tables = {option: getattr(arguments, option) for option in drawing.tables}
    if absent := [f"--{option}" for option, path in tables.items() if path is None]:
        parser.error(f"{drawing.figure.name} is drawn from {', '.join(absent)} too")
    try:
        others = read_campaigns(arguments.compare_with)
        draw = part(drawing.experiment, drawing.figure.module).draw
        draw_figure(drawing, draw, tables, arguments.output, others)
    except (CompareError, SchemaError) as error:
        sys.exit(f"draw_figure.py {drawing.figure.name}: {error}")


if __name__ == "__main__":
    main()
