"""The same cells in several campaigns: on another card or on another day.

"Here" is the campaign that is told about, "there" the other one; a ratio is here ÷ there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from inferbench.analysis.compare import CompareError, common_cells, compare, load
from inferbench.tables import terms

SPEED = "decode_tokens_per_s"
AXES = list(terms.AXES)


@dataclass(frozen=True)
class Campaign:
    """measurements: as `schema.measurements`. provenance: as the workflow writes it."""

    name: str
    measurements: pd.DataFrame
    provenance: dict[str, Any]


def read_campaigns(folders: Sequence[Path]) -> list[Campaign]:
    """The campaigns in these folders, of runs or published, each named by its folder. Raises CompareError."""
    folders = list({folder.resolve(): folder for folder in folders}.values())
    names = [folder.name for folder in folders]
    return [
        Campaign(
            folder.name if names.count(folder.name) == 1 else str(folder), load(folder), _provenance(folder)
        )
        for folder in folders
    ]


def _provenance(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CompareError(f"{folder / 'provenance.json'} cannot be used: {error}") from error


def comparisons(measurements: pd.DataFrame, others: Iterable[Campaign]) -> pd.DataFrame:
    """The rows of `compare` with a = there and b = here, the other campaign's name in `other` and the cell's
    axes beside it. Campaigns without a common cell have none."""
    cells = measurements[["cell", "model_source", *AXES]].drop_duplicates("cell")
    found = [
        compare(other.measurements, measurements).assign(other=other.name)
        for other in others
        if len(common_cells(other.measurements, measurements))
    ]
    if not found:
        return pd.DataFrame(columns=["other", "metric", "ratio"])
    there_and_here = {
        "no valid value in A": "no valid value there",
        "no valid value in B": "no valid value here",
        "no valid value in A or B": "no valid value here or there",
    }
    return cells.merge(pd.concat(found).replace({"finding": there_and_here}), on="cell")
