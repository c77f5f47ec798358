"""What the length of the prompt changes, in sentences computed from a campaign's tables."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from inferbench.presentation.words import axes_words, change, number
from inferbench.report.verdicts import verdict

RATES = {"prefill_tokens_per_s": "prefill", "decode_tokens_per_s": "decode"}
ALIKE = ["model", "precision", "attention", "execution", "batch_size", "device_name", "new_tokens"]


def context_sentences(measurements: pd.DataFrame, summary: pd.DataFrame) -> Iterator[str]:
    """One per combination that may be ranked with prompts of several lengths and as many new tokens: its shortest
    against its longest. summary: `with_cards`."""
    tokens = measurements.groupby("cell")[["prompt_tokens", "new_tokens"]].max()
    lengths, new = (summary["cell"].map(tokens[name]) for name in tokens)
    ranked = summary.assign(length=lengths, new_tokens=new)[summary["valid"] & lengths.notna()]
    ranked = ranked.sort_values("length", kind="stable")
    for _, own in ranked.groupby(ALIKE, sort=False, dropna=False):
        short, long = own.iloc[0], own.iloc[-1]
        if short["length"] == long["length"]:
            continue
        changes = []
        for rate, what in RATES.items():
            if pd.notna(short[rate]) and pd.notna(long[rate]):
                found = verdict(long, short, rate)
                changes.append(
                    f"{what} {number(short[rate])} to {number(long[rate])} tokens/s"
                    f" ({change(found.ratio)}, {found.words})"
                )
        yield (
            f"{axes_words(short, ALIKE[:5])}: from {short['length']:,} to {long['length']:,} tokens of prompt"
            f" {' and '.join(changes)}."
        )
