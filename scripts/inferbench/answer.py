"""The answer of a campaign in sentences computed from its summary.

A sentence claims no more than the table holds: flagged cells are not ranked, differences under 1%
are not findings, and without intervals an order is an observation. Cells are compared on one device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from inferbench.presentation import (
    STATUS_WORDS,
    at_setting,
    byte_unit,
    model_label,
    number,
    precision_order,
    setting_words,
    shown_setting,
)

SPEED = "decode_tokens_per_s"
AXES = ["precision", "attention", "execution", "batch_size"]
MIN_RATIO = 1.01
MIN_REPLICATES = 3


@dataclass(frozen=True)
class Answer:
    """What is said of one model under one workload."""

    subject: str
    sentences: list[str]


def overview(summary: pd.DataFrame) -> list[str]:
    """What became of the campaign's cells, and what its number of replicates allows to say."""
    ok = summary["status"] == "ok"
    others = summary.loc[~ok, "status"].value_counts()
    parts = [f"{ok.sum()} ok", *(f"{count} {STATUS_WORDS[status]}" for status, count in others.items())]
    sentences = [f"{_count(len(summary), 'cell')} declared: {', '.join(parts)}."]
    if not ok.any():
        return [*sentences, "No cell ended ok, so there is no answer yet."]
    flagged = summary[ok & ~summary["valid"]]
    if len(flagged):
        flags = ", ".join(sorted({flag for flags in flagged["flags"].dropna() for flag in flags.split(",")}))
        sentences.append(f"{_count(len(flagged), 'ok cell')} may not be ranked (flags: {flags}).")
    most = summary["replicates_valid"].max()
    if 0 < most < MIN_REPLICATES:
        sentences.append(
            f"No cell has more than {_count(most, 'valid replicate')}: below {MIN_REPLICATES} no interval can"
            " be given, so what follows describes these runs and is not a finding about the next one."
        )
    findings = summary.loc[summary["finding"].isin(["faster", "slower", "same", "unclear"]), "finding"]
    if len(findings):
        counts = ", ".join(f"{count} {finding}" for finding, count in findings.value_counts().items())
        sentences.append(f"Decode speed of cells against their baseline on the same device: {counts}.")
    return sentences


def answers(summary: pd.DataFrame) -> list[Answer]:
    """One answer per model and workload, in the summary's order."""
    several = summary["workload"].nunique() > 1
    found = []
    for (model, workload), own in summary.groupby(["model", "workload"], sort=False):
        subject = model_label(model, _source(own)) + (f", workload {workload}" if several else "")
        found.append(Answer(subject, list(_sentences(own, model))))
    return found


def _sentences(own: pd.DataFrame, model: str) -> Iterator[str]:
    if _source(own) == "bundled":
        yield (
            "The bundled weights are stored in 4 bits (Q4_1), and their fp32 is itself dequantised from those:"
            " memory and speed are those of each precision, differences in quality are not."
        )
    if _source(own) == "synthetic":
        yield "Its weights are synthetic, random: memory and speed are the architecture's; its text is noise."
    ranked = own[own["valid"] & own[SPEED].notna()]
    if ranked.empty:
        counts = ", ".join(f"{n} {STATUS_WORDS.get(s, s)}" for s, n in own["status"].value_counts().items())
        yield f"None of its cells may be ranked: {counts}."
    setting, _ = shown_setting(own, model)
    reference = next(iter(own.loc[own["is_baseline"], "precision"]), None)
    devices = list(dict.fromkeys(ranked["device_name"].fillna("an unknown device")))
    if len(devices) > 1:
        yield f"Measured on {len(devices)} kinds of device; cells are compared within one kind only."
    for device in devices:
        there = ranked[ranked["device_name"].fillna("an unknown device") == device]
        where = f"On {device}: " if len(devices) > 1 else ""
        for sentence in (*_fastest(there), *_effects(there, {**setting, "precision": reference})):
            yield where + sentence
    ok = own[own["status"] == "ok"]
    yield from _memory(ok, "weight_bytes", "Weights", reference)
    peak = f"Peak GPU memory that torch allocated at {setting_words(setting)}"
    yield from _memory(at_setting(ok, setting), "peak_allocated_bytes", peak, reference)


def _fastest(ranked: pd.DataFrame) -> Iterator[str]:
    """The fastest cell for one stream, and for throughput over all batch sizes."""
    single = ranked[ranked["batch_size"] == 1]
    if single.empty:
        yield "No cell of batch 1 may be ranked, so nothing is said of a single stream."
    else:
        yield _leader(single, "Fastest for one stream (batch 1)")
    if set(ranked["batch_size"]) != {1}:
        yield _leader(ranked, "Highest throughput over all batch sizes")


def _leader(rows: pd.DataFrame, what: str) -> str:
    rows = rows.sort_values(SPEED, ascending=False, kind="stable")
    best, others = rows.iloc[0], rows.iloc[1:]
    sentence = f"{what}: {_cell(best)} at {_speed(best)}."
    if others.empty:
        return f"{sentence} No other cell may be ranked here."
    near = best[SPEED] < MIN_RATIO * others[SPEED]
    overlapping = (others[f"{SPEED}_high"] >= best[f"{SPEED}_low"]).fillna(False)
    close = others[near | overlapping]
    if len(close):
        return f"{sentence} Not told apart from it (within 1%, or intervals overlap): {_listed(close)}."
    second = others.iloc[0]
    share = number(100 * (1 - second[SPEED] / best[SPEED]), 2)
    basis = "; their intervals do not overlap"
    if pd.isna(best[f"{SPEED}_low"]) or others[f"{SPEED}_high"].isna().any():
        basis = " in these runs, but an order without intervals is no finding"
    return f"{sentence} Next is {_cell(second)} at {_speed(second)}, {share}% slower{basis}."


def _memory(ok: pd.DataFrame, size: str, what: str, reference: str | None) -> Iterator[str]:
    """Bytes by precision, and what each saves against the reference (else the widest that is there)."""
    sizes = ok.groupby("precision")[size].max().dropna().astype(float)
    if sizes.empty:
        return
    order = precision_order(sizes.index)
    reference = reference if reference in sizes else order[0]
    unit, per_unit = byte_unit(sizes.max())
    words = []
    for precision in order:
        change = sizes[precision] / sizes[reference] - 1
        note = f", {number(100 * abs(change), 2)}% {'more' if change > 0 else 'less'}"
        if precision == reference:
            note = ""
        elif abs(change) < MIN_RATIO - 1:
            note = ", the same within 1%"
        words.append(f"{precision} {number(sizes[precision] / per_unit)} {unit}{note}")
    against = f" (against {reference})" if len(order) > 1 else ""
    yield f"{what}{against}: {'; '.join(words)}."


def _effects(ranked: pd.DataFrame, setting: dict[str, object]) -> Iterator[str]:
    """What each other value of an axis changed, over the pairs of cells that are alike in all else."""
    for axis in AXES:
        values = list(dict.fromkeys(ranked[axis]))
        values = precision_order(values) if axis == "precision" else values
        reference = setting[axis] if setting[axis] in values else values[0]
        rest = [other for other in AXES if other != axis]
        base = ranked[ranked[axis] == reference]
        for value in values:
            pairs = ranked[ranked[axis] == value].merge(base, on=rest, suffixes=("", "_base"))
            if value != reference and len(pairs):
                unit = " (tokens/s of the whole batch)" if axis == "batch_size" else ""
                name = f"{axis.replace('_', ' ')} {value} instead of {reference}{unit}"
                yield f"{name[0].upper()}{name[1:]}: decode speed {_effect(pairs)}."


def _effect(pairs: pd.DataFrame) -> str:
    ratios = (pairs[SPEED] / pairs[f"{SPEED}_base"]).astype(float)
    over = np.maximum(ratios, 1 / ratios) >= MIN_RATIO
    of_pairs = (
        f"in {'the one pair' if len(pairs) == 1 else f'all {len(pairs)} pairs'} of cells alike in all else"
    )
    if not over.any():
        return f"differs by less than 1% {of_pairs}, which is no finding"
    low, high = f"{SPEED}_low", f"{SPEED}_high"
    known = pairs[[low, f"{low}_base"]].notna().all(axis=1)
    apart = over & known & ((pairs[low] > pairs[f"{high}_base"]) | (pairs[high] < pairs[f"{low}_base"]))
    ends = [_change(ratio, ratios) for ratio in (ratios.min(), ratios.max())]
    size = ends[0]
    if ends[0] != ends[1]:
        size = f"{' to '.join(ends)}, {_change(np.exp(np.log(ratios).mean()), ratios)} on average,"
    basis = f"intervals apart in {apart.sum()} of {known.sum()}" if known.any() else "no intervals"
    return f"{size} {of_pairs} ({basis})"


def _change(ratio: float, among: pd.Series) -> str:
    """The ratio in per cent, or as a factor where one of those it stands among is twofold."""
    return f"{100 * (ratio - 1):+.1f}%" if among.min() > 0.5 and among.max() < 2 else f"×{number(ratio)}"


def _cell(row: pd.Series) -> str:
    return f"{row['precision']}, {row['attention']}, {row['execution']}, batch {row['batch_size']}"


def _listed(rows: pd.DataFrame, most: int = 3) -> str:
    cells = [f"{_cell(row)} ({number(row[SPEED])})" for _, row in rows.head(most).iterrows()]
    more = f"; and {len(rows) - most} more" if len(rows) > most else ""
    return "; ".join(cells) + more


def _speed(row: pd.Series) -> str:
    low, high, count = row[f"{SPEED}_low"], row[f"{SPEED}_high"], row["replicates_valid"]
    interval = "no interval" if pd.isna(low) else f"95% interval {number(low)} to {number(high)}"
    return f"{number(row[SPEED])} tokens/s ({interval}, {_count(count, 'replicate')})"


def _source(own: pd.DataFrame) -> str | None:
    sources = own["model_source"].dropna()
    return sources.iloc[0] if len(sources) else None


def _count(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
