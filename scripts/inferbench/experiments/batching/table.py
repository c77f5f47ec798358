"""The table of the experiment `batching`: a row per cell, replicate and prompt. What concerns the job as a
whole stands in each of its rows."""

from __future__ import annotations

from math import fsum
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from inferbench.analysis import statistics
from inferbench.tables.schema import HOST_BOUND, column, integer, number

KEY = ("cell", "replicate", "prompt")
COLUMNS = {
    "batch_size": integer("prompts, one by one and as one batch", nullable=False),
    "prompt": integer("which prompt, from 1"),
    "prompt_tokens": integer("its tokens"),
    "alone_s": number("decoding it alone, prefill included; median of the rounds"),
    "text_equal": column("boolean", "every token of its text in the batch is the one that it has alone"),
    "parted_at": integer("the first token that is not, from 1; null when all are"),
    "parted_gap": number(
        "logits of the two likeliest tokens there: their difference / the standard deviation of all logits"
    ),
    "new_tokens": integer("tokens generated per prompt, counted"),
    "padding_share": number("padding / tokens of the padded prompts of the batch"),
    "one_by_one_s": number("all prompts, one after another, prefill included; median of the rounds"),
    "batch_s": number("all prompts as one batch, prefill included; median of the rounds"),
    "speedup": number("one_by_one_s / batch_s of a round; median of the rounds"),
    "one_by_one_tokens_per_s": number("new tokens of all prompts / one_by_one_s"),
    "batch_tokens_per_s": number("new tokens of all prompts / batch_s"),
    "one_by_one_user_tokens_per_s": number("what one user sees after the first token: 1 / TPOT, one by one"),
    "batch_user_tokens_per_s": number("what one user sees after the first token: 1 / TPOT, in the batch"),
    "host_bound": HOST_BOUND,
}


def rows(
    config: dict[str, Any], record: dict[str, Any], samples: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows of one job that ended ok. config: its resolved configuration."""
    job = {**speeds(samples), "host_bound": record["host_bound"]}
    found = []
    for place, parting in enumerate(record["partings"], start=1):
        own = [one for one in samples if one["prompt"] == place and not one["batched"]]
        found.append(
            {
                **job,
                **parting,
                "prompt": place,
                "prompt_tokens": own[0]["prompt_tokens"],
                "alone_s": median(one["seconds"] for one in own),
                "text_equal": parting["parted_at"] is None,
            }
        )
    return found


def speeds(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """What one job's samples say of all its prompts together; medians over the rounds."""
    # (one by one, as a batch) of each round
    rounds = [
        tuple(
            [one for one in samples if one["round"] == place and one["batched"] is way]
            for way in (False, True)
        )
        for place in dict.fromkeys(one["round"] for one in samples)
    ]
    alone = [fsum(one["seconds"] for one in own) for own, _ in rounds]
    # Every prompt of a batch has the batch's times.
    batched = [own[0]["seconds"] for _, own in rounds]
    new_tokens = len(samples[0]["tokens"])
    lengths = [one["prompt_tokens"] for one in rounds[0][1]]
    return {
        "new_tokens": new_tokens,
        "padding_share": padding_share(lengths),
        "one_by_one_s": median(alone),
        "batch_s": median(batched),
        "speedup": median(one / other for one, other in zip(alone, batched)),
        "one_by_one_tokens_per_s": len(lengths) * new_tokens / median(alone),
        "batch_tokens_per_s": len(lengths) * new_tokens / median(batched),
        "one_by_one_user_tokens_per_s": median(user_speed(own) for own, _ in rounds),
        "batch_user_tokens_per_s": median(user_speed(own) for _, own in rounds),
    }


def padding_share(lengths: list[int]) -> float:
    """Padding of prompts of these lengths in tokens, as a share of the batch that is as wide as the longest."""
    return 1 - sum(lengths) / (max(lengths) * len(lengths))


def user_speed(own: list[dict[str, Any]]) -> float:
    """Tokens per second that the prompts' users see after their first token."""
    later = sum(len(one["tokens"]) - 1 for one in own)
    return later / fsum(one["seconds"] - one["ttft_ms"] / 1000 for one in own)


def jobs(table: pd.DataFrame) -> pd.DataFrame:
    """A row per job that ended ok: what a job has once stands in the first of its rows as in all."""
    return table[table["status"] == "ok"].drop_duplicates(["cell", "replicate"])


def centres(jobs: pd.DataFrame, axes: list[str], metrics: list[str]) -> pd.DataFrame:
    """A row per value of `axes`: of each metric the centre across jobs, and `<metric>_low` and `_high`, the
    ends of its 95% interval, null under 3 jobs."""
    found = []
    for key, own in jobs.groupby(axes, sort=False):
        row = dict(zip(axes, key)) | {"model_source": own["model_source"].iloc[0]}
        for metric in metrics:
            interval = statistics.interval(own[metric].to_numpy(float)[None, :])
            row |= {metric: interval.centre[0], f"{metric}_low": interval.low[0]}
            row[f"{metric}_high"] = interval.high[0]
        found.append(row)
    ends = [f"{metric}{end}" for metric in metrics for end in ("", "_low", "_high")]
    return pd.DataFrame(found, columns=[*axes, "model_source", *ends]).replace({np.nan: None})
