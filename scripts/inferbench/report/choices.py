"""What each choice changes, in sentences computed from a campaign's summary; what to run is `advice`.

A sentence claims no more than the table holds: flagged cells are not ranked, differences under 1%
are not findings, and an order is what the table's own test found. Cells are compared on one device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from inferbench.analysis.setting import at_setting, shown_setting
from inferbench.analysis.statistics import MIN_DIFFERENCE, TOO_FEW
from inferbench.presentation.cell_means import row_label
from inferbench.presentation.words import (
    STATUS_WORDS,
    byte_unit,
    change,
    counted,
    model_label,
    number,
    precision_order,
    setting_words,
    weights_source,
)
from inferbench.report.verdicts import NOT_TESTED, OPPOSITE, READ, WORDS, of_pair

SPEED, PREFILL = "decode_tokens_per_s", "prefill_tokens_per_s"
AXES = ["precision", "attention", "execution", "batch_size"]
#: What sentences are about, in the report's order: the weights, an axis each, memory.
WEIGHTS, MEMORY = "weights", "memory"
MIN_RATIO = 1 + MIN_DIFFERENCE
#: The precision of config/hydra that computes the columns of large activations apart; one of your own is not told.
OUTLIERS_APART = "int8"
#: Pairs of cells that a sentence names one by one.
MOST_LISTED = 6


@dataclass(frozen=True)
class Answer:
    """What is said of one model under one workload: sentences by what they are about (WEIGHTS, AXES, MEMORY)."""

    model: str
    subject: str
    sentences: dict[str, list[str]]


def overview(summary: pd.DataFrame) -> list[str]:
    """What became of the campaign's cells, and how they stand to their baselines."""
    ok = summary["status"] == "ok"
    others = summary.loc[~ok, "status"].value_counts()
    parts = [f"{ok.sum()} ok", *(f"{count} {STATUS_WORDS[status]}" for status, count in others.items())]
    sentences = [f"{counted(len(summary), 'cell')} declared: {', '.join(parts)}."]
    findings = summary.loc[summary["finding"].isin(["faster", "slower", "same", "unclear"]), "finding"]
    if len(findings):
        counts = [f"{count} {finding}" for finding, count in findings.value_counts().items()]
        too_few = int((ok & (summary["finding"] == TOO_FEW)).sum())
        rest = int((ok & ~summary["is_baseline"]).sum()) - len(findings) - too_few
        counts += [f"{too_few} with too few replicates on a shared card"] if too_few else []
        counts += [f"{rest} without a comparison"] if rest else []
        sentences.append(
            f"Decode speed of cells against their baseline on the same card: {', '.join(counts)}."
        )
    return sentences


def progress(measurements: pd.DataFrame) -> list[str]:
    """How much of a campaign that is still running has not been measured."""
    missing = int((measurements["status"] == "missing").sum())
    return (
        [f"{missing} of {counted(len(measurements), 'replicate')} are not measured yet."] if missing else []
    )


def kernels(measurements: pd.DataFrame) -> list[str]:
    """Which of torch's kernels `sdpa` was: the one that the other backends are compared with."""
    ran = measurements[(measurements["attention"] == "sdpa") & measurements["effective_attention"].notna()]
    if ran.empty:
        return []
    cells = ran.drop_duplicates(["cell", "effective_attention"])["effective_attention"].value_counts()
    each = [f"{words.replace('sdpa:', '')} in {counted(count, 'cell')}" for words, count in cells.items()]
    return [f"Torch chose the kernels of sdpa: {'; '.join(each)}."]


def answers(summary: pd.DataFrame) -> list[Answer]:
    """One answer per model and workload of which there is something to say, in the summary's order.

    summary: `with_cards`. Cells of different ones are compared, and it is said.
    """
    several = summary["workload"].nunique() > 1
    found = []
    of_models: set[tuple[str, str]] = set()
    for (model, workload), own in summary.groupby(["model", "workload"], sort=False):
        label = model_label(model, weights_source(own))
        sentences: dict[str, list[str]] = {}
        for topic, sentence in _sentences(own, model):
            # Weights are the same under every workload.
            if topic not in (WEIGHTS, MEMORY) or (model, sentence) not in of_models:
                sentences.setdefault(topic, []).append(sentence)
                of_models.add((model, sentence))
        found.append(Answer(label, label + (f", workload {workload}" if several else ""), sentences))
    return [answer for answer in found if answer.sentences]


def _sentences(own: pd.DataFrame, model: str) -> Iterator[tuple[str, str]]:
    if weights_source(own) == "bundled":
        yield (
            WEIGHTS,
            "The bundled weights are stored in 4 bits (Q4_1), and their fp32 is itself dequantised from those:"
            " memory and speed are those of each precision, differences in quality are not.",
        )
    if weights_source(own) == "synthetic":
        yield (
            WEIGHTS,
            "The weights are synthetic, random: memory and speed are the architecture's; the text is noise.",
        )
        if (own["precision"] == OUTLIERS_APART).any():
            yield WEIGHTS, "Random weights have no outliers, which flatters LLM.int8."
    ranked = own[own["valid"] & own[SPEED].notna()]
    setting, _ = shown_setting(own, model)
    reference = next(iter(own.loc[own["is_baseline"], "precision"]), None)
    devices = list(dict.fromkeys(ranked["device_name"].fillna("an unknown device")))
    for device in devices:
        there = ranked[ranked["device_name"].fillna("an unknown device") == device]
        where = f"On {device}: " if len(devices) > 1 else ""
        for axis, sentence in _effects(there, {**setting, "precision": reference}):
            yield axis, where + sentence
        yield from (("batch_size", where + sentence) for sentence in _crossings(there, reference))
    ok = own[own["status"] == "ok"]
    peak = f"Peak GPU memory that torch allocated at {setting_words(setting)}"
    sizes = [(ok, "weight_bytes", "Weights"), (at_setting(ok, setting), "peak_allocated_bytes", peak)]
    for cells, size, what in sizes:
        yield from ((MEMORY, sentence) for sentence in _memory(cells, size, what, reference))


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
        growth = sizes[precision] / sizes[reference] - 1
        note = f", {number(100 * abs(growth), 2)}% {'more' if growth > 0 else 'less'}"
        if precision == reference:
            note = ""
        elif abs(growth) < MIN_DIFFERENCE:
            note = ", the same within 1%"
        words.append(f"{precision} {number(sizes[precision] / per_unit)} {unit}{note}")
    against = f" (against {reference})" if len(order) > 1 else ""
    yield f"{what}{against}: {'; '.join(words)}."


def _effects(ranked: pd.DataFrame, setting: dict[str, object]) -> Iterator[tuple[str, str]]:
    """(axis, what another value of it changed), over the pairs of cells that are alike in all else."""
    # A pair copies every column of both cells.
    ranked = ranked[[*AXES, SPEED, PREFILL, *READ]]
    for axis in AXES:
        values = list(dict.fromkeys(ranked[axis]))
        values = precision_order(values) if axis == "precision" else values
        reference = setting[axis] if setting[axis] in values else values[0]
        rest = [other for other in AXES if other != axis]
        paired = ranked.merge(ranked[ranked[axis] == reference], on=rest, suffixes=("", "_base"))
        # Backends differ most before the first token of a long prompt.
        speeds = {SPEED: "decode speed"} | ({PREFILL: "prefill speed"} if axis == "attention" else {})
        for value in values:
            pairs = paired[paired[axis] == value]
            if value == reference or pairs.empty:
                continue
            unit = " (tokens/s of the whole batch)" if axis == "batch_size" else ""
            name = f"{axis.replace('_', ' ')} {value} instead of {reference}{unit}"
            for speed, words in speeds.items():
                yield axis, f"{name[0].upper()}{name[1:]}: {words} {_effect(pairs, speed, rest)}."


def _crossings(ranked: pd.DataFrame, reference: str | None) -> Iterator[str]:
    """The batch size at which a precision stops being the faster or the slower one."""
    for (attention, execution), own in ranked.groupby(["attention", "execution"], sort=False):
        base = own[own["precision"] == reference]
        for precision in precision_order(own["precision"]) if len(base) else []:
            pairs = own[own["precision"] == precision].merge(base, on="batch_size", suffixes=("", "_base"))
            pairs = pairs.set_index("batch_size").sort_index()
            found = {batch: of_pair(pair) for batch, pair in pairs.to_dict("index").items()}
            told = [batch for batch, own in found.items() if own.finding in OPPOSITE]
            turns = [two for two in pairwise(told) if found[two[0]].finding != found[two[1]].finding]
            if len(turns) != 1:
                continue
            [(last, first)] = turns
            # Only where each batch beyond is told apart does the order hold for all of them.
            below, above = pairs.index[pairs.index <= last], pairs.index[pairs.index >= first]
            until = "up to" if len(below) > 1 and below.isin(told).all() else "at"
            since = "from" if len(above) > 1 and above.isin(told).all() else "at"
            before, beyond = found[last], found[first]
            yield (
                f"{precision} is {before.finding} than {reference} {until} batch size {last}"
                f" ({change(before.ratio)}, {before.words}) and {beyond.finding} {since} {first}"
                f" ({change(beyond.ratio)}, {beyond.words}), at attention {attention}, execution {execution}."
            )


def _effect(pairs: pd.DataFrame, speed: str, rest: list[str]) -> str:
    """The change of each pair where they are few, else the least, the greatest and the mean."""
    found = [of_pair(pair, speed) for pair in pairs.to_dict("records")]
    ratios = pd.Series([own.ratio for own in found], pairs.index)
    over = np.maximum(ratios, 1 / ratios) >= MIN_RATIO
    of_pairs = f"in {counted(len(pairs), 'pair')} of cells"
    if not over.any():
        return f"differs by less than 1% {of_pairs}, which is no finding"
    if len(pairs) <= MOST_LISTED:
        varying = [axis for axis in rest if pairs[axis].nunique() > 1]
        each = []
        for (_, row), own in zip(pairs.iterrows(), found, strict=True):
            where = f" at {row_label(row, varying)}" if varying else ""
            each.append(f"{change(own.ratio, *ratios)}{where} ({own.words})")
        return "; ".join(each)
    counts = Counter(WORDS.get(own.finding, own.finding) for own in found)
    basis = ", ".join(f"{count} {words}" for words, count in counts.items())
    basis = NOT_TESTED if set(counts) == {NOT_TESTED} else basis
    size = change(ratios.min(), *ratios)
    if size != (most := change(ratios.max(), *ratios)):
        size += f" to {most},"
        # A mean of gains and losses describes no cell.
        if ratios.min() * MIN_RATIO > 1 or ratios.max() < MIN_RATIO:
            size += f" {change(np.exp(np.log(ratios).mean()), *ratios)} on average,"
    cards = pairs["cards"] != pairs["cards_base"]
    shares = (~cards & (pairs["shares"] != pairs["shares_base"])).sum()
    cards, flagged = cards.sum(), (pairs["flagged"] | pairs["flagged_base"]).sum()
    apart = f"; on different cards in {cards} of {len(pairs)}" if cards else ""
    apart += f"; on other shares of the same cards in {shares}" if shares else ""
    apart += f"; flagged replicates left out in {flagged}" if flagged else ""
    return f"{size} {of_pairs} ({basis}){apart}"
