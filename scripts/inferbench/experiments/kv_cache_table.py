"""The table of the experiment `kv_cache`: a row per cell, replicate and prompt length."""

from __future__ import annotations

from statistics import median
from typing import Any

import pandas as pd
from scipy import stats

from inferbench.schema import HOST_BOUND, integer, number, text

KEY = ("cell", "replicate", "prompt_tokens")
SUBJECT = ["model", "precision", "attention"]
COLUMNS = {
    "cache": text("off, dynamic (grows) or static (of fixed size)", nullable=False),
    "prompt_tokens": integer("length of the prompt that was there before the timed steps"),
    "context_tokens": number("tokens that a timed step attends to, its own included; mean"),
    "step_ms": number("time of a decode step, its token read back; median of the steps"),
    "cache_bytes": integer("keys and values held after the last step, from the cache"),
    "cache_formula_bytes": integer(
        "2 x layers x kv heads x head dim x bytes x tokens; a static cache counts every slot"
    ),
    "host_bound": HOST_BOUND,
}


def rows(
    config: dict[str, Any], record: dict[str, Any], samples: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows of one job that ended ok. config: its resolved configuration."""
    cache = config["experiment"]["cache"]
    found = []
    for length in dict.fromkeys(sample["prompt_tokens"] for sample in samples):
        own = [sample for sample in samples if sample["prompt_tokens"] == length]
        held = {"off": 0, "dynamic": own[-1]["context_tokens"], "static": record["cache_slots"]}[cache]
        found.append(
            {
                "prompt_tokens": length,
                "context_tokens": sum(sample["context_tokens"] for sample in own) / len(own),
                "step_ms": median(sample["step_ms"] for sample in own),
                "cache_bytes": own[-1]["cache_bytes"],
                "cache_formula_bytes": held * record["kv_bytes_per_token"],
                "host_bound": record["host_bound"],
            }
        )
    return found


def slopes(table: pd.DataFrame) -> pd.DataFrame:
    """A row per model, precision, attention and cache: the straight line through the replicates' step
    times, as `base_ms` (a step's time at no context), `slope_ms` (more for each 1 000 tokens of context)
    and its 95% interval `slope_low`, `slope_high`; null with fewer than 3 points, or one context alone."""
    ok = table[table["status"] == "ok"]
    line_of = [*SUBJECT, "cache"]
    found = []
    for key, own in ok.groupby(line_of, sort=False):
        thousands, times = own["context_tokens"].astype(float) / 1000, own["step_ms"].astype(float)
        line = stats.linregress(thousands, times) if len(own) > 2 and thousands.nunique() > 1 else None
        half = stats.t.ppf(0.975, len(own) - 2) * line.stderr if line else None
        found.append(
            {
                **dict(zip(line_of, key)),
                "base_ms": line and line.intercept,
                "slope_ms": line and line.slope,
                "slope_low": line and line.slope - half,
                "slope_high": line and line.slope + half,
            }
        )
    return pd.DataFrame(found, columns=[*line_of, "base_ms", "slope_ms", "slope_low", "slope_high"])
