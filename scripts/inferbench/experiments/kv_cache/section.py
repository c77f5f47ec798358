"""What the report says of the experiment `kv_cache`."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from inferbench.analysis import statistics
from inferbench.analysis.summarise import cards, ran_on
from inferbench.experiments.kv_cache.table import SUBJECT, slopes
from inferbench.presentation.page_tables import table_of, with_interval
from inferbench.presentation.sections import Section, host_bound
from inferbench.presentation.words import also_differ, byte_unit, interval_words, number

#: Said of a ratio between a step that the host launches and one that it does not.
CAPTURED_TOO = " Only the second of these steps is captured: that is what cache and capture do together."


def section(table: pd.DataFrame, samples: pd.DataFrame) -> Section:
    """The section of the table and its samples."""
    lines = slopes(table)
    return Section(
        "KV cache",
        "Does the time of a decode step grow with the context, and what does the cache take for that? Without a "
        "cache, every step runs the whole sequence through the model again.",
        [
            *(
                sentence
                for _, own in lines.groupby(SUBJECT, sort=False)
                for sentence in _sentences(own, table)
            ),
            *host_bound(table),
        ],
        [
            ("Step time against context length", _slope_table(lines)),
            ("Bytes of the cache", _byte_table(table)),
        ],
    )


def _sentences(lines: pd.DataFrame, table: pd.DataFrame) -> Iterator[str]:
    subject = ", ".join(lines.iloc[0][SUBJECT])
    by_cache = lines.set_index("cache")
    for cache, line in by_cache.iterrows():
        if pd.isna(line["slope_ms"]):
            continue
        flat = line["slope_low"] <= 0 <= line["slope_high"]
        yield (
            f"{subject}, cache {cache}: {number(line['slope_ms'])} ms a step for each 1,000 more tokens of context "
            f"({interval_words(line['slope_low'], line['slope_high'])})"
            + (", which is not told apart from no growth." if flat else ".")
        )
    own = table[(table["status"] == "ok") & (table[SUBJECT] == lines.iloc[0][SUBJECT]).all(axis=1)]
    longest = own[own["prompt_tokens"] == own["prompt_tokens"].max()]
    jobs_of = dict(list(longest.groupby("cache")))
    times = {cache: jobs["step_ms"].to_numpy(float)[None] for cache, jobs in jobs_of.items()}
    ran = {cache: {**ran_on(cards(jobs)), "flagged": False} for cache, jobs in jobs_of.items()}
    for cache in [name for name in ("dynamic", "static") if name in times and "off" in times]:
        ratio, low, high, _ = (ends[0] for ends in statistics.compare(times["off"], times[cache]))
        captured_too = jobs_of["off"]["host_bound"].any() and not jobs_of[cache]["host_bound"].any()
        without, cached = (number(statistics.centre(times[name])[0]) for name in ("off", cache))
        yield (
            f"{subject}: after a prompt of {int(longest['prompt_tokens'].iloc[0]):,} tokens a step without a cache takes "
            f"{number(ratio)} times as long as with the {cache} cache, {without} ms against {cached} "
            f"({interval_words(low, high)}{also_differ(ran['off'], ran[cache])})"
            + (", which is not told apart." if low <= 1 <= high else ".")
            + (CAPTURED_TOO if captured_too else "")
        )


def _slope_table(lines: pd.DataFrame):
    texts = {axis: lines[axis] for axis in (*SUBJECT, "cache")}
    texts["at no context, ms"] = lines["base_ms"].map(number)
    texts["per 1,000 more tokens, ms"] = with_interval(
        lines["slope_ms"], lines["slope_low"], lines["slope_high"]
    )
    return table_of(texts, {*SUBJECT, "cache"})


def _byte_table(table: pd.DataFrame):
    ok = table[(table["status"] == "ok") & (table["cache"] != "off")]
    first = ok.drop_duplicates([*SUBJECT, "cache", "prompt_tokens"])
    unit, per_unit = byte_unit(first["cache_bytes"].max())
    texts = {axis: first[axis] for axis in (*SUBJECT, "cache")}
    texts["prompt, tokens"] = first["prompt_tokens"].map("{:,}".format)
    for name, title in {"cache_bytes": "held", "cache_formula_bytes": "by formula"}.items():
        texts[f"{title}, {unit}"] = (first[name].astype(float) / per_unit).map(number)
    return table_of(texts, {*SUBJECT, "cache"})
