"""What tokens cost: money per million at a price per GPU hour, and energy per token.

Both are of decoding alone. A server that waits, prefills or loads costs more; `generate` cannot be
taken apart, so its energy has the prefill in it.
"""

from __future__ import annotations

import pandas as pd

from inferbench.tables.terms import AXES

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
