"""From measurements (a row per cell and replicate) to the summary (a row per cell).

Only valid replicates count. A cell's centre is taken over replicates of one device model. Its ratio to
the baseline compares replicates of both cells on one and the same card, or what they differ by on each of
several: two cards of one model differ by more than many of the effects looked for. Replicates of a compiled cell
find one compilation on disk, so such a cell has a centre, but no interval and no comparison.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from inferbench.analysis import statistics
from inferbench.tables import schema, terms

RATIO_METRIC = "decode_tokens_per_s"
#: The finding of a cell that shares no card with its baseline.
OTHER_CARDS = "no baseline on the same card"


class BaselineError(ValueError):
    """The baseline names an axis that cells do not have."""


def summarise(measurements: pd.DataFrame, baseline: dict[str, str | int]) -> pd.DataFrame:
    """The table `schema.summary`: a row per cell, in order of first appearance.

    `baseline` fixes some axes or all; a cell is compared with the cell that has these values and its
    own on the other axes. Where there is no ratio, or no interval, `finding` says why. Raises
    BaselineError and schema.SchemaError.
    """
    rows = measurements.reset_index(drop=True)
    code, names = pd.factorize(rows["cell"])
    cells = rows.drop_duplicates("cell", ignore_index=True)[["campaign", *schema.CELL]]
    ok, valid = rows["status"].eq("ok").to_numpy(bool), rows["valid"].to_numpy(bool)
    device, summarised = _summarised(rows, code, valid)

    def count(mask: np.ndarray) -> np.ndarray:
        return np.bincount(code[mask], minlength=len(names))

    columns = {
        "status": _statuses(rows),
        "reason": rows.loc[~ok].drop_duplicates("cell").set_index("cell")["reason"].reindex(names).array,
        "flags": _flags(rows, names),
        "valid": count(summarised) > 0,
        "replicates_declared": np.bincount(code),
        "replicates_ok": count(ok),
        "replicates_valid": count(summarised),
        "model_source": rows.groupby("cell", sort=False)["model_source"].first().array,
        "device_name": device.array,
        **_centres(rows, code, summarised, shares_compilation(cells)),
        **{size: rows.groupby("cell", sort=False)[size].max().array for size in terms.SIZES},
        **_against_baseline(rows, cells, code, valid, summarised, baseline),
    }
    return schema.validate(cells.assign(**columns), schema.summary)


def cards(measurements: pd.DataFrame) -> pd.Series:
    """The card that ran each row, to compare within: its UUID, on a CPU the model and the node."""
    named = measurements["device_name"].fillna("unknown device").astype(str)
    host = measurements["host"].fillna("unknown host").astype(str)
    uuid = measurements["device_uuid"].astype("string")
    return uuid.fillna(named + " @ " + host).astype(str)


def with_cards(summary: pd.DataFrame, measurements: pd.DataFrame) -> pd.DataFrame:
    """The summary with what two of its cells differ by beside what they are compared for.

    Columns: `cards` and `shares` of the summarised replicates, as `ran_on`; `flagged`, whether a flag left out
    replicates that ended ok; `baseline_cell`, '' where there is none.
    """
    flagged = (measurements["status"] == "ok") & ~measurements["valid"].astype(bool)
    summarised = summarised_rows(measurements, summary)
    ran = {cell: ran_on(own) for cell, own in cards(summarised).groupby(summarised["cell"], sort=False)}
    nowhere = {"cards": "", "shares": ""}
    return summary.assign(
        **{name: [ran.get(cell, nowhere)[name] for cell in summary["cell"]] for name in nowhere},
        flagged=summary["cell"].isin(measurements.loc[flagged, "cell"]),
        baseline_cell=summary["baseline_cell"].fillna(""),
    )


def summarised_rows(measurements: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """The rows that the summary's centres are taken over: valid ones on their cell's kind of device."""
    device = summary.set_index("cell")["device_name"].astype(object).fillna("")
    on_it = measurements["cell"].map(device) == measurements["device_name"].astype(object).fillna("")
    return measurements[measurements["valid"].to_numpy(bool) & on_it]


def ran_on(ran: Iterable[str]) -> dict[str, str]:
    """Of the card that ran each of some rows: the `cards`, 'GPU-a, GPU-b', and their `shares`, '2/3, 1/3'."""
    counts = sorted(Counter(ran).items())
    rows = sum(count for _, count in counts)
    shares = [str(Fraction(count, rows)) for _, count in counts]
    return {"cards": ", ".join(card for card, _ in counts), "shares": ", ".join(shares)}


def drift(measurements: pd.DataFrame) -> statistics.Drift:
    """Trend of decode speed over the campaign with start time, valid replicates of one cell and card each."""
    rows = measurements[measurements["valid"].to_numpy(bool)]
    return statistics.drift(
        _numbers(rows[RATIO_METRIC]), (rows["cell"] + "\n" + cards(rows)).to_numpy(str), start_hours(rows)
    )


def start_hours(rows: pd.DataFrame) -> np.ndarray:
    """The start of each row in hours since the first of them."""
    started = pd.to_datetime(rows["started_at"], utc=True, format="ISO8601")
    return (started - started.min()).dt.total_seconds().to_numpy(float) / 3600


def _numbers(column: pd.Series) -> np.ndarray:
    return column.to_numpy(dtype=float, na_value=np.nan)


def _summarised(rows: pd.DataFrame, code: np.ndarray, valid: np.ndarray) -> tuple[pd.Series, np.ndarray]:
    """Each cell's device model, and which rows are summarised: valid ones on that model.

    The model with most valid replicates, the first seen on a tie.
    """
    names = rows["device_name"].fillna("").astype(str)
    votes = pd.DataFrame({"cell": code, "device": names, "valid": valid})
    votes = votes.groupby(["cell", "device"], sort=False, as_index=False)["valid"].sum()
    votes = votes.sort_values(["cell", "valid"], ascending=[True, False], kind="stable")
    device = votes.drop_duplicates("cell")["device"].reset_index(drop=True)
    return device.replace("", pd.NA), valid & (names.to_numpy() == device.to_numpy()[code])


def _statuses(rows: pd.DataFrame) -> pd.api.extensions.ExtensionArray:
    """ok if any replicate is, else what most became, the first seen on a tie."""
    votes = rows.groupby(["cell", "status"], sort=False).size().rename("votes").reset_index()
    votes["place"] = pd.factorize(votes["cell"])[0]
    votes["ok"] = votes["status"] == "ok"
    votes = votes.sort_values(["place", "ok", "votes"], ascending=[True, False, False], kind="stable")
    return votes.drop_duplicates("cell")["status"].array


def _flags(rows: pd.DataFrame, names: pd.Index) -> pd.api.extensions.ExtensionArray:
    each = rows[["cell"]].assign(flag=rows["flags"].fillna("").str.split(",")).explode("flag")
    each["flag"] = each["flag"].str.strip()
    each = each[each["flag"] != ""].drop_duplicates().sort_values("flag")
    return each.groupby("cell")["flag"].agg(",".join).reindex(names, fill_value="").array


def shares_compilation(table: pd.DataFrame) -> np.ndarray:
    """Of each row whether it is of a cell whose replicates share a compilation."""
    return table["execution"].eq("compiled").to_numpy(bool)


def _centres(
    rows: pd.DataFrame, code: np.ndarray, summarised: np.ndarray, shared: np.ndarray
) -> dict[str, Any]:
    """shared: of each cell whether its replicates share a compilation."""
    columns = {}
    for metric in terms.METRICS:
        values = _numbers(rows.loc[summarised, metric])
        there = ~np.isnan(values)
        table = statistics.stack(values[there], code[summarised][there], len(shared))
        centre, low, high = statistics.interval(table)
        low[shared] = high[shared] = np.nan
        for suffix, ends in (("", centre), ("_low", low), ("_high", high)):
            columns[metric + suffix] = _nullable(ends)
    return columns


def _against_baseline(
    rows: pd.DataFrame,
    cells: pd.DataFrame,
    code: np.ndarray,
    valid: np.ndarray,
    summarised: np.ndarray,
    baseline: dict[str, str | int],
) -> dict[str, Any]:
    target, several, is_baseline = _baseline_cells(cells, baseline)
    rates = _numbers(rows[RATIO_METRIC])
    timed = valid & ~np.isnan(rates)
    has_rate = np.bincount(code[timed & summarised], minlength=len(cells)) > 0

    groups = pd.DataFrame({"cell": code, "card": cards(rows).to_numpy(), "summarised": summarised})[timed]
    group = groups.groupby(["cell", "card"], sort=False)
    groups = groups.assign(group=group.ngroup(), n=group["cell"].transform("size"))
    tables = statistics.stack(rates[timed], groups["group"].to_numpy(), group.ngroups)
    pairs = _pairs(groups.drop_duplicates("group"), target)
    compared, found = _compared(pairs[~is_baseline[pairs["cell"]]], tables)
    shared = shares_compilation(cells)
    shared = (shared | shared[target])[compared]
    for of_replicates in (found.low, found.high, found.p):
        of_replicates[shared] = np.nan
    p_adjusted = statistics.adjust(found.p)

    names = ("ratio", "ratio_low", "ratio_high", "p_adjusted")
    columns = {name: np.full(len(cells), np.nan) for name in names}
    for name, values in zip(names, (found.ratio, found.low, found.high, p_adjusted), strict=True):
        columns[name][compared] = values
    columns["ratio"][is_baseline & has_rate] = 1.0

    reasons = {
        "no valid replicate": np.bincount(code[summarised], minlength=len(cells)) == 0,
        "no decode rate": ~has_rate,
        "baseline": is_baseline,
        "no baseline declared": np.full(len(cells), not baseline),
        "several baseline cells": several,
        "no baseline cell": target < 0,
        "no valid rate of the baseline": ~has_rate[target],
    }
    finding = np.select(list(reasons.values()), list(reasons), OTHER_CARDS)
    finding = finding.astype(object)
    verdicts = statistics.classify(found, p_adjusted, terms.METRICS[RATIO_METRIC])
    finding[compared] = np.where(shared, statistics.SHARED_COMPILATION, verdicts)
    return {
        "is_baseline": is_baseline,
        "baseline_cell": np.where(is_baseline | (target < 0), None, cells["cell"].to_numpy(object)[target]),
        **{name: _nullable(values) for name, values in columns.items()},
        "finding": finding,
    }


def _pairs(groups: pd.DataFrame, target: np.ndarray) -> pd.DataFrame:
    """Each card that ran a cell and its baseline, per cell the one with most replicates of both first."""
    own = groups[groups["summarised"]]
    own = own.assign(target=target[own["cell"]])
    pairs = own.merge(groups, left_on=["target", "card"], right_on=["cell", "card"], suffixes=("", "_base"))
    pairs["fewest"] = np.minimum(pairs["n"], pairs["n_base"])
    return pairs.sort_values(["fewest", "n", "n_base"], ascending=False, kind="stable")


def _compared(pairs: pd.DataFrame, tables: np.ndarray) -> tuple[np.ndarray, statistics.Comparison]:
    """The cells that share a card with their baseline, and each one's comparison: on the best card where
    that has enough replicates of both, else by the differences on all of them."""
    best = pairs.drop_duplicates("cell")
    alone = best[best["fewest"] >= statistics.MIN_REPLICATES]
    spread = pairs[~pairs["cell"].isin(alone["cell"])]
    several, rows = np.unique(spread["cell"], return_inverse=True)
    found = zip(
        statistics.compare(tables[alone["group"]], tables[alone["group_base"]]),
        statistics.compare_over_cards(
            tables[spread["group"]], tables[spread["group_base"]], rows, len(several)
        ),
        strict=True,
    )
    cells = np.concatenate([alone["cell"], several]).astype(int)
    return cells, statistics.Comparison(*map(np.concatenate, found))


def _baseline_cells(
    cells: pd.DataFrame, baseline: dict[str, str | int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per cell: the place of its baseline cell or -1, whether several match, whether it is one itself."""
    unknown = [axis for axis in baseline if axis not in terms.AXES]
    if unknown:
        raise BaselineError(f"the baseline names {', '.join(unknown)}; axes are {', '.join(terms.AXES)}")
    axes = cells[list(terms.AXES)].astype(str)
    wanted = axes.assign(**{axis: str(value) for axis, value in baseline.items()})
    places = axes.assign(place=np.arange(len(axes)))
    matches = places.groupby(list(terms.AXES), as_index=False)["place"].agg(["first", "size"])
    matched = wanted.merge(matches, how="left", on=list(terms.AXES))
    several = (matched["size"] > 1).to_numpy(bool)
    target = matched["first"].where(~several).fillna(-1).to_numpy(int)
    is_baseline = (axes == wanted).all(axis=1).to_numpy(bool) & bool(baseline)
    return (target if baseline else np.full(len(cells), -1)), several, is_baseline


def _nullable(values: np.ndarray) -> pd.arrays.FloatingArray:
    """NaN as null: pandas keeps the two apart."""
    return pd.arrays.FloatingArray(values, np.isnan(values))
