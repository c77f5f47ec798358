"""The table of the experiment `sampling`: a row per cell and replicate."""

from __future__ import annotations

from statistics import mean, median
from typing import Any

import numpy as np
import pandas as pd

from inferbench.analysis.diversity import distinct, repetition, self_bleu
from inferbench.analysis.statistics import interval, mean_interval, stack
from inferbench.tables.schema import HOST_BOUND, integer, number, text

KEY = ("cell", "replicate")
COLUMNS = {
    "strategy": text("name of the sampling strategy's Hydra file", nullable=False),
    "texts": integer("texts drawn: every prompt with every seed, in one batch"),
    "tokens_mean": number("mean tokens of a text, the one that ends it included"),
    "log_likelihood": number(
        "mean log-probability of a text's tokens under the model itself, without temperature or filters, nats a "
        "token; mean over texts. Text columns are null for synthetic models",
        None,
    ),
    "log_likelihood_low": number("lower end of its 95% interval over prompts; null under 3 prompts", None),
    "log_likelihood_high": number("upper end", None),
    "distinct_1": number("distinct tokens of all texts / all their tokens"),
    "distinct_2": number("distinct pairs of neighbouring tokens of all texts / all such pairs"),
    "repetition": number("share of a text's runs of 4 tokens that it has said before; mean over texts"),
    "self_bleu": number("BLEU of a text against those of the other seeds of its prompt, 0 to 100; mean"),
    "tokens_per_s": number("rows of the batch / median time of a step, its tokens read back"),
    "greedy_tokens_per_s": number("the same of greedy decoding, same process and batch"),
    "greedy_cost": number("time of a step / time of the greedy step beside it; median of steps"),
    "host_bound": HOST_BOUND,
}
SUBJECT = ["model", "precision", "attention"]


def rows(
    config: dict[str, Any], record: dict[str, Any], samples: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The row of one job that ended ok."""
    step_ms, greedy_ms = record["step_ms"], record["greedy_step_ms"]
    row = {
        "texts": len(samples),
        "tokens_per_s": 1000 * len(samples) / median(step_ms),
        "greedy_tokens_per_s": 1000 * len(samples) / median(greedy_ms),
        "greedy_cost": median(own / beside for own, beside in zip(step_ms, greedy_ms)),
        "host_bound": record["host_bound"],
    }
    return [row if config["model"]["source"] == "synthetic" else row | _text_columns(samples)]


def _text_columns(samples: list[dict[str, Any]]) -> dict[str, float | None]:
    tokens = [sample["tokens"] for sample in samples]
    groups = [
        [sample for sample in samples if sample["prompt"] == prompt]
        for prompt in dict.fromkeys(sample["prompt"] for sample in samples)
    ]
    repeated = [share for share in map(repetition, tokens) if share is not None]
    by_prompt = [mean(sample["log_likelihood"] for sample in group) for group in groups]
    likelihood = mean_interval(np.array([by_prompt]))
    low, high = likelihood.low.item(), likelihood.high.item()
    return {
        "tokens_mean": mean(map(len, tokens)),
        "log_likelihood": likelihood.centre.item(),
        "log_likelihood_low": None if np.isnan(low) else low,
        "log_likelihood_high": None if np.isnan(high) else min(high, 0.0),
        "distinct_1": distinct(tokens, 1),
        "distinct_2": distinct(tokens, 2),
        "repetition": mean(repeated) if repeated else None,
        "self_bleu": self_bleu([[sample["text"] for sample in group] for group in groups]),
    }


def per_strategy(table: pd.DataFrame) -> pd.DataFrame:
    """A row per cell that ended ok, in the order declared: texts of its first replicate (every replicate
    draws the same), speeds and cost as geometric means of the replicates, `greedy_cost_low`, `_high` the 95%
    interval of the cost."""
    ok = table[table["status"] == "ok"].sort_values("replicate", kind="stable")
    first = ok.drop_duplicates("cell")
    order = {cell: place for place, cell in enumerate(dict.fromkeys(table["cell"]))}
    first = first.sort_values("cell", key=lambda cells: cells.map(order), kind="stable")
    number_of = {cell: place for place, cell in enumerate(first["cell"])}
    members = ok["cell"].map(number_of).to_numpy(dtype=int)
    found = {
        name: interval(stack(ok[name].to_numpy(dtype=float), members, len(first)))
        for name in ("tokens_per_s", "greedy_tokens_per_s", "greedy_cost")
    }
    cost = found["greedy_cost"]
    centres = {name: ends.centre for name, ends in found.items()}
    return first.assign(**centres, greedy_cost_low=cost.low, greedy_cost_high=cost.high)
