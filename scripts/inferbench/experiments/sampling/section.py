"""What the report says of the experiment `sampling`."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from inferbench.experiments.sampling.table import SUBJECT, per_strategy
from inferbench.presentation.page_tables import Table, table_of, with_interval
from inferbench.presentation.sections import Section, Texts, host_bound
from inferbench.presentation.words import ends, number

#: Texts of one prompt and strategy that the page shows, and prompts of one model, precision and attention.
SHOWN_SEEDS, SHOWN_PROMPTS = 2, 3


def section(table: pd.DataFrame, samples: pd.DataFrame) -> Section:
    """The section of the table and its samples."""
    order = per_strategy(table)
    subjects = [own for _, own in order.groupby(SUBJECT, sort=False)]
    return Section(
        "Sampling",
        "What does a way to draw tokens do to the text, and what does it cost? Each strategy continues the same prompts "
        "with the same seeds. The more freely it draws, the more its texts differ and the less likely the model "
        "itself finds them.",
        [*(sentence for own in subjects for sentence in _sentences(own, samples)), *host_bound(table)],
        [("Strategies", _table(order))] if len(order) else [],
        [texts for own in subjects for texts in _texts(own, samples)],
    )


def _sentences(own: pd.DataFrame, samples: pd.DataFrame) -> Iterator[str]:
    first = own.iloc[0]
    subject = ", ".join(first[SUBJECT])
    told = own[own["log_likelihood"].notna()].astype({"log_likelihood": float, "distinct_2": float})
    if len(told) > 1:
        likely, varied = told["log_likelihood"], told["distinct_2"]
        yield (
            f"{subject}: the model finds the texts of {_where(told, likely, likely.max())} likeliest "
            f"({number(likely.max())} nats a token) and those of {_where(told, likely, likely.min())} least "
            f"({number(likely.min())}). The most varied are those of {_where(told, varied, varied.max())} "
            f"({100 * varied.max():.0f}% of pairs of tokens are distinct), the least those of "
            f"{_where(told, varied, varied.min())} ({100 * varied.min():.0f}%)"
            + (
                ", which says the same with every seed."
                if told.loc[varied.idxmin(), "strategy"] == "greedy"
                else "."
            )
        )
    elif told.empty:
        yield f"{subject}: random weights say nothing, so only speed is shown."
    drawn = own[own["strategy"] != "greedy"]
    if len(drawn):
        costs = [f"{row.strategy} {_cost(row)}" for row in drawn.itertuples()]
        unsure = " (no intervals)" if drawn["greedy_cost_low"].isna().all() else ""
        yield f"{subject}: time of a step against a greedy step of the same batch{unsure}: {', '.join(costs)}."
    control = own[own["strategy"] == "greedy"]
    if len(control):
        row = next(control.itertuples())
        yield f"{subject}: greedy against greedy, measured in the same way, gives {_cost(row)}."
    yield from _repeated(subject, own, samples)


def _where(told: pd.DataFrame, values: pd.Series, value: float) -> str:
    """The strategies with that value: several may have the highest."""
    return " and ".join(told.loc[values == value, "strategy"])


def _cost(row) -> str:
    return f"×{number(row.greedy_cost)}{ends(row.greedy_cost_low, row.greedy_cost_high)}"


def _repeated(subject: str, own: pd.DataFrame, samples: pd.DataFrame) -> Iterator[str]:
    """Whether every replicate drew the same tokens."""
    drawn = samples[samples["cell"].isin(own["cell"])]
    texts = drawn.assign(tokens=drawn["tokens"].map(tuple)).groupby(["cell", "prompt", "seed"])["tokens"]
    replicates = int(texts.size().max())
    if replicates > 1:
        same = int((texts.nunique() == 1).sum())
        yield f"{subject}: {same} of {len(texts)} texts are the same in all {replicates} replicates."


def _table(order: pd.DataFrame) -> Table:
    texts = {axis: order[axis] for axis in (*SUBJECT, "strategy")}
    texts["texts"] = order["texts"].map(str)
    for name, title in {
        "tokens_mean": "tokens a text",
        "log_likelihood": "log-likelihood, nats a token",
        "distinct_1": "distinct-1",
        "distinct_2": "distinct-2",
        "repetition": "repetition",
        "self_bleu": "self-BLEU",
        "tokens_per_s": "tokens/s",
        "greedy_cost": "step / greedy step",
    }.items():
        texts[title] = order[name].map(number)
    ends = order["log_likelihood_low"], order["log_likelihood_high"]
    texts["log-likelihood, nats a token"] = with_interval(order["log_likelihood"], *ends)
    return table_of(texts, {*SUBJECT, "strategy"})


def _texts(own: pd.DataFrame, samples: pd.DataFrame) -> Iterator[Texts]:
    first = own.iloc[0]
    said = own[["cell", "replicate", "strategy"]].merge(samples, on=["cell", "replicate"])
    said = said[said["text"].notna() & (said["seed"] <= SHOWN_SEEDS)]
    for prompt in list(dict.fromkeys(said["prompt"]))[:SHOWN_PROMPTS]:
        texts = said[said["prompt"] == prompt].drop_duplicates(["strategy", "text"])
        yield Texts(
            f"{first['model']}, {first['precision']}, {first['attention']}: “{prompt}”",
            f"By strategy, up to {SHOWN_SEEDS} seeds each; texts that come out the same stand once.",
            [(f"{row.strategy}, seed {row.seed}", row.text) for row in texts.itertuples()],
        )
