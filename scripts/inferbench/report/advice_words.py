"""The advice as the report opens with it: cards of short texts, every number computed.

An order is a finding only where the table's test found it; whether a limit is kept by the whole interval
or by its centre alone is said, and so is what was not measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from inferbench.analysis.costs import ENERGY
from inferbench.analysis.limits import QUANTITIES, Divergences
from inferbench.analysis.statistics import MIN_DIFFERENCE, MIN_REPLICATES
from inferbench.plan.cells import Cell, command
from inferbench.presentation.words import (
    STATUS_WORDS,
    cell_words,
    counted,
    ends,
    model_label,
    number,
    weights_source,
)
from inferbench.report.advice import ONE_STREAM, SPEED, THROUGHPUT, Advice, Choice, Cost, Exclusion, advise
from inferbench.report.verdicts import verdict
from inferbench.tables.terms import AXES

#: Tokens per second with the prefill.
WHOLE = "whole_tokens_per_s"
TITLES = {ONE_STREAM: "For one stream", THROUGHPUT: "For throughput"}


@dataclass(frozen=True)
class Card:
    """One choice. pick: the axes of the cell, or that there is none. certainty: what stands behind the speed.
    facts: (quantity, value and limit). command: what measures the cell again."""

    title: str
    aim: str
    pick: str
    speed: str
    certainty: str
    facts: list[tuple[str, str]]
    sentences: list[str]
    command: str


@dataclass(frozen=True)
class Subject:
    """Model, workload and device as a heading, the model's name, what holds for all its cards, and the cards."""

    title: str
    model: str
    notes: list[str]
    cards: list[Card]


def opening(
    summary: pd.DataFrame,
    campaign: Mapping[str, Any],
    limits: Mapping[str, float],
    divergences: Divergences | None,
    new_tokens: Mapping[str, int],
) -> tuple[list[str], list[Subject]]:
    """(what the cards answer, what the number of replicates allows to say, and what holds for every subject; the
    subjects).

    summary: `with_cards`. campaign: as far as its file is known, for the commands. divergences: None without an
    experiment on quality. new_tokens: by workload, for the rate with the prefill.
    """
    if not (summary["status"] == "ok").any():
        return ["No cell ended ok, so there is no answer yet."], []
    limits = {name: limits[name] for name in QUANTITIES if name in limits}
    several = summary["workload"].nunique() > 1
    summary = summary.assign(**{WHOLE: _whole_rate(summary, new_tokens)})
    subjects = [
        _subject(
            advice, several, campaign, limits, divergences is not None, _untouched(advice.cells, summary)
        )
        for advice in advise(summary, limits, divergences or {})
    ]
    if len(subjects) == 1:
        return list(_lead(summary, limits)), subjects
    shared = [note for note in subjects[0].notes if all(note in subject.notes for subject in subjects)]
    own = [
        replace(subject, notes=[note for note in subject.notes if note not in shared]) for subject in subjects
    ]
    return [*_lead(summary, limits), *shared], own


def _whole_rate(summary: pd.DataFrame, new_tokens: Mapping[str, int]) -> pd.Series:
    """Tokens/s of the whole batch from its prompt to its last token: what a decode speed leaves out is the prefill."""
    tokens = summary["workload"].map(new_tokens).astype(float)
    milliseconds = summary["ttft_ms"].astype(float) + (tokens - 1) * summary["tpot_ms"].astype(float)
    return summary["batch_size"] * tokens / milliseconds * 1000


def _lead(summary: pd.DataFrame, limits: Mapping[str, float]) -> Iterator[str]:
    if limits:
        listed = ", ".join(_limit(name, limits) for name in limits)
        yield f"The fastest combinations that may be ranked, within these limits: {listed}."
    else:
        yield (
            "The fastest combinations that may be ranked. No limits are set (key limits of the campaign file: memory,"
            " TTFT, TPOT, KL divergence)."
        )
    if summary.loc[summary["status"] == "ok", "device_name"].nunique(dropna=False) > 1:
        yield "Cells are compared within one kind of device only."
    most = summary["replicates_valid"].max()
    if 0 < most < MIN_REPLICATES:
        yield (
            f"No cell has more than {counted(most, 'valid replicate')}: below {MIN_REPLICATES} no interval can"
            " be given, so what follows describes these runs and is not a finding about the next one."
        )


def _subject(
    advice: Advice,
    several_workloads: bool,
    campaign: Mapping[str, Any],
    limits: Mapping[str, float],
    quality: bool,
    untouched: Mapping[str, list[str]],
) -> Subject:
    first = advice.cells.iloc[0]
    title = model_label(first["model"], weights_source(advice.cells))
    title += f", workload {first['workload']}" if several_workloads else ""
    title += f", on {advice.device}" if advice.device else ""
    cards = [_card(choice, advice, campaign, limits) for choice in advice.choices]
    notes = list(_notes(advice, limits, quality))
    if untouched:
        each = [f"{axis} {', '.join(names)}" for axis, names in untouched.items()]
        notes.append(f"Not tried here: {'; '.join(each)}.")
    return Subject(title, first["model"], notes, cards)


def _untouched(cells: pd.DataFrame, summary: pd.DataFrame) -> dict[str, list[str]]:
    """Per axis the values that the campaign declares, but not for the model and workload of these cells, on any
    device: a pick cannot be one of those."""
    first = cells.iloc[0]
    own = summary[(summary["model"] == first["model"]) & (summary["workload"] == first["workload"])]
    found = {
        axis: [name for name in dict.fromkeys(summary[axis]) if name not in set(own[axis])]
        for axis in ("precision", "attention", "execution")
    }
    return {axis: names for axis, names in found.items() if names}


def _notes(advice: Advice, limits: Mapping[str, float], quality: bool) -> Iterator[str]:
    if not advice.choices:
        statuses = advice.cells["status"].value_counts().items()
        yield f"None of its cells may be ranked: {', '.join(f'{n} {STATUS_WORDS.get(s, s)}' for s, n in statuses)}."
    for name in advice.unjudged:
        yield f"The limit {_limit(name, limits)} is not applied. {_why_unknown(name, advice, quality)}"
    flagged = advice.cells[(advice.cells["status"] == "ok") & ~advice.cells["valid"]]
    if len(flagged):
        flags = ", ".join(sorted({flag for flags in flagged["flags"].dropna() for flag in flags.split(",")}))
        yield f"Flagged ({flags}), so not considered: {_listed(flagged)}."
    full = advice.cells[advice.cells["status"].isin(["oom", "skipped"])]
    if len(full):
        yield f"Did not fit: {_listed(full)}."
    if advice.choices and advice.memory:
        yield f"Memory is {advice.memory}."


def _why_unknown(name: str, advice: Advice, quality: bool) -> str:
    if name != "kl":
        return "It was measured of no cell here."
    if weights_source(advice.cells) == "synthetic":
        return "The weights are synthetic, random: they have no quality that a precision could change."
    if not quality:
        return "The campaign has no experiment on quality, which is what measures it."
    return "The experiment on quality has no value for this model."


def _card(choice: Choice, advice: Advice, campaign: Mapping[str, Any], limits: Mapping[str, float]) -> Card:
    judged = {name: bound for name, bound in limits.items() if name not in advice.unjudged}
    title, best = TITLES[choice.aim], choice.best
    aim = "batch size 1"
    if choice.aim == THROUGHPUT:
        aim = f"decode tokens/s of the batch, sizes up to {choice.largest_batch}"
    if best is None:
        return Card(title, aim, "Nothing fits", "", "", [], list(_nothing(choice, judged)), "")
    facts = [("with the prefill", f"{number(best[WHOLE])} tokens/s")] if pd.notna(best[WHOLE]) else []
    facts += [(quantity.full_name, _fact(best, name, limits)) for name, quantity in QUANTITIES.items()]
    if pd.notna(best[ENERGY]):
        part = "" if best["execution"] == "generate" else " of decoding"
        facts.append((f"energy{part}", f"{number(best[ENERGY])} J/token"))
    sentences = [
        *_order(choice),
        *_untried(choice, advice.cells, bool(judged)),
        *_doubts(choice, judged, "Faster, but not known to fit"),
        *_costs(choice.costs, best),
    ]
    cell = Cell(**{axis: best[axis] for axis in AXES})
    certainty = "95% interval" if pd.notna(best[f"{SPEED}_low"]) else "no interval"
    certainty += f", {counted(best['replicates_valid'], 'replicate')}"
    certainty += " that share a compilation" if best["execution"] == "compiled" else ""
    return Card(
        title, aim, cell_words(best), _rate(best), certainty, facts, sentences, command(campaign, cell)
    )


def _fact(best: pd.Series, name: str, limits: Mapping[str, float]) -> str:
    """The value, its limit, and what of the interval keeps that."""
    if pd.isna(best[name]):
        unknown = "not measured"
        if name == "kl" and best["model_source"] == "synthetic":
            unknown += ": random weights have no quality to lose, real ones may"
        return f"{unknown}; limit {limits[name]:,.10g} not applied" if name in limits else unknown
    value = _value(best, name)
    if name not in limits:
        return value
    value += f", limit {limits[name]:,.10g}"
    if pd.isna(best[f"{name}_high"]):
        return f"{value}: kept by the centre, no interval"
    beyond = best[f"{name}_high"] > limits[name]
    return value + (": kept by the centre, not by the interval's end" if beyond else "")


def _order(choice: Choice) -> Iterator[str]:
    best, rivals = choice.best, choice.rivals
    if choice.fastest is not None:
        yield (
            f"Within 1% of the fastest, {cell_words(choice.fastest)} ({number(choice.fastest[SPEED])}), with less KL"
            f" divergence: {_amount('kl', best['kl'])} against {_amount('kl', choice.fastest['kl'])}."
        )
    close = rivals[rivals["standing"] == "same"]
    if len(close):
        yield f"Not told apart from it (within 1%, by the test, or intervals overlap): {_listed(close)}."
    elif len(rivals):
        second = rivals.iloc[0]
        found = verdict(second, best)
        basis = (
            f" ({found.words})"
            if second["standing"] == "slower"
            else f" in these runs ({found.words}), which is no finding"
        )
        yield (
            f"Next is {cell_words(second)} at {_rate(second)}, {_loss(second, best)} slower{basis}"
            f"{_with_prefill(second, best)}."
        )
        told = rivals[rivals["standing"] == "slower"]
        if second["standing"] != "slower" and len(told):
            third = told.iloc[0]
            yield (
                f"Of those that are tested against it the next is {cell_words(third)} at {_rate(third)},"
                f" {_loss(third, best)} slower ({verdict(third, best).words})."
            )
    elif choice.candidates > 1:
        yield "No other cell is known to keep the limits."
    else:
        yield "No other cell may be ranked here."


def _with_prefill(second: pd.Series, best: pd.Series) -> str:
    """How much of the lead is left once the prefill counts, where that is less than half of it."""
    lead, whole = best[SPEED] / second[SPEED] - 1, best[WHOLE] / second[WHOLE] - 1
    if pd.isna(whole) or whole >= lead / 2:
        return ""
    if abs(whole) < MIN_DIFFERENCE:
        return "; with the prefill the two are within 1%"
    return f"; with the prefill it is {number(second[WHOLE])} against {number(best[WHOLE])} tokens/s"


def _untried(choice: Choice, cells: pd.DataFrame, limited: bool) -> Iterator[str]:
    """Where another precision is the fastest in another execution, of the cells that keep the limits if there are
    any, and did not run in the best's."""
    best = choice.best
    ran = cells[(cells["status"] == "ok") & (cells["execution"] == best["execution"])]
    ran = ran[ran["batch_size"] == 1] if choice.aim == ONE_STREAM else ran
    others = choice.rivals[choice.rivals["execution"] != best["execution"]]
    alone = (ran["precision"] == best["precision"]).all()
    if alone and len(others) and others.iloc[0]["precision"] != best["precision"]:
        yield (
            f"No other precision ran with execution {best['execution']} here; of those with"
            f" {others.iloc[0]['execution']}{' that keep the limits' if limited else ''}"
            f" {others.iloc[0]['precision']} is the fastest in these runs."
        )


def _doubts(choice: Choice, limits: Mapping[str, float], what: str) -> Iterator[str]:
    rows = choice.unknown
    if len(rows):
        absent = [QUANTITIES[name].name for name in limits if rows[name].isna().any()]
        yield f"{what}, since {' or '.join(absent)} was not measured: {_listed(rows)}."


def _costs(costs: list[Cost], best: pd.Series) -> Iterator[str]:
    free = []
    for cost in costs:
        subject, without = "All limits together cost", "without any"
        if cost.limit is not None:
            subject, without = f"The limit on {QUANTITIES[cost.limit].name} costs", "without it"
        if cost.fastest["cell"] == best["cell"]:
            free.append(QUANTITIES[cost.limit].name)
            continue
        instead = f"{without} {cell_words(cost.fastest)} at {_rate(cost.fastest)}"
        if cost.standing == "same":
            yield f"{subject} nothing that can be told: {instead} is not told apart from this cell."
        else:
            runs = " in these runs" if cost.standing == "observed" else ""
            words = verdict(best, cost.fastest).words
            yield f"{subject} {_loss(best, cost.fastest)} of the speed{runs} ({words}): {instead}."
    if free:
        yield f"Dropping the limit on {' or '.join(free)} alone would gain nothing: the same cell stays fastest."


def _nothing(choice: Choice, limits: Mapping[str, float]) -> Iterator[str]:
    yield f"Of {counted(choice.candidates, 'cell')} none is known to keep every limit."
    for exclusion in choice.exclusions:
        yield _excluded(exclusion, choice.candidates, limits)
    yield from _doubts(choice, limits, "They break no limit, but are not known to fit")


def _excluded(exclusion: Exclusion, candidates: int, limits: Mapping[str, float]) -> str:
    name, nearest = exclusion.limit, exclusion.nearest
    unknown = f", not known of {exclusion.unknown}" if exclusion.unknown else ""
    sentence = f"{_limit(name, limits)}: excludes {exclusion.broken} of {candidates}{unknown}."
    sentence = sentence[0].upper() + sentence[1:]
    if nearest is None:
        return sentence
    over = number(100 * (nearest[name] / limits[name] - 1))
    others = ""
    if len(limits) > 1:
        others = (
            ", and it keeps every other limit" if exclusion.alone else ", and it breaks another limit too"
        )
    return f"{sentence} Nearest: {cell_words(nearest)} with {_value(nearest, name)}, {over}% over{others}."


def _limit(name: str, limits: Mapping[str, float]) -> str:
    return f"{QUANTITIES[name].name} {limits[name]:,.10g} {QUANTITIES[name].unit}"


def _amount(name: str, value: float) -> str:
    return f"{number(value)} {QUANTITIES[name].unit}"


def _value(row: pd.Series, name: str) -> str:
    """The quantity with what is known of its interval."""
    low, high = row.get(f"{name}_low"), row[f"{name}_high"]
    if name == "memory_gb" or pd.isna(high):
        return _amount(name, row[name])
    return _amount(name, row[name]) + (ends(low, high) or f" (up to {number(high)})")


def _rate(row: pd.Series) -> str:
    return f"{number(row[SPEED])} tokens/s{ends(row[f'{SPEED}_low'], row[f'{SPEED}_high'])}"


def _loss(slower: pd.Series, faster: pd.Series) -> str:
    found = verdict(slower, faster)
    ratio = found.ratio if found.finding == "slower" else slower[SPEED] / faster[SPEED]
    return f"{number(100 * (1 - ratio))}%"


def _listed(rows: pd.DataFrame, most: int = 3) -> str:
    """Cells with their tokens/s, as far as there are any."""
    cells = [
        cell_words(row) + (f" ({number(row[SPEED])})" if pd.notna(row[SPEED]) else "")
        for _, row in rows.head(most).iterrows()
    ]
    return "; ".join(cells) + (f"; and {len(rows) - most} more" if len(rows) > most else "")
