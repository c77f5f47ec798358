"""What the report knows of every cell, column by column: for the table and for the explorer's choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from inferbench.analysis import statistics
from inferbench.analysis.summarise import RATIO_METRIC
from inferbench.presentation.page_tables import PAGE, Table, with_interval
from inferbench.presentation.plot_data import plotted
from inferbench.presentation.words import (
    STATUS_WORDS,
    byte_unit,
    number,
    precision_order,
    significant,
    split_axes,
)
from inferbench.tables import terms

#: Metrics with their units. Those of TABLE stand in the table; all can be chosen as axes of the plot.
METRICS = {
    "decode_tokens_per_s": "decode tokens/s",
    "ttft_ms": "TTFT, ms",
    "tpot_ms": "TPOT, ms",
    "itl_p99_ms": "ITL p99, ms",
    "joules_per_token": "J/token",
    "decode_mbu": "decode MBU",
    "prefill_tokens_per_s": "prefill tokens/s",
    "prefill_mfu": "prefill MFU",
    "gpu_busy_fraction": "GPU busy share",
}
TABLE_METRICS = list(METRICS)[:6]
SIZES = {
    "weight_bytes": "weights",
    "kv_cache_bytes": "KV cache",
    "peak_allocated_bytes": "peak allocated",
    "process_gpu_bytes": "GPU memory of the process",
    "peak_rss_bytes": "peak RSS",
    "predicted_bytes": "predicted memory",
}
TABLE_SIZES = list(SIZES)[:5]
#: Findings that say more beside a cell.
FINDINGS = {
    statistics.TOO_FEW: "too few replicates on a shared card",
    statistics.SHARED_COMPILATION: "replicates share a compilation",
    "no valid rate of the baseline": "the baseline may not be ranked",
}
#: A reason is given in full among the cells that are not ok.
REASON_LETTERS = 300


@dataclass(frozen=True)
class Words:
    """A column of words, a row per cell. order: its distinct words as they are to be listed and sorted."""

    title: str
    values: list[str]
    order: list[str]
    in_table: bool = True

    def texts(self) -> list[str]:
        return self.values

    def data(self) -> dict[str, Any]:
        place = {word: place for place, word in enumerate(self.order)}
        return {"words": self.order, "codes": [place[value] for value in self.values]}


@dataclass(frozen=True)
class Numbers:
    """A column of numbers, a row per cell, with the ends of 95% intervals where they have any.

    ranked: whether a flagged cell's number may stand in it, which is then not to be ranked.
    """

    title: str
    values: pd.Series
    low: pd.Series | None = None
    high: pd.Series | None = None
    in_table: bool = True
    ranked: bool = False

    def texts(self) -> list[str]:
        if self.low is None:
            return [number(value) for value in self.values]
        return with_interval(self.values, self.low, self.high)

    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = {"numbers": _short(self.values), "ranked": self.ranked}
        if self.low is not None and self.low.notna().any():
            data |= {"low": _short(self.low), "high": _short(self.high)}
        return data


def cell_columns(measurements: pd.DataFrame, summary: pd.DataFrame) -> dict[str, Words | Numbers]:
    """A row per cell of `summary`, in its order: axes, status, metrics, sizes and what was found.

    In the table axes with one value are left out. A cell whose every replicate is flagged has the centre
    of these; it is not valid. Columns without any number are left out.
    """
    _, varying = split_axes(summary, list(terms.AXES))
    quantities = [*METRICS, *SIZES]
    drawn = plotted(measurements, summary, quantities)
    drawn = drawn[drawn["replicate"].isna()].set_index("cell")
    own = {quantity: drawn[drawn["quantity"] == quantity].loc[summary["cell"]] for quantity in quantities}

    columns: dict[str, Words | Numbers] = {
        axis: _words(axis, axis.replace("_", " "), summary[axis], axis in (varying or ["precision"]))
        for axis in terms.AXES
    }
    columns["status"] = _words("status", "status", summary["status"].map(lambda s: STATUS_WORDS.get(s, s)))
    for metric, title in METRICS.items():
        rows = own[metric]
        interval = rows["low"], rows["high"]
        columns[metric] = Numbers(title, rows["value"], *interval, metric in TABLE_METRICS, ranked=True)
        if metric == RATIO_METRIC:  # what was found of a speed stands beside it
            ratio = [summary[name].astype(float) for name in ("ratio", "ratio_low", "ratio_high")]
            columns["ratio"] = Numbers("× baseline", *ratio)
            columns["p_adjusted"] = Numbers("p, adjusted", summary["p_adjusted"].astype(float))
            columns["finding"] = _words("finding", "against baseline", summary["finding"].replace(FINDINGS))
    for size, title in SIZES.items():
        values = own[size]["value"]
        unit, per_unit = byte_unit(values.max())
        columns[size] = Numbers(f"{title}, {unit}", values / per_unit, in_table=size in TABLE_SIZES)
    ranked = summary["replicates_valid"].astype(str) + " of " + summary["replicates_declared"].astype(str)
    fewer = bool((summary["replicates_valid"] < summary["replicates_ok"]).any())
    columns["ranked"] = _words("ranked", "ranked replicates", ranked, fewer)
    columns["flags"] = _words("flags", "flags", summary["flags"])
    columns["device_name"] = _words("device_name", "device", summary["device_name"], False)
    reasons = summary["reason"].fillna("").str.slice(0, REASON_LETTERS)
    columns["reason"] = _words("reason", "reason", reasons, False)
    return {name: own for name, own in columns.items() if isinstance(own, Words) or own.values.notna().any()}


def first_rows(columns: dict[str, Words | Numbers]) -> Table:
    """The table's first page as texts."""
    shown = [column for column in columns.values() if column.in_table]
    titles = [column.title for column in shown]
    words = {column.title for column in shown if isinstance(column, Words)} - {"batch size"}
    rows = [list(row) for row in zip(*(column.texts() for column in shown), strict=True)]
    return Table(titles, set(titles) - words, rows[:PAGE], max(0, len(rows) - PAGE))


def _words(name: str, title: str, values: pd.Series, in_table: bool = True) -> Words:
    texts = values.astype("string").fillna("").tolist()
    if name == "precision":
        order = precision_order(texts)
    elif name == "batch_size":
        order = sorted(set(texts), key=int)
    else:
        order = list(dict.fromkeys(texts))
    return Words(title, texts, order, in_table and any(texts))


def _short(values: pd.Series) -> list[float | int | None]:
    """Numbers that are short as JSON: 6 significant digits, whole ones without a point."""
    rounded = [None if pd.isna(value) else significant(float(value)) for value in values]
    return [int(v) if v is not None and v.is_integer() else v for v in rounded]
