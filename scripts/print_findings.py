"""Print what the report of a campaign says of each choice, as far as it was asked for.

python scripts/print_findings.py results/published/workshop-h100 execution
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from inferbench.analysis.summarise import with_cards
from inferbench.report.choices import AXES, MEMORY, WEIGHTS, answers, kernels, overview, progress
from inferbench.report.context import context_sentences
from inferbench.report.host_and_captured import both_ways, reversals, side_by_side_table
from inferbench.report.reading_tokens import wait_sentences
from inferbench.tables.published import grid_tables

CONTEXT = "context"


def findings(folder: Path, topics: list[str]) -> Iterator[str]:
    """Lines for the terminal, of the tables in `folder`."""
    measurements, summary = grid_tables(folder)
    summary = with_cards(summary, measurements)
    told = answers(summary)
    yield from (*progress(measurements), *overview(summary))
    for topic in topics:
        for answer in told:
            if topic in answer.sentences:
                yield f"\n{answer.subject}, {topic.replace('_', ' ')}"
                yield from (f"  {sentence}" for sentence in answer.sentences[topic])
        if topic == "attention":
            yield from kernels(measurements)
        if topic == "execution":
            yield from _side_by_side(summary, folder)
            if waits := list(wait_sentences(measurements, summary)):
                yield "\nwhat reading each token costs, against tokens that stay on the device"
                yield from (f"  {sentence}" for sentence in waits)
        if topic == CONTEXT and (said := list(context_sentences(measurements, summary))):
            yield "\ncontext"
            yield from (f"  {sentence}" for sentence in said)


def _side_by_side(summary: pd.DataFrame, folder: Path) -> Iterator[str]:
    campaign = json.loads((folder / "provenance.json").read_text(encoding="utf-8")).get("campaign") or {}
    ways = both_ways(summary)
    table = side_by_side_table(ways)
    for row in table.rows:
        yield f"\ngenerate() against captured steps{': ' * bool(table.common)}{table.common}"
        yield from (f"  {name}: {value}" for name, value in zip(table.columns, row, strict=True))
    yield from reversals(ways, campaign.get("baseline") or {})


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="results/<campaign>, or results/published/<name>")
    choices = [WEIGHTS, *AXES, CONTEXT, MEMORY]
    parser.add_argument(
        "topics", nargs="*", default="all", choices=[*choices, "all"], help="all of them when none is named"
    )
    options = parser.parse_args()
    topics = choices if "all" in options.topics else options.topics
    try:
        lines = list(findings(options.folder, topics))
    except (OSError, ValueError) as error:
        sys.exit(f"print_findings.py: {error}")
    print(*lines, sep="\n")


if __name__ == "__main__":
    # `| head` ends it without a word. Here alone: whoever imports this has pipes of its own.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main()
