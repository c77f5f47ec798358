"""Which choices are worth having: none of them is beaten in every respect by another."""

from __future__ import annotations

import pandas as pd

from inferbench.analysis.statistics import MIN_DIFFERENCE


def dominated_by(table: pd.DataFrame, sizes: list[str], speed: str) -> pd.Series:
    """For each row of `table` the index labels of the rows that dominate it, a list.

    A row is dominated by one that is at least as good in everything and better in something. Less is better
    in `sizes`, which are exact; more in `speed`, where under 1% is no difference. At least one row is
    dominated by none: going from a row to one that dominates it never comes back. A row without one of the
    numbers (null) neither dominates nor is dominated.
    """
    known = table[table[[*sizes, speed]].notna().all(axis=1)]
    found: dict[object, list[object]] = {label: [] for label in table.index}
    for label, own in known.iterrows():
        near = 1 - MIN_DIFFERENCE
        as_good = (known[sizes] <= own[sizes]).all(axis=1) & (known[speed] >= near * own[speed])
        better = (known[sizes] < own[sizes]).any(axis=1) | (near * known[speed] > own[speed])
        found[label] = list(known.index[as_good & better])
    return pd.Series(found, dtype=object)
