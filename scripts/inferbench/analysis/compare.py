"""Two campaigns cell by cell: another driver, commit or card against what was measured before.

Only replicates of one card are ever pooled. Where both campaigns measured a cell on the same card, the
comparison is made there; else between each card of the one and each of the other, and marked so. A compiled
cell, whose replicates share a compilation, has a ratio without an interval or a finding.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from inferbench.analysis import statistics
from inferbench.analysis.summarise import cards, shares_compilation
from inferbench.tables import schema, terms

METRICS = ("decode_tokens_per_s", "ttft_ms", "tpot_ms")
#: What may have changed between two campaigns and explains a difference.
CIRCUMSTANCES = ("device_name", "device_uuid", "host", "driver", "git_commit", "code")
#: What may differ where the fingerprints of a cell do.
ASKED_OTHERWISE = "seed, threads, prompts, when to stop measuring, packages or Hydra files differ"


class CompareError(ValueError):
    """A folder holds no campaign, or two campaigns have no cell in common."""


def load(folder: Path) -> pd.DataFrame:
    """The measurements of the campaign in `folder`, as `schema.measurements`. Raises CompareError."""
    path = folder / "measurements.parquet"
    if not folder.is_dir():
        raise CompareError(f"there is no folder {folder}")
    if not path.is_file():
        raise CompareError(f"{folder} holds no measurements.parquet: is it the folder of a campaign?")
    try:
        return schema.read_table(path, schema.measurements)
    except schema.SchemaError as error:
        raise CompareError(str(error)) from error


def compare(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """A row per cell that both have, per pair of cards and per metric of METRICS, in the order of `a`.

    Columns: cell, metric, card_a, card_b, between_cards, replicates_a, replicates_b, a and b (geometric
    means, in the metric's unit) with their 95% intervals (a_low, a_high, b_low, b_high), ratio (b / a), low,
    high (its 95% interval), p_adjusted (Welch on logs, Benjamini-Hochberg over the whole table), finding. Raises
    CompareError.
    """
    cells = common_cells(a, b)
    if cells.empty:
        raise CompareError(f"the two campaigns have no cell in common{_why_apart(a, b)}")
    rows_a, groups_a = _groups(a, cells)
    rows_b, groups_b = _groups(b, cells)
    pairs = _pairs(cells, groups_a, groups_b)
    shared = shares_compilation(pairs)
    blocks = []
    for order, metric in enumerate(METRICS):
        table_a = _table(rows_a, metric, len(groups_a))[pairs["group_a"]]
        table_b = _table(rows_b, metric, len(groups_b))[pairs["group_b"]]
        ratio, low, high, p = statistics.compare(table_b, table_a)
        side_a, side_b = statistics.interval(table_a), statistics.interval(table_b)
        for of_replicates in (low, high, p, side_a.low, side_a.high, side_b.low, side_b.high):
            of_replicates[shared] = np.nan
        block = pairs[["place", "cell", "execution", "card_a", "card_b", "between_cards"]].assign(
            metric=metric,
            order=order,
            replicates_a=(~np.isnan(table_a)).sum(axis=1),
            replicates_b=(~np.isnan(table_b)).sum(axis=1),
            a=side_a.centre,
            a_low=side_a.low,
            a_high=side_a.high,
            b=side_b.centre,
            b_low=side_b.low,
            b_high=side_b.high,
            ratio=ratio,
            low=low,
            high=high,
            p=p,
        )
        blocks.append(block)
    table = pd.concat(blocks).sort_values(["place", "card_a", "card_b", "order"], kind="stable")
    table["p_adjusted"] = statistics.adjust(table["p"].to_numpy())
    table["finding"] = _findings(table)
    return table.drop(columns=["place", "order", "p", "execution"]).reset_index(drop=True)


def _why_apart(a: pd.DataFrame, b: pd.DataFrame) -> str:
    """The first axis of which they share no value, in words."""
    for axis in terms.AXES:
        in_a, in_b = (list(dict.fromkeys(table[axis])) for table in (a, b))
        if not set(in_a) & set(in_b):
            return f": {axis} is {', '.join(map(str, in_a))} in A and {', '.join(map(str, in_b))} in B"
    return ": no combination of model, precision, attention, execution, workload and batch size is in both"


def common_cells(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Axes, name in `a` and place (from 0) of the cells that both campaigns declare."""
    axes = list(terms.AXES)
    cells = a[["cell", *axes]].drop_duplicates(axes).merge(b[axes].drop_duplicates(), on=axes)
    return cells.assign(place=np.arange(len(cells)))


def changes(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Which of CIRCUMSTANCES differ between the campaigns' valid replicates: name -> (in a, in b)."""
    found = {}
    for name in CIRCUMSTANCES:
        values = [", ".join(sorted(set(side.loc[side["valid"], name].dropna()))) or "-" for side in (a, b)]
        if values[0] != values[1]:
            found[name] = (values[0], values[1])
    return found


def other_meaning(a: pd.DataFrame, b: pd.DataFrame) -> int:
    """How many of the common cells have no replicates in `a` and `b` that were asked for the same."""
    sides = [side.loc[side["valid"]].groupby(list(terms.AXES))["fingerprint"].agg(set) for side in (a, b)]
    both = pd.concat(sides, axis=1, join="inner", keys=["a", "b"])
    return sum(not own.a & own.b for own in both.itertuples())


def _groups(measurements: pd.DataFrame, cells: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Valid rows of the common cells with the number of their group, and the groups: place and card."""
    valid = measurements[measurements["valid"].to_numpy(bool)]
    valid = valid.assign(card=cards(valid)).merge(cells[[*terms.AXES, "place"]], on=list(terms.AXES))
    valid["group"] = valid.groupby(["place", "card"], sort=False).ngroup()
    return valid, valid[["place", "card", "group"]].drop_duplicates("group")


def _pairs(cells: pd.DataFrame, groups_a: pd.DataFrame, groups_b: pd.DataFrame) -> pd.DataFrame:
    """Which groups to compare; a side without any has the number after its last, an empty row."""
    pairs = cells[["place", "cell", "execution"]].merge(groups_a, how="left", on="place")
    pairs = pairs.merge(groups_b, how="left", on="place", suffixes=("_a", "_b"))
    same = pairs["card_a"].eq(pairs["card_b"]).fillna(False).to_numpy(bool)
    shared = pd.Series(same).groupby(pairs["place"].to_numpy()).transform("any").to_numpy(bool)
    absent = pairs["card_a"].isna() | pairs["card_b"].isna()
    pairs = pairs.assign(
        between_cards=~same & ~absent,
        group_a=pairs["group_a"].fillna(len(groups_a)).astype(int),
        group_b=pairs["group_b"].fillna(len(groups_b)).astype(int),
    )
    return pairs[same | ~shared]


def _table(rows: pd.DataFrame, metric: str, groups: int) -> np.ndarray:
    """Replicates of each group, and an empty row for cells that have none: (groups + 1, replicates)."""
    values = rows[metric].to_numpy(dtype=float, na_value=np.nan)
    return statistics.stack(values, rows["group"].to_numpy(int), groups + 1)


def _findings(table: pd.DataFrame) -> np.ndarray:
    found = statistics.Comparison(*(table[name].to_numpy() for name in ("ratio", "low", "high", "p")))
    better = table["metric"].map(terms.METRICS).to_numpy(str)
    finding = statistics.classify(found, table["p_adjusted"].to_numpy(), better)
    finding[shares_compilation(table)] = statistics.SHARED_COMPILATION
    no_a, no_b = ((table[f"replicates_{side}"] == 0).to_numpy() for side in ("a", "b"))
    absent = [f"no valid value in {side}" for side in ("A or B", "A", "B")]
    return np.select([no_a & no_b, no_a, no_b], absent, finding)
