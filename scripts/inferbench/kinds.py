"""Kinds of device kept apart in a table that has several: what one measured stands beside another's, and is never
compared or pooled with it."""

from __future__ import annotations

import pandas as pd


def of_cells(table: pd.DataFrame) -> pd.Series:
    """cell -> the kind of device that ran most of its rows that ended ok, the first seen on a tie; of a cell without
    such rows the first kind of its model. NaN where that has none."""
    kinds = table["device_name"].where(table["status"] == "ok")
    votes = pd.DataFrame({"cell": table["cell"], "kind": kinds}).groupby("cell", sort=False)["kind"]
    own = votes.agg(lambda ran: ran.value_counts(sort=True).index[0] if ran.notna().any() else None)
    first = kinds.groupby(table["model"]).transform("first")
    return own.fillna(first.groupby(table["cell"]).first())


def apart(table: pd.DataFrame, kinds: pd.Series) -> pd.DataFrame:
    """The table's rows that each cell has on its own kind of device, or on none; the models' names say which kind
    where there are several.

    kinds: as `of_cells`, of the table or of another one with the same cells.
    """
    if kinds.nunique() < 2 and table["device_name"].nunique() < 2:
        return table
    kind = table["cell"].map(kinds)
    table = table[table["device_name"].isna() | (table["device_name"] == kind)]
    if kinds.nunique() < 2:
        return table
    named = table["model"] + " on " + table["cell"].map(kinds)
    return table.assign(model=named.fillna(table["model"]))


def samples_of(table: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """The samples of the jobs that the table has."""
    if "cell" not in samples or samples.empty:
        return samples
    jobs = pd.MultiIndex.from_frame(table[["cell", "replicate"]].drop_duplicates())
    return samples[pd.MultiIndex.from_frame(samples[["cell", "replicate"]]).isin(jobs)]
