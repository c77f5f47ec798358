"""The table of the experiment `streaming`: two rows per cell and replicate, streamed and not streamed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from inferbench.analysis import statistics
from inferbench.tables.schema import HOST_BOUND, integer, number, text

KEY = ("cell", "replicate", "way")
SUBJECT = ["model", "precision", "attention"]
STREAMED, PLAIN = "streamed", "not streamed"
COLUMNS = {
    "way": text(
        "streamed: times at which the reader, another thread, had a token and its text; not streamed: times at "
        "which the decoding thread had it"
    ),
    "prompt_tokens": integer("length of the prompt"),
    "new_tokens": integer("tokens of a run, counted"),
    "ttft_ms": number("time to first token; median of the rounds"),
    "itl_p50_ms": number("inter-token latency, median over all tokens after the first of all rounds"),
    "itl_p90_ms": number("inter-token latency, 90th percentile"),
    "itl_p99_ms": number("inter-token latency, 99th percentile"),
    "itl_max_ms": number("inter-token latency, the longest"),
    "itl_late_early": number("median inter-token latency of the last half of the tokens / of the first half"),
    "run_ms": number("from the request to the last token; median of the rounds"),
    "handover_p50_ms": number(
        "from the decoding thread to the reader, text included; median over all tokens"
    ),
    "handover_p99_ms": number("the same, 99th percentile"),
    "overhead": number(
        "time from the first token to the last, streamed / not streamed in the same round, less 1; centre of rounds",
        None,
    ),
    "overhead_low": number("lower end of its 95% interval over rounds; null under 3 rounds", None),
    "overhead_high": number("upper end", None),
    "host_bound": HOST_BOUND,
}


def rows(
    config: dict[str, Any], record: dict[str, Any], samples: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows of one job that ended ok. config: its resolved configuration."""
    runs = token_times(pd.DataFrame(samples))
    job = {"prompt_tokens": config["experiment"]["prompt_tokens"], "host_bound": record["host_bound"]}
    return [
        {**job, "way": way, **latencies(own), **(overhead(runs) if way == STREAMED else {})}
        for way, own in runs.groupby("way", sort=False)
    ]


def token_times(samples: pd.DataFrame) -> pd.DataFrame:
    """The samples with `way`, `at_ms` (since the request) and `itl_ms` (since the token before; null for
    the first), as whoever waits for a token sees it; `handover_ms` where it was streamed."""
    streamed = samples["streamed"].astype(bool)
    seen, made = samples["seen_ms"].astype(float), samples["made_ms"].astype(float)
    runs = samples.assign(
        way=np.where(streamed, STREAMED, PLAIN), at_ms=seen.where(streamed, made), handover_ms=seen - made
    )
    run = [name for name in ("cell", "replicate", "round", "way") if name in runs]
    return runs.assign(itl_ms=runs.groupby(run, sort=False)["at_ms"].diff())


def latencies(runs: pd.DataFrame) -> dict[str, float]:
    """What the runs of one way say together; `runs` as `token_times` gives them."""
    gaps, tokens = runs["itl_ms"], runs["token"]
    middle = (2 + tokens.max()) / 2
    found = {
        "new_tokens": int(tokens.max()),
        "ttft_ms": runs["at_ms"][tokens == 1].median(),
        **{f"itl_p{percent}_ms": np.nanpercentile(gaps, percent) for percent in (50, 90, 99)},
        "itl_max_ms": gaps.max(),
        "itl_late_early": gaps[tokens > middle].median() / gaps[tokens <= middle].median(),
        "run_ms": runs["at_ms"][tokens == tokens.max()].median(),
    }
    handovers = runs["handover_ms"].dropna()
    if len(handovers):
        found |= {f"handover_p{percent}_ms": np.percentile(handovers, percent) for percent in (50, 99)}
    return found


def overhead(runs: pd.DataFrame) -> dict[str, float]:
    """How much longer a streamed run takes from its first token to its last than the one beside it, as a share of
    that, and its 95% interval. The time before the first token is prefill's, and would drown it.

    `runs` as `token_times` gives them, of one cell: a job's are its rounds, and the interval is over these; those
    of several replicates count one each, the centre of its rounds.
    """
    run = [name for name in ("replicate", "round") if name in runs]
    at = runs.pivot(index=[*run, "token"], columns="way", values="at_ms")
    pairs = at.xs(runs["token"].max(), level="token") - at.xs(1, level="token")
    ratios = pairs[STREAMED] / pairs[PLAIN]
    several = "replicate" in run
    each = statistics.centre(ratios.unstack("round").to_numpy()) if several else ratios.to_numpy()
    found = statistics.interval(each[None, :])
    centre, low, high = (float(end[0]) - 1 for end in found)
    return {"overhead": centre, "overhead_low": low, "overhead_high": high}
