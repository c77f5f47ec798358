"""What to run: the fastest cells that keep a campaign's limits, and what each limit costs.

Cells are compared within one model, workload and kind of device. Only cells that may be ranked are
considered. A limit is kept by a cell's centre; whether the interval's end keeps it too is for the words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from inferbench.analysis.limits import Divergences, with_quantities
from inferbench.analysis.statistics import MIN_DIFFERENCE
from inferbench.report.verdicts import READ, TESTED, verdict

SPEED = "decode_tokens_per_s"
ONE_STREAM = "one stream"
THROUGHPUT = "throughput"


@dataclass(frozen=True)
class Cost:
    """The cell to run if `limit` alone is dropped (None: if all are), and how it compares with the choice,
    as `standings` says."""

    limit: str | None
    fastest: pd.Series
    standing: str


@dataclass(frozen=True)
class Exclusion:
    """How many candidates break a limit, of how many it is not known, and the nearest miss: the cell over it
    that takes least (of several the fastest), of those that keep every other limit if there are any (`alone`)."""

    limit: str
    broken: int
    unknown: int
    nearest: pd.Series | None
    alone: bool


@dataclass(frozen=True)
class Choice:
    """The answer for one aim. Rows are those of the summary with the quantities of `limits`.

    candidates: how many cells the choice is among; largest_batch: of them. best: None where no cell is known
    to keep the limits. rivals: the others that keep them, fastest first, with their `standing` against the
    best. fastest: the cell that a better quality was taken before, at the same speed; None where the best is
    the fastest. unknown: cells faster than the best that break no limit and of which one quantity was not measured.
    costs: of each limit that is judged. exclusions: only where nothing fits.
    """

    aim: str
    candidates: int
    largest_batch: int
    best: pd.Series | None
    rivals: pd.DataFrame
    fastest: pd.Series | None
    unknown: pd.DataFrame
    costs: list[Cost]
    exclusions: list[Exclusion]


@dataclass(frozen=True)
class Advice:
    """What to run of one model under one workload on one kind of device.

    cells: all of its cells. device: '' where it is not known. memory: which figure of memory is meant.
    unjudged: limits on what was measured of no candidate; they are left out of every choice. choices: none
    where no cell may be ranked.
    """

    cells: pd.DataFrame
    device: str
    memory: str
    unjudged: list[str]
    choices: list[Choice]


def advise(summary: pd.DataFrame, limits: Mapping[str, float], divergences: Divergences) -> list[Advice]:
    """One advice per model, workload and kind of device that has cells which ended ok, in the summary's
    order; a model without such cells under a workload has one as well, without choices. summary: `with_cards`."""
    # A cell that did not run has no device: it belongs to the first that the others of its group ran on.
    device = summary["device_name"].where(summary["status"] == "ok")
    device = device.fillna(device.groupby([summary["model"], summary["workload"]]).transform("first"))
    keys = [summary["model"], summary["workload"], device.fillna("")]
    return [_advice(own, key[-1], limits, divergences) for key, own in summary.groupby(keys, sort=False)]


def standings(fastest: pd.Series, others: pd.DataFrame) -> list[str]:
    """How each of the others, none of them over 1% faster, stands to the fastest: `slower` where the table's test found
    that, `same` (within 1%, intervals overlap, or the test found nothing of the kind), else `observed`."""
    rows = others[[*READ, SPEED]].to_dict("records")
    found = np.array([verdict(other, fastest).finding for other in rows], dtype=object)
    tested = np.isin(found, TESTED)
    near = ~tested & (by_intervals(fastest, others, SPEED) == "same")
    return np.select([found == "slower", tested | near], ["slower", "same"], "observed").tolist()


def by_intervals(best: pd.Series, others: pd.DataFrame, metric: str) -> np.ndarray:
    """What intervals alone say of the best and each of the others: `same` (within 1%, or they overlap), `unknown` (one
    is missing), else `apart`. metric: the column to judge by, more being better, with its ends `_low` and `_high`."""
    values, high = (others[name].to_numpy(float, na_value=np.nan) for name in (metric, f"{metric}_high"))
    low = np.nan if pd.isna(best[f"{metric}_low"]) else float(best[f"{metric}_low"])
    near = (best[metric] < (1 + MIN_DIFFERENCE) * values) | (high >= low)
    return np.select([near, np.isnan(high) | np.isnan(low)], ["same", "unknown"], "apart")


def _advice(own: pd.DataFrame, device: str, limits: Mapping[str, float], divergences: Divergences) -> Advice:
    ranked = own[own["valid"] & own[SPEED].notna()]
    ranked, memory = with_quantities(ranked, divergences)
    ranked = ranked.sort_values(SPEED, ascending=False, kind="stable")
    unjudged = [limit for limit in limits if ranked[limit].isna().all()]
    judged = {limit: bound for limit, bound in limits.items() if limit not in unjudged}
    pools = {ONE_STREAM: ranked[ranked["batch_size"] == 1]}
    if set(ranked["batch_size"]) != {1}:
        pools[THROUGHPUT] = ranked
    choices = [_choice(aim, pool, judged) for aim, pool in pools.items() if len(pool)]
    return Advice(own, device, memory, unjudged if len(ranked) else [], choices)


def _choice(aim: str, pool: pd.DataFrame, limits: Mapping[str, float]) -> Choice:
    """The pool is in the order of speed, fastest first."""
    broken = pd.DataFrame({limit: pool[limit] > bound for limit, bound in limits.items()}, pool.index)
    unknown = pd.DataFrame({limit: pool[limit].isna() for limit in limits}, pool.index)
    kept = ~broken & ~unknown
    fitting = pool[kept.all(axis=1)]
    in_doubt = pool[~broken.any(axis=1) & unknown.any(axis=1)]
    if fitting.empty:
        exclusions = [_exclusion(limit, pool, broken, unknown, kept) for limit in limits]
        return Choice(aim, len(pool), pool["batch_size"].max(), None, fitting, None, in_doubt, [], exclusions)
    fastest, best = fitting.iloc[0], _pick(fitting)
    rivals = fitting[fitting["cell"] != best["cell"]]
    rivals = rivals.assign(standing=standings(best, rivals))
    in_doubt = in_doubt[in_doubt[SPEED] > best[SPEED]]
    costs = [_cost(limit, pool[kept.drop(columns=limit).all(axis=1)], best) for limit in limits]
    if limits and _pick(pool)["cell"] not in {cost.fastest["cell"] for cost in costs}:
        costs.append(_cost(None, pool, best))
    passed_over = None if fastest["cell"] == best["cell"] else fastest
    return Choice(aim, len(pool), pool["batch_size"].max(), best, rivals, passed_over, in_doubt, costs, [])


def _pick(cells: pd.DataFrame) -> pd.Series:
    """The fastest; of those within 1% of it, if the divergence of all is known, the one with the least."""
    near = cells[cells.iloc[0][SPEED] < (1 + MIN_DIFFERENCE) * cells[SPEED]]
    return cells.iloc[0] if near["kl"].isna().any() else near.sort_values("kl", kind="stable").iloc[0]


def _cost(limit: str | None, without: pd.DataFrame, best: pd.Series) -> Cost:
    fastest = _pick(without)
    [standing] = standings(fastest, without[without["cell"] == best["cell"]])
    return Cost(limit, fastest, standing)


def _exclusion(
    limit: str, pool: pd.DataFrame, broken: pd.DataFrame, unknown: pd.DataFrame, kept: pd.DataFrame
) -> Exclusion:
    over = pool[broken[limit]]
    alone = over[kept.drop(columns=limit).all(axis=1)[over.index]]
    misses = alone if len(alone) else over
    nearest = misses.loc[misses[limit].idxmin()] if len(misses) else None
    return Exclusion(limit, len(over), int(unknown[limit].sum()), nearest, len(alone) > 0)
