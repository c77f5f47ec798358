"""Draw the figures of published campaigns again, from their tables, and say whether they come out the same.

Needs no GPU, no model and no torch. The exit code is 0 when every figure is byte-identical, and 1 when one is
not, a file is missing or a checksum does not match. With --allow-other-bytes figures may differ in bytes as long
as their plotted data agree.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from inferbench.analysis.experiment_tables import read_experiments
from inferbench.plan.figures import Drawing, drawings, figure_files
from inferbench.presentation.drawing import draw_figure
from inferbench.report.page import write_report
from inferbench.run.parts import part
from inferbench.tables.published import (
    DATA_FILES,
    SUMS,
    declared_experiments,
    experiment_files,
    first_difference,
    grid_tables,
    published_tables,
    read_sums,
    sha256,
    write_published,
)

RESULTS = Path(__file__).resolve().parents[1] / "results"


def redraw(folder: Path, output: Path, other_bytes: bool) -> Iterator[tuple[bool, str]]:
    """Draw the published campaign in `folder` again under `output`; yield (all right, line to print).

    other_bytes: a figure whose plotted data agree is all right whatever its bytes.
    """
    missing = [name for name in (*DATA_FILES, SUMS) if not (folder / name).exists()]
    if missing:
        yield False, f"MISSING {', '.join(missing)}"
        return
    sums = read_sums(folder)
    for name, listed in sums.items():
        if (folder / name).exists() and sha256(folder / name) != listed:
            yield False, f"{name}: CHANGED since it was published (its SHA-256 is not the one listed)"
    experiments = declared_experiments(folder)
    absent = [name for name in experiment_files(experiments) if not (folder / name).exists()]
    if absent:
        yield False, f"MISSING {', '.join(absent)}"
        return
    # Before the figures, whose own command lines would end this one at a table that cannot be read.
    measurements, summary = grid_tables(folder)
    own = read_experiments(folder / "experiments.json")
    for drawing in drawings(experiments):
        draw = part(drawing.experiment, drawing.figure.module).draw
        tables = {option: folder / name for option, name in drawing.tables.items()}
        draw_figure(drawing, draw, tables, output / "figures" / drawing.figure.name)
        yield _compare(drawing, folder, output, sums, other_bytes)
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    report = output / "report.html"
    write_report(measurements, summary, own, provenance, output / "figures", part, report)
    yield True, f"report: {report}"


def _compare(
    drawing: Drawing, folder: Path, output: Path, sums: dict[str, str], other_bytes: bool
) -> tuple[bool, str]:
    name, files = drawing.figure.name, figure_files([drawing])
    unlisted = [file for file in files if file not in sums]
    data = f"figures/{name}.csv"
    if unlisted or not (folder / data).exists():
        absent = unlisted or [data]
        return False, f"{name}: MISSING from what was published: {', '.join(absent)}"
    differing = [file for file in files if sha256(output / file) != sums[file]]
    if not differing:
        return True, f"{name}: byte-identical"
    difference = first_difference(folder / data, output / data)
    if difference:
        return False, f"{name}: plotted data DIFFER: {difference}"
    return other_bytes, f"{name}: bytes differ ({', '.join(differing)}), plotted data agree"


def accept(folder: Path, drawn: Path) -> str:
    """Put the figures in `drawn` in the place of the published ones, for when their drawing was changed on purpose.
    Returns the line to print. The tables must be those that were published."""
    experiments = declared_experiments(folder)
    sums = read_sums(folder)
    changed = [name for name in published_tables(experiments) if sha256(folder / name) != sums.get(name)]
    if changed:
        return f"not accepted: {', '.join(changed)} changed since it was published"
    write_published(folder, experiments, folder, drawn)
    return f"accepted: {folder / SUMS} lists the figures as they were drawn now"


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="published campaigns; all of them when none is named")
    parser.add_argument("--published", type=Path, default=RESULTS / "published", help="where they are")
    parser.add_argument("--output", type=Path, default=RESULTS / "published-redrawn", help="where to draw")
    parser.add_argument(
        "--allow-other-bytes",
        action="store_true",
        help="succeed where the bytes of figures differ but their plotted data agree",
    )
    parser.add_argument(
        "--accept",
        action="store_true",
        help="publish the figures as they are drawn now, in place of the old ones",
    )
    arguments = parser.parse_args(argv)
    names = arguments.names or sorted(path.name for path in arguments.published.glob("[!.]*/"))
    if not names:
        print(f"{arguments.published} holds no published campaign.", file=sys.stderr)
        return 1
    wrong = 0
    for name in names:
        print(name)
        try:
            other_bytes = arguments.allow_other_bytes or arguments.accept
            for right, line in redraw(arguments.published / name, arguments.output / name, other_bytes):
                print(f"  {line}", flush=True)
                wrong += not right
            if arguments.accept:
                print(f"  {accept(arguments.published / name, arguments.output / name)}")
        except (OSError, ValueError) as error:
            print(f"  CANNOT BE USED: {error}")
            wrong += 1
    verdict = f"{wrong} disagreement(s), named above" if wrong else "every figure agrees"
    print(f"Redrawn into {arguments.output}: {verdict}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
