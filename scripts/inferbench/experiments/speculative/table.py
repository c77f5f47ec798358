"""The table of the experiment `speculative`: a row per cell and replicate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import fsum
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import brentq

from inferbench.analysis import statistics
from inferbench.tables.schema import column, integer, number, text

KEY = ("cell", "replicate")
SUBJECT = ["model", "precision", "attention"]
AXES = [*SUBJECT, "draft", "draft_tokens", "strategy"]
#: Columns that a cell has as the median of its replicates.
MEDIANS = ["draft_cost", "check_cost", "plain_tokens_per_s", "draft_weight_bytes"]
COLUMNS = {
    "draft": text("name of the draft's Hydra file", nullable=False),
    "draft_tokens": integer("tokens of a proposal (k)", nullable=False),
    "strategy": text("name of the sampling strategy's Hydra file, of draft and main model", nullable=False),
    "host_bound": column("boolean", "on a GPU, but its passes are not captured: bound by kernel launches"),
    "draft_weight_bytes": integer("weights of the draft, beside the main model's; null without one"),
    "proposed": integer("tokens proposed, over all prompts"),
    "examined": integer("of these, tokens that the rule decided on; those after a rejected one are dropped"),
    "accepted": integer("of these, tokens that were kept"),
    "accepted_share": number("accepted / proposed"),
    "accepted_share_low": number("lower end of its 95% interval (Wilson), passes taken as independent"),
    "accepted_share_high": number("upper end"),
    "acceptance": number("accepted / examined: the chance that a proposed token is kept"),
    "acceptance_low": number("lower end of its 95% interval (Wilson), tokens taken as independent"),
    "acceptance_high": number("upper end"),
    "proposing_share": number("passes of the main model that had a proposal to check"),
    "main_passes": integer("passes of the main model after the prompts"),
    "draft_passes": integer("passes of the draft after the prompts"),
    "tokens_per_pass": number("tokens that a pass of the main model gave, mean"),
    "plain_tokens_per_s": number("decoded tokens / time, plain, same process and prompts"),
    "speculative_tokens_per_s": number("the same with the draft"),
    "speedup": number("speculative over plain tokens/s"),
    "main_step_ms": number("a pass of the main model that gives one token, alone; median"),
    "check_ms": number("a pass of the main model that checks a proposal, alone; median"),
    "proposal_ms": number("making a proposal, alone; median"),
    "draft_cost": number("proposal_ms / draft_tokens / main_step_ms (c)"),
    "check_cost": number("check_ms / main_step_ms"),
    "expected_speedup": number("from acceptance, draft_cost, check_cost and proposing_share"),
    "expected_speedup_paper": number("the same with a check that costs a plain step, as 2211.17192 has it"),
    "break_even": number("acceptance from which it is faster at these costs; null if at none"),
    "equal_texts": number("share of prompts with the plain text; null when sampled"),
}


class Share(NamedTuple):
    """A share and its 95% interval."""

    share: float
    low: float
    high: float


def rows(
    config: Mapping[str, Any], record: Mapping[str, Any], samples: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The row of one job that ended ok. config: its resolved configuration."""
    settings = config["experiment"]
    by_mode = {mode: [one for one in samples if one["mode"] == mode] for mode in ("plain", "speculative")}
    speeds = {
        mode: 1000 * sum(one["decoded_tokens"] for one in own) / fsum(one["decode_ms"] for one in own)
        for mode, own in by_mode.items()
    }
    costs = {name: record[name] for name in ("main_step_ms", "check_ms", "proposal_ms")}
    row = {
        "host_bound": record["host_bound"],
        "draft_weight_bytes": record.get("draft_weight_bytes"),
        **counts(by_mode["speculative"]),
        "draft_passes": sum(one["draft_passes"] for one in by_mode["speculative"]),
        "plain_tokens_per_s": speeds["plain"],
        "speculative_tokens_per_s": speeds["speculative"],
        "speedup": speeds["speculative"] / speeds["plain"],
        **costs,
        "draft_cost": costs["proposal_ms"] / settings["draft_tokens"] / costs["main_step_ms"],
        "check_cost": costs["check_ms"] / costs["main_step_ms"],
    }
    if not settings["strategy"]["do_sample"]:
        pairs = zip(*([one["tokens"] for one in sorted(own, key=_prompt)] for own in by_mode.values()))
        row["equal_texts"] = float(np.mean([plain == other for plain, other in pairs]))
    return [row | expectations(row, settings["draft_tokens"])]


def _prompt(sample: Mapping[str, Any]) -> int:
    return sample["prompt"]


def counts(runs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What was proposed and kept over these runs, and the shares with their intervals."""
    runs = list(runs)
    proposed = np.concatenate([np.asarray(run["proposed"], int) for run in runs])
    accepted = np.concatenate([np.asarray(run["accepted"], int) for run in runs])
    examined = int(np.minimum(accepted + 1, proposed).sum())
    kept = int(accepted.sum())
    # Tokens of one pass are not independent: none is kept after a rejected one. So a pass is one
    # observation, which is wide enough: a share with mean p varies at most as a coin that shows p.
    share = wilson(kept / max(1, proposed.sum()), int((proposed > 0).sum()))
    acceptance = wilson(kept / max(1, examined), examined)
    return {
        "proposed": int(proposed.sum()),
        "examined": examined,
        "accepted": kept,
        **{f"accepted_share{end}": value for end, value in zip(("", "_low", "_high"), share)},
        **{f"acceptance{end}": value for end, value in zip(("", "_low", "_high"), acceptance)},
        "proposing_share": float((proposed > 0).mean()),
        "main_passes": len(accepted),
        "tokens_per_pass": float((accepted + 1).mean()),
    }


def wilson(share: float, observations: int) -> Share:
    """The share with Wilson's 95% interval (E. B. Wilson, JASA 22, 1927); NaN without observations."""
    if not observations:
        return Share(np.nan, np.nan, np.nan)
    weight = stats.norm.ppf(0.975) ** 2 / observations
    middle = (share + weight / 2) / (1 + weight)
    half = np.sqrt(weight * share * (1 - share) + weight**2 / 4) / (1 + weight)
    return Share(share, max(0.0, middle - half), min(1.0, middle + half))


def tokens_expected(acceptance, length: int):
    """Tokens that a pass of the main model gives if each of `length` proposed tokens is kept with chance
    `acceptance`: (1 - a^(k + 1)) / (1 - a), equation 1 of 2211.17192. Numbers or arrays."""
    return np.polyval(np.ones(length + 1), acceptance)


def expected_speedup(
    acceptance: float, length: int, draft_cost: float, check_cost: float = 1.0, proposing_share: float = 1.0
) -> float:
    """Plain time per token over speculative: tokens of a pass over its cost in plain steps.

    draft_cost: a proposed token over a plain step (c); check_cost: a pass that checks `length` tokens over
    a plain step; proposing_share: passes that have a proposal, the others being plain steps. Theorem 3.8
    of 2211.17192, which takes the last two as 1.
    """
    plain = 1 - proposing_share
    tokens = proposing_share * tokens_expected(acceptance, length) + plain
    return tokens / (proposing_share * (length * draft_cost + check_cost) + plain)


def break_even(length: int, draft_cost: float, check_cost: float) -> float:
    """The acceptance at which a proposal costs what it gives; 0 if it always gives more, NaN if never."""
    cost = length * draft_cost + check_cost
    if cost <= 1:
        return 0.0
    if cost >= length + 1:
        return np.nan
    return brentq(lambda acceptance: tokens_expected(acceptance, length) - cost, 0.0, 1.0)


def expectations(row: Mapping[str, Any], length: int) -> dict[str, float]:
    """The columns that follow from a row's acceptance and costs."""
    proposing, acceptance = row["proposing_share"], row["acceptance"]
    acceptance = 0.0 if np.isnan(acceptance) else acceptance  # nothing was proposed
    return {
        "expected_speedup": expected_speedup(
            acceptance, length, row["draft_cost"], row["check_cost"], proposing
        ),
        "expected_speedup_paper": expected_speedup(
            acceptance, length, row["draft_cost"], proposing_share=proposing
        ),
        "break_even": break_even(length, row["draft_cost"], row["check_cost"]),
    }


def by_cell(table: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """A row per cell with an ok replicate: counts over all its runs that differ, costs as medians of theirs, and
    the speed-up's centre and, from 3 replicates on, 95% interval."""
    found = []
    for cell, own in table[table["status"] == "ok"].groupby("cell", sort=False):
        runs = samples[(samples["cell"] == cell) & (samples["mode"] == "speculative")]
        # A run that comes out the same in another replicate is no further observation of what is accepted.
        counted = [
            (run["prompt"], *map(tuple, (run["proposed"], run["accepted"], run["tokens"])))
            for run in runs.to_dict("records")
        ]
        runs = runs[~pd.Series(counted, runs.index).duplicated()].to_dict("records")
        speed = statistics.interval(own["speedup"].astype(float).to_numpy()[None])
        row = {
            "cell": cell,
            **own.iloc[0][[*AXES, "model_source", "host_bound"]],
            **counts(runs),
            "speedup": speed.centre[0],
            "speedup_low": speed.low[0],
            "speedup_high": speed.high[0],
            **own[MEDIANS].astype("Float64").astype(float).median(),
            "equal_texts": own["equal_texts"].astype("Float64").astype(float).mean(),
        }
        found.append(row | expectations(row, int(row["draft_tokens"])))
    return pd.DataFrame(found)
