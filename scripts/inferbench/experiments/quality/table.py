"""The table of the experiment `quality`: a row per cell and replicate, from the windows of its text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from inferbench.analysis.statistics import Interval, interval, mean_interval
from inferbench.tables.schema import integer, number, text

KEY = ("cell", "replicate")


def _with_ends(name: str, description: str) -> dict[str, Any]:
    return {
        name: number(description),
        f"{name}_low": number("lower end of its 95% interval over windows; null under 3 windows"),
        f"{name}_high": number("upper end"),
    }


COLUMNS = {
    "reference": text("the precision that the others are compared with", nullable=False),
    "windows": integer("pieces of the text that were read, each a sample"),
    "predicted_tokens": integer("tokens of the text whose probability was taken, over all windows"),
    **_with_ends(
        "kl", "mean KL divergence of the next-token distributions from the reference's, nats a token"
    ),
    **_with_ends("top1", "share of positions at which the likeliest token is the reference's"),
    **_with_ends("perplexity", "exp of the mean negative log-probability of the text's tokens"),
    **_with_ends("perplexity_ratio", "perplexity / the reference's, window by window"),
}


def rows(
    config: dict[str, Any], record: dict[str, Any], samples: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The row of one job that ended ok. Windows are equally long, so the geometric mean of their perplexities
    is that of the whole text."""
    windows = [sample for sample in samples if sample["window"] is not None]
    nll, reference, kl, top1 = (
        np.array([[window[name] for window in windows]]) for name in ("nll", "reference_nll", "kl", "top1")
    )
    quantities = {
        "kl": mean_interval(kl),
        "top1": mean_interval(top1),
        "perplexity": interval(np.exp(nll)),
        "perplexity_ratio": interval(np.exp(nll - reference)),
    }
    row = {
        "windows": len(windows),
        "predicted_tokens": sum(window["predicted_tokens"] for window in windows),
    }
    for name, found in quantities.items():
        row |= _columns(name, found, most=1.0 if name == "top1" else np.inf)
    return [row]


def _columns(name: str, found: Interval, most: float) -> dict[str, float]:
    """An interval's ends beyond what the quantity can be (under 0, a share above 1) are cut off."""
    ends = {f"{name}_low": found.low, f"{name}_high": found.high}
    return {name: found.centre.item()} | {
        key: np.clip(end, 0, most).item() for key, end in ends.items() if not np.isnan(end.item())
    }


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """A row per cell that ended ok, its first replicate: by model, attention and reference, nearest to the
    reference first (by KL; on little text perplexities change places)."""
    ok = table[table["status"] == "ok"].sort_values("replicate", kind="stable").drop_duplicates("cell")
    order = {name: place for place, name in enumerate(dict.fromkeys(table["model"]))}
    return ok.sort_values(["model", "attention", "reference", "kl"], kind="stable").sort_values(
        "model", key=lambda names: names.map(order), kind="stable"
    )
