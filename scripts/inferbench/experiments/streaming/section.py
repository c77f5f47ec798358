"""What the report says of the experiment `streaming`."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from inferbench.experiments.streaming.table import PLAIN, STREAMED, SUBJECT, latencies, overhead, token_times
from inferbench.presentation.page_tables import Table, table_of
from inferbench.presentation.sections import Section, host_bound
from inferbench.presentation.words import number

METRICS = {
    "ttft_ms": "TTFT, ms",
    "itl_p50_ms": "ITL p50, ms",
    "itl_p90_ms": "ITL p90, ms",
    "itl_p99_ms": "ITL p99, ms",
    "itl_max_ms": "longest ITL, ms",
    "itl_late_early": "ITL p50, later half / earlier half",
    "run_ms": "whole run, ms",
    "handover_p50_ms": "hand-over p50, ms",
    "handover_p99_ms": "hand-over p99, ms",
}


def section(table: pd.DataFrame, samples: pd.DataFrame) -> Section:
    """The section of the table and its samples; rounds of all replicates of a cell together."""
    cells = table[table["status"] == "ok"].drop_duplicates("cell")
    found = [(row, token_times(samples[samples["cell"] == row["cell"]])) for _, row in cells.iterrows()]
    return Section(
        "Streaming",
        "What does the reader of a stream, a thread of its own, wait for the first token and between tokens, and what "
        "does streaming cost the run? Beside it the same run whose tokens stay with the thread that decodes.",
        [*(sentence for row, runs in found for sentence in _sentences(row, runs)), *host_bound(table)],
        [("Latencies", _latency_table(found))],
    )


def _sentences(row: pd.Series, runs: pd.DataFrame) -> Iterator[str]:
    subject = ", ".join(row[SUBJECT])
    seen, made = (latencies(runs[runs["way"] == way]) for way in (STREAMED, PLAIN))
    yield (
        f"{subject}: the reader has the first token after {number(seen['ttft_ms'])} ms (not streamed "
        f"{number(made['ttft_ms'])} ms), then one every {number(seen['itl_p50_ms'])} ms in the median (not streamed "
        f"{number(made['itl_p50_ms'])} ms), and 1% of them after more than {number(seen['itl_p99_ms'])} ms (not streamed "
        f"{number(made['itl_p99_ms'])} ms). In the later half of its "
        f"{seen['new_tokens']} tokens the median gap is {number(seen['itl_late_early'])} times that of the earlier."
    )
    cost = overhead(runs)
    centre, low, high = (
        f"{100 * cost[name]:+.1f}%" for name in ("overhead", "overhead_low", "overhead_high")
    )
    words = f"{subject}: streaming changes the time from the first token to the last by {centre}"
    if pd.isna(cost["overhead_low"]):
        words += " (fewer than 3 replicates: no interval)"
    else:
        words += f" (95% interval {low} to {high})"
        if cost["overhead_low"] <= 0 <= cost["overhead_high"]:
            words += ", which is not told apart from nothing"
    yield (
        f"{words}. A token is with the reader {number(seen['handover_p50_ms'])} ms after the decoding thread has it "
        f"(p99 {number(seen['handover_p99_ms'])} ms)."
    )


def _latency_table(found: list[tuple[pd.Series, pd.DataFrame]]) -> Table:
    lines = [
        {**row[SUBJECT], "": way, **latencies(runs[runs["way"] == way])}
        for row, runs in found
        for way in (PLAIN, STREAMED)
    ]
    table = pd.DataFrame(lines, columns=[*SUBJECT, "", *METRICS])
    texts = {name: table[name] for name in (*SUBJECT, "")}
    texts |= {title: table[metric].map(number) for metric, title in METRICS.items()}
    return table_of(texts, {*SUBJECT, ""})
