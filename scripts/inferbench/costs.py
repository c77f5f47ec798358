"""What tokens cost: money per million at a price per GPU hour, and energy per token.

Both are of decoding alone. A server that waits, prefills or loads costs more; `generate` cannot be
taken apart, so its energy has the prefill in it.
"""

from __future__ import annotations

import pandas as pd

from inferbench.advice import by_intervals
from inferbench.presentation import cell_words, counted, model_label, number
from inferbench.schema import AXES

RATE = "decode_tokens_per_s"
ENERGY = "joules_per_token"
THRIFT = "tokens_per_joule"
SUBJECT = ["device_name", "model", "workload"]


def per_million_tokens(price_per_hour: float, tokens_per_s: pd.Series) -> pd.Series:
    """Price of a million output tokens, in the price's currency: price / 3600 / rate x 1e6."""
    return price_per_hour / 3600 / tokens_per_s * 1e6


def costs(summary: pd.DataFrame, price_per_hour: float | None) -> pd.DataFrame:
    """A row per cell that may be ranked and has a cost or an energy, in the summary's order.

    Columns: the axes, model_source, device_name, tokens/s, `cost` with its interval (from that of the rate),
    joules and tokens per joule with theirs; what is not known is NaN.
    """
    valid = summary[summary["valid"].astype(bool)]
    rate = {end: valid[f"{RATE}{end}"].astype(float) for end in ("", "_low", "_high")}
    # Without a price there is no cost, whatever the rate.
    price = float("nan") if price_per_hour is None else price_per_hour
    joules = {end: valid[f"{ENERGY}{end}"].astype(float) for end in ("", "_low", "_high")}
    table = valid[[*AXES, "model_source", "device_name"]].assign(
        rate=rate[""],
        cost=per_million_tokens(price, rate[""]),
        cost_low=per_million_tokens(price, rate["_high"]),
        cost_high=per_million_tokens(price, rate["_low"]),
        joules=joules[""],
        joules_low=joules["_low"],
        joules_high=joules["_high"],
        tokens_per_joule=1 / joules[""],
        tokens_per_joule_low=1 / joules["_high"],
        tokens_per_joule_high=1 / joules["_low"],
    )
    return table[table[["cost", "joules"]].notna().any(axis=1)].reset_index(drop=True)


def cost_sentences(table: pd.DataFrame, price_per_hour: float | None) -> list[str]:
    """What the table is of; per device, model and workload the cheapest cell, and the most tokens per joule by batch
    size."""
    if table.empty:
        return []
    named = [axis for axis in ("workload", "device_name") if table[axis].nunique() > 1]
    sentences = []
    if table["cost"].notna().any():
        sentences.append(
            f"At {number(price_per_hour)} per GPU hour, of decoding alone: prefill, loading and waiting come on"
            " top, and a model on several GPUs costs that many times as much."
        )
        for _, own in table[table["cost"].notna()].groupby(SUBJECT, sort=False, dropna=False):
            best = own.loc[own["cost"].idxmin()]
            sentences.append(
                f"Least for a million output tokens of {_subject(best, named)}, by its centre:"
                f" {number(best['cost'])} ({cell_words(best)})."
            )
    for _, own in table[table["joules"].notna()].groupby(SUBJECT, sort=False, dropna=False):
        sentences += [
            f"Most tokens per joule of {_subject(own.iloc[0], named)} at batch size {batch}, by its centre:"
            f" {_thriftiest(cells)}."
            for batch, cells in own.groupby("batch_size")
        ]
    if table["joules"].notna().any():
        generate = (table["joules"].notna() & (table["execution"] == "generate")).any()
        whole = "; that of generate, which cannot be taken apart, has its prefill in it" if generate else ""
        sentences.append(
            f"Energy is of decoding, without the prefill{whole}. Its differences are not tested."
        )
    return sentences


def _thriftiest(cells: pd.DataFrame) -> str:
    """The cell with the most tokens per joule, and which others have as many or lack an interval."""
    cells = cells.sort_values(THRIFT, ascending=False, kind="stable")
    best, others = cells.iloc[0], cells.iloc[1:]
    standing = by_intervals(best, others, THRIFT)
    words = f"{number(best[THRIFT])} tokens/J ({cell_words(best)})"
    if len(near := others[standing == "same"]):
        words += f", not told apart from {' or '.join(cell_words(row) for _, row in near.iterrows())}"
    if unknown := int((standing == "unknown").sum()):
        words += f", no intervals against {counted(unknown, 'other cell')}"
    return words


def _subject(row: pd.Series, named: list[str]) -> str:
    label = model_label(row["model"], row["model_source"])
    label += f" under workload {row['workload']}" if "workload" in named else ""
    return label + (f" on {row['device_name']}" if "device_name" in named else "")
