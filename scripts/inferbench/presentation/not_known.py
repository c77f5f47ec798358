"""What cannot be had of some models, and why: for the page and for notes of figures."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import pandas as pd

from inferbench.presentation.words import counted


def not_known(measurements: pd.DataFrame, columns: Collection[str] = ()) -> list[dict[str, Any]]:
    """What cannot be had of some models, reason by reason: `columns`, `reason` and `cells`; of these columns or of all."""
    found: dict[str, dict[str, dict[str, None]]] = {}
    for row in measurements.dropna(subset="not_known")[["cell", "not_known"]].itertuples():
        for column, reason in json.loads(row.not_known).items():
            if not columns or column in columns:
                group = found.setdefault(reason, {"columns": {}, "cells": {}})
                group["columns"][column] = group["cells"][row.cell] = None
    return [
        {"columns": ", ".join(group["columns"]), "reason": reason, "cells": list(group["cells"])}
        for reason, group in found.items()
    ]


def left_out_notes(measurements: pd.DataFrame, columns: Collection[str]) -> list[str]:
    """A figure's notes on the numbers of these columns that it cannot show."""
    return [
        f"No {group['columns']} of {counted(len(group['cells']), 'cell')}: {group['reason']}."
        for group in not_known(measurements, columns)
    ]
