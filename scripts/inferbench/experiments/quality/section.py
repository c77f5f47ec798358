"""What the report says of the experiment `quality`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import pandas as pd

from inferbench.experiments.quality.table import ranked
from inferbench.presentation.page_tables import Table, table_of, with_interval
from inferbench.presentation.sections import Section, Texts
from inferbench.presentation.words import byte_unit, ends, number

SUBJECT = ["model", "attention", "reference"]


def section(table: pd.DataFrame, samples: pd.DataFrame) -> Section:
    """The section of the table and its samples."""
    order = ranked(table)
    subjects = [own for _, own in order.groupby(SUBJECT, sort=False)]
    windows = "/".join(dict.fromkeys(order["windows"].map("{:,}".format)))
    return Section(
        "Quality by precision",
        "How much of the model's quality does a precision cost? A fixed text is read token by token, and the "
        "distribution of each next token is compared with the reference precision's. Precisions are ranked by KL "
        "divergence, which counts every change of the distribution; in a perplexity changes for better and worse cancel.",
        [sentence for own in subjects for sentence in _sentences(own, table)],
        [(f"Distance from the reference, nearest first; 95% intervals over {windows} windows", _table(order))]
        if len(order)
        else [],
        [texts for own in subjects for texts in _continuations(own, samples)],
    )


def _sentences(own: pd.DataFrame, table: pd.DataFrame) -> Iterator[str]:
    first = own.iloc[0]
    subject = f"{first['model']}, {first['attention']}"
    others = own[own["precision"] != first["reference"]]
    if len(others):
        places = [
            f"{row.precision} {number(row.kl)}{ends(row.kl_low, row.kl_high)}" for row in others.itertuples()
        ]
        yield f"{subject}: mean KL divergence from {first['reference']} in nats a token: {'; '.join(places)}."
        shares = [f"{row.precision} {100 * row.top1:.1f}%" for row in others.itertuples()]
        yield f"{subject}: positions whose likeliest next token is that of {first['reference']}: {', '.join(shares)}."
    close = [
        f"{near.precision} and {far.precision}"
        for near, far in combinations(others.itertuples(), 2)
        if pd.notna(near.kl_high) and near.kl_high >= far.kl_low
    ]
    if close:
        yield f"{subject}: the intervals of the divergences overlap for {', '.join(close)}."
    by_perplexity = list(own.sort_values("perplexity", kind="stable")["precision"])
    if by_perplexity != list(own["precision"]):
        yield f"{subject}: perplexity alone would order them otherwise: {', '.join(by_perplexity)}."
    same = table[table["cell"].isin(own["cell"]) & (table["status"] == "ok")]
    if (same.groupby("cell")["kl"].nunique() > 1).any():
        yield f"{subject}: replicates differ in the last digits; the first of each is shown."
    if first["model_source"] == "bundled":
        yield (
            f"{first['model']} is bundled as 4-bit weights (Q4_1), so its {first['reference']} is itself dequantised: the "
            "divergences are from that, not from the weights that were trained."
        )


def _table(order: pd.DataFrame) -> Table:
    unit, per_unit = byte_unit(order["weight_bytes"].max())
    texts = {axis: order[axis] for axis in (*SUBJECT, "precision")}
    for name, title, scale in (
        ("kl", "KL divergence, nats", 1),
        ("top1", "top-1 agreement, %", 100),
        ("perplexity", "perplexity", 1),
        ("perplexity_ratio", "perplexity ÷ reference's", 1),
    ):
        texts[title] = with_interval(*(scale * order[name + end] for end in ("", "_low", "_high")))
    texts[f"weights, {unit}"] = (order["weight_bytes"].astype(float) / per_unit).map(number)
    return table_of(texts, {*SUBJECT, "precision"})


def _continuations(own: pd.DataFrame, samples: pd.DataFrame) -> Iterator[Texts]:
    """Per prompt, the reference's continuation, then each precision's, nearest first."""
    first = own.iloc[0]
    said = own.merge(samples[samples["prompt"].notna()], on=["cell", "replicate"])
    for prompt, answers in said.groupby("prompt", sort=False):
        reference = (f"{first['reference']} (the reference)", answers["reference_text"].iloc[0])
        others = answers[answers["precision"] != first["reference"]]
        yield Texts(
            f"{first['model']}, {first['attention']}: “{prompt}”",
            "Greedy continuations, and the first token at which each leaves the reference.",
            [
                reference,
                *((f"{row.precision}: {_departure(row)}", row.text) for row in others.itertuples()),
            ],
        )


def _departure(row) -> str:
    if pd.isna(row.leaves_at):
        return f"the same in all {int(row.compared_tokens)} tokens"
    own, reference = (token.replace("\n", "\\n") for token in (row.leaves_with, row.reference_token))
    return (
        f"leaves at token {int(row.leaves_at)} of {int(row.compared_tokens)}, with “{own}” for “{reference}”"
    )
