"""What the report says of the experiment `speculative`."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from inferbench.experiments.speculative.table import SUBJECT, by_cell, tokens_expected
from inferbench.presentation.page_tables import table_of, with_interval
from inferbench.presentation.sections import Section
from inferbench.presentation.words import byte_unit, interval_words, number

#: Axes whose values are names.
WORDS = [*SUBJECT, "draft", "strategy"]
#: A speed-up nearer to 1 than this is none.
SAME = 0.01


def section(table: pd.DataFrame, samples: pd.DataFrame) -> Section:
    """The section of the table and its samples."""
    cells = by_cell(table, samples)
    return Section(
        "Speculative decoding",
        "Is it faster to let a draft propose tokens, which the main model then checks in one pass? Accepted tokens are "
        "kept by the rule of the papers (arXiv:2302.01318, arXiv:2211.17192), so the output has the main model's "
        "distribution whatever the draft. Plain decoding of the same model and prompts in the same process is 1. Proposals "
        "are counted over the runs that differ: a greedy text that comes out the same in each replicate counts once.",
        list(_sentences(cells)) if len(cells) else [],
        [
            ("Acceptance and speed", _speed_table(cells)),
            ("Costs in plain steps, and what follows from them", _cost_table(cells)),
        ]
        if len(cells)
        else [],
    )


def _sentences(cells: pd.DataFrame) -> Iterator[str]:
    for key, own in cells.groupby(WORDS, sort=False):
        best = own.loc[own["speedup"].idxmax()]
        subject = f"{', '.join(key[:3])}, draft {key[3]}, {key[4]}"
        yield f"{subject}: {_outcome(best, len(own))}"
    greedy = cells[cells["equal_texts"].notna()]
    exact = greedy[greedy["precision"] == "fp32"]
    if len(exact):
        yield (
            f"Greedy in fp32: {number(100 * exact['equal_texts'].mean())}% of the texts equal those of plain decoding; "
            "a text that leaves it elsewhere than at a near tie would have failed its job."
        )
    rounded = greedy[greedy["precision"] != "fp32"]
    if len(rounded):
        yield (
            f"Greedy in {', '.join(dict.fromkeys(rounded['precision']))}: {number(100 * rounded['equal_texts'].mean())}% "
            "of the texts equal those of plain decoding. A "
            "pass over several tokens rounds otherwise than a pass over one, and may turn a near tie."
        )
    if cells["host_bound"].any():
        bound = cells[cells["host_bound"].astype(bool)]
        yield (
            f"Host-bound, since their passes are not captured: {', '.join(bound['cell'])}. Their speed-ups are those of "
            "launching kernels."
        )


def _outcome(best: pd.Series, lengths: int) -> str:
    length = int(best["draft_tokens"])
    if not best["proposed"]:
        return f"nothing was ever proposed; {number(best['speedup'])} times the plain speed."
    start = f"{'at its best draft length, ' if lengths > 1 else ''}{length} tokens at a time: "
    unsure = best["speedup_low"] <= 1 <= best["speedup_high"]
    spread = (
        f" ({interval_words(best['speedup_low'], best['speedup_high'])}"
        f"{', not told apart from 1' if unsure else ''})"
        if pd.notna(best["speedup_low"])
        else ""
    )
    share = best["proposing_share"]
    seldom = f", {number(100 * share)}% of the passes having a proposal to check" if share < 1 else ""
    speed = (
        f"{start}{number(100 * best['accepted_share'])}% of the proposed tokens are accepted (95% interval "
        f"{number(100 * best['accepted_share_low'])} to {number(100 * best['accepted_share_high'])}) and a pass of the main "
        f"model gives {number(best['tokens_per_pass'])} tokens{seldom}; {number(best['speedup'])} times the plain "
        f"speed{spread}, expected from acceptance and costs {number(best['expected_speedup'])}."
    )
    return speed + (f" {_why_slower(best)}" if best["speedup"] < 1 - SAME and not unsure else "")


def _why_slower(best: pd.Series) -> str:
    """Costs against what they buy, of passes with a proposal."""
    length, acceptance = int(best["draft_tokens"]), best["acceptance"]
    cost = length * best["draft_cost"] + best["check_cost"]
    gives = tokens_expected(acceptance, length)
    costs = (
        f"a proposal and its check cost {number(cost)} plain steps ({length} × {number(best['draft_cost'])} for the draft, "
        f"{number(best['check_cost'])} for the check)"
    )
    if gives > cost:
        return (
            f"It is slower although alone {costs} and should give {number(gives)} tokens: in the run a pass with its "
            f"proposal took {number(best['tokens_per_pass'] / best['speedup'])} plain steps and gave "
            f"{number(best['tokens_per_pass'])} tokens."
        )
    need = (
        "no acceptance would pay for that"
        if pd.isna(best["break_even"])
        else f"it breaks even where {number(100 * best['break_even'])}% of the examined tokens are accepted, not "
        f"{number(100 * acceptance)}%"
    )
    return f"It is slower because {costs} and should give {number(gives)} tokens: {need}."


def _axes(cells: pd.DataFrame) -> dict[str, pd.Series]:
    return {
        **{axis: cells[axis] for axis in WORDS},
        "draft length": cells["draft_tokens"].map(str),
    }


def _per_cent(cells: pd.DataFrame, share: str) -> list[str]:
    return with_interval(*(100 * cells[share + end] for end in ("", "_low", "_high")))


def _speed_table(cells: pd.DataFrame):
    unit, per_unit = byte_unit(cells["draft_weight_bytes"].max())
    texts = _axes(cells)
    texts["proposed"] = cells["proposed"].map("{:,}".format)
    texts["accepted / proposed, %"] = _per_cent(cells, "accepted_share")
    texts["tokens per pass"] = cells["tokens_per_pass"].map(number)
    texts["plain tokens/s"] = cells["plain_tokens_per_s"].map(number)
    texts["speed-up"] = with_interval(cells["speedup"], cells["speedup_low"], cells["speedup_high"])
    texts["expected"] = cells["expected_speedup"].map(number)
    texts[f"draft's weights, {unit}"] = (cells["draft_weight_bytes"] / per_unit).map(number)
    return table_of(texts, set(WORDS))


def _cost_table(cells: pd.DataFrame):
    texts = _axes(cells)
    texts["draft, per token (c)"] = cells["draft_cost"].map(number)
    texts["check"] = cells["check_cost"].map(number)
    texts["accepted / examined, %"] = _per_cent(cells, "acceptance")
    texts["break-even, %"] = [
        "never" if pd.isna(share) else number(100 * share) for share in cells["break_even"]
    ]
    texts["expected speed-up"] = cells["expected_speedup"].map(number)
    texts["with a check as cheap as a step"] = cells["expected_speedup_paper"].map(number)
    return table_of(texts, set(WORDS))
