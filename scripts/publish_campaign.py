"""Publish a finished campaign: copy its tables and plotted data, and list the checksums of its figures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from inferbench.tables.published import (
    DATA_FILES,
    campaign_name,
    declared_experiments,
    published_figures,
    published_tables,
    write_published,
)

RESULTS = Path(__file__).resolve().parents[1] / "results"


class PublishError(ValueError):
    """A campaign that cannot be published. The message says why, and what to do."""


def publish(campaign: Path, target: Path, force: bool) -> None:
    """Write the folder `target` from the results of a campaign, whole or not at all.

    Raises PublishError when the campaign is not finished, or `target` exists and `force` is not set.
    """
    if target.exists() and not force:
        raise PublishError(f"{target} exists; pass --force to replace it.")
    missing = [name for name in DATA_FILES if not (campaign / name).exists()]
    experiments = [] if missing else declared_experiments(campaign)
    needed = [*published_tables(experiments), *published_figures(experiments)]
    missing = [name for name in needed if not (campaign / name).exists()]
    if missing:
        others = f" and {len(missing) - 1} more of its files" if len(missing) > 1 else ""
        raise PublishError(f"{campaign} lacks {missing[0]}{others}; run the campaign to its end first.")
    for name in (DATA_FILES[0], *(f"{experiment}.parquet" for experiment in experiments)):
        try:
            statuses = pd.read_parquet(campaign / name, columns=["status"])["status"]
        except (OSError, ValueError) as error:
            raise PublishError(f"{campaign / name} cannot be used: {error}") from error
        absent = int((statuses == "missing").sum())
        if absent:
            raise PublishError(
                f"{campaign / name} lacks {absent} of {len(statuses)} rows; run it to its end first."
            )

    write_published(target, experiments, campaign, campaign)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "campaign", type=campaign_name, help="name of the campaign: its results are in results/<campaign>"
    )
    parser.add_argument("name", type=campaign_name, help="name to publish it under: results/published/<name>")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of results")
    parser.add_argument("--force", action="store_true", help="replace what is published under that name")
    arguments = parser.parse_args(argv)
    target = arguments.results / "published" / arguments.name
    try:
        publish(arguments.results / arguments.campaign, target, arguments.force)
    except PublishError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Published as {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
