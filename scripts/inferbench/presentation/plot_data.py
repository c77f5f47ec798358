"""The data of a figure as one tidy table: what is drawn is read from it, and it is saved beside it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from inferbench.presentation.words import significant

CELL = ["cell", "model", "model_source", "precision", "attention", "execution", "workload", "batch_size"]
COLUMNS = [*CELL, "status", "flags", "valid", "quantity", "replicate", "value", "low", "high"]


def plotted(measurements: pd.DataFrame, summary: pd.DataFrame, quantities: list[str]) -> pd.DataFrame:
    """A row per quantity and cell, then one per replicate where the quantity varies between them.

    Columns: the cell's axes, status, flags and validity, the quantity's name (its column in the
    tables, with the unit), `replicate` (null: across replicates), `value`, and the ends of its 95%
    interval. Numbers are rounded to 6 significant digits, so that another CPU's last bit does not
    show. A cell that is not ok has a row without a value; one whose every replicate is flagged has
    the centre of its flagged replicates, marked as not valid.
    """
    measurements = measurements[(measurements["status"] == "ok") & measurements["cell"].isin(summary["cell"])]
    parts = []
    for quantity in quantities:
        ok = measurements[measurements[quantity].notna()]
        ok = ok.assign(value=ok[quantity].astype(float))
        varies = f"{quantity}_low" in summary
        centre = summary.assign(
            replicate=pd.NA,
            value=summary[quantity].astype(float).fillna(summary["cell"].map(_centre(ok, varies))),
            low=summary[f"{quantity}_low"].astype(float) if varies else np.nan,
            high=summary[f"{quantity}_high"].astype(float) if varies else np.nan,
        )
        rows = [centre, ok.assign(low=np.nan, high=np.nan)] if varies else [centre]
        parts.append(pd.concat([part.assign(quantity=quantity)[COLUMNS] for part in rows]))
    data = pd.concat(parts).astype({"replicate": "Int64"})
    numbers = ["value", "low", "high"]
    data[numbers] = data[numbers].astype(float).map(significant)
    order = {cell: place for place, cell in enumerate(summary["cell"])}
    keys = {"quantity": quantities.index, "cell": order.get, "replicate": lambda n: 0 if pd.isna(n) else n}
    places = pd.DataFrame({column: [key(value) for value in data[column]] for column, key in keys.items()})
    return data.iloc[places.sort_values(list(keys), kind="stable").index].reset_index(drop=True)


def with_several(data: pd.DataFrame, axes: list[str], column: str) -> pd.DataFrame:
    """The rows of those combinations of `axes` that have a value at several values of `column`."""
    counts = data[data["value"].notna()].groupby(axes)[column].nunique()
    return data[data.set_index(axes).index.isin(counts.index[counts > 1])].reset_index(drop=True)


def _centre(ok: pd.DataFrame, varies: bool) -> pd.Series:
    """Centre of the ok replicates of each cell: geometric mean, or the largest of a size."""
    if not varies:
        return ok.groupby("cell")["value"].max()
    return np.exp(np.log(ok["value"]).groupby(ok["cell"]).mean())
