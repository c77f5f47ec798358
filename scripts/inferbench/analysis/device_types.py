"""Kinds of device kept apart in a table that has several: what one measured stands beside another's, and is never
compared or pooled with it."""

from __future__ import annotations

import pandas as pd


def of_cells(table: pd.DataFrame) -> pd.Series:
    """cell -> the kind of device that ran most of its rows that ended ok, the first seen on a tie; of a cell without
    such rows the kind that it did not end ok on, else the first of its model. Null where that has none."""
    ok = table[(table["status"] == "ok") & table["device_name"].notna()]
    votes = ok.groupby(["cell", "device_name"], sort=False).size().sort_values(ascending=False, kind="stable")
    most = votes.reset_index().drop_duplicates("cell").set_index("cell")["device_name"]
    tried = table.groupby("cell", sort=False)["device_name"].first()
    of_model = table["model"].map(ok.groupby("model")["device_name"].first())
    known = most.reindex(tried.index).astype(object).fillna(tried)
    return known.fillna(of_model.groupby(table["cell"], sort=False).first())


def apart(table: pd.DataFrame, kinds: pd.Series, named: bool) -> pd.DataFrame:
    """The table's rows that each cell has on its own kind of device, or on none.

    kinds: as `of_cells`, of the table or of another one with the same cells. named: whether the models' names
    shall say their kind, as where there are several.
    """
    if not named and table["device_name"].nunique() < 2:
        return table
    kind = table["cell"].map(kinds)
    own = table["device_name"].isna() | (table["device_name"] == kind)
    names = table["model"] + " on " + kind if named else table["model"]
    return table.assign(model=names.fillna(table["model"]))[own]


def samples_of(table: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """The samples of the jobs that the table has."""
    if "cell" not in samples or samples.empty:
        return samples
    jobs = pd.MultiIndex.from_frame(table[["cell", "replicate"]].drop_duplicates())
    return samples[pd.MultiIndex.from_frame(samples[["cell", "replicate"]]).isin(jobs)]
