"""The table of the experiment `kv_cache`: a row per cell, replicate and prompt length."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from inferbench.analysis import statistics
from inferbench.tables.schema import HOST_BOUND, integer, number, text

KEY = ("cell", "replicate", "prompt_tokens")
SUBJECT = ["model", "precision", "attention"]
COLUMNS = {
    "cache": text("off, dynamic (grows) or static (of fixed size)", nullable=False),
    "prompt_tokens": integer("length of the prompt that was there before the timed steps"),
    "context_tokens": number("tokens that a timed step attends to, its own included; mean"),
    "step_ms": number("time of a decode step, its token read back; median of the steps"),
    "cache_bytes": integer("keys, values and states held after the last step, from the cache"),
    "cache_formula_bytes": integer(
        "2 x layers x kv heads x head dim x bytes x tokens; a static cache counts every slot; null where the model's cache"
        " is not that"
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
        per_token = record["kv_bytes_per_token"]
        found.append(
            {
                "prompt_tokens": length,
                "context_tokens": sum(sample["context_tokens"] for sample in own) / len(own),
                "step_ms": median(sample["step_ms"] for sample in own),
                "cache_bytes": own[-1]["cache_bytes"],
                "cache_formula_bytes": None if per_token is None else held * per_token,
                "host_bound": record["host_bound"],
            }
        )
    return found


def slopes(table: pd.DataFrame) -> pd.DataFrame:
    """A row per model, precision, attention and cache: the mean of the straight lines through each replicate's
    step times, as `base_ms` (a step's time at no context) and `slope_ms` (more for each 1 000 tokens of
    context), with the 95% interval of the slope over the replicates, `slope_low` and `slope_high`, null with
    fewer than 3. Null as well where no replicate has two contexts."""
    ok = table[table["status"] == "ok"]
    line_of = [*SUBJECT, "cache"]
    found = []
    for key, own in ok.groupby(line_of, sort=False):
        # Processes differ in level: one line through all of their points would take that for noise of the slope.
        lines = [
            stats.linregress(job["context_tokens"].astype(float) / 1000, job["step_ms"].astype(float))
            for _, job in own.groupby("replicate")
            if job["context_tokens"].nunique() > 1
        ]
        slope, low, high = statistics.mean_interval(np.array([[line.slope for line in lines]]))
        found.append(
            {
                **dict(zip(line_of, key)),
                "base_ms": np.mean([line.intercept for line in lines]) if lines else np.nan,
                "slope_ms": slope[0],
                "slope_low": low[0],
                "slope_high": high[0],
            }
        )
    return pd.DataFrame(found, columns=[*line_of, "base_ms", "slope_ms", "slope_low", "slope_high"])
