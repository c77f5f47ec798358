"""What the report says of the experiment `batching`."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from inferbench.analysis.statistics import MIN_DIFFERENCE
from inferbench.experiments.batching.table import centres, jobs
from inferbench.presentation.page_tables import Table, table_of, with_interval
from inferbench.presentation.sections import Section, Texts, host_bound
from inferbench.presentation.words import interval_words, number

SUBJECT = ["model", "precision", "attention"]
SIZE = [*SUBJECT, "batch_size"]
METRICS = {
    "one_by_one_s": "one by one, s",
    "batch_s": "as a batch, s",
    "speedup": "speed-up",
    "one_by_one_tokens_per_s": "one by one, tokens/s of all",
    "batch_tokens_per_s": "as a batch, tokens/s of all",
    "one_by_one_user_tokens_per_s": "one by one, tokens/s a user sees",
    "batch_user_tokens_per_s": "as a batch, tokens/s a user sees",
}
#: Prompts whose two texts are shown.
SHOWN = 2


def section(table: pd.DataFrame, samples: pd.DataFrame) -> Section:
    """The section of the table and its samples."""
    done = jobs(table)
    # Jobs of one size have the same prompts, and a share of 0 has no logarithm.
    shares = done.groupby(SIZE, sort=False)["padding_share"].first()
    sizes = centres(done, SIZE, list(METRICS)).join(shares, on=SIZE)
    return Section(
        "Batching",
        "What is gained when prompts of unequal length are decoded as one batch, padded on the left, instead of one "
        "by one; what does one user lose by it; and do the texts stay the same? Times include the prefill.",
        [
            *(
                sentence
                for _, own in sizes.groupby(SUBJECT, sort=False)
                for sentence in _sentences(own, table)
            ),
            *host_bound(table),
        ],
        [("Times and speeds", _size_table(sizes)), ("Texts in the batch and alone", _text_table(table))],
        _texts(table, samples),
    )


def _sentences(own: pd.DataFrame, table: pd.DataFrame) -> Iterator[str]:
    subject = ", ".join(own.iloc[0][SUBJECT])
    best = own.loc[own["speedup"].astype(float).idxmax()]
    interval = f" ({interval_words(best['speedup_low'], best['speedup_high'])})"
    yield (
        f"{subject}: {best['batch_size']} prompts take {number(best['one_by_one_s'])} s one by one and "
        f"{number(best['batch_s'])} s as one batch, {number(best['speedup'])} times as fast{interval}, although "
        f"{number(100 * best['padding_share'])}% of the batch's prompt tokens are padding. In the batch a user sees "
        f"{number(best['batch_user_tokens_per_s'])} tokens/s, served alone "
        f"{number(best['one_by_one_user_tokens_per_s'])}."
    )
    slower = own[own["speedup"].astype(float) < 1 - MIN_DIFFERENCE]
    told = slower["speedup_high"].astype(float)
    for sizes, words in (
        (slower[told < 1], "slower than one by one"),
        (slower[told.isna()], "slower than one by one in these runs (no interval)"),
    ):
        if len(sizes):
            yield f"{subject}: as a batch of {', '.join(map(str, sizes['batch_size']))} they are {words}."
    texts = _compared(table[(table[SUBJECT] == own.iloc[0][SUBJECT]).all(axis=1)])
    equal = int(texts["text_equal"].sum())
    same = f"{subject}: {equal} of {len(texts)} texts are the same in the batch as alone, token for token"
    gap = texts["parted_gap"].max()
    if equal == len(texts):
        yield f"{same}."
    elif gap == 0:
        yield f"{same}; the others part where the two likeliest tokens tie in the logits."
    else:
        yield (
            f"{same}; the others part where the two likeliest tokens are at most {number(gap)} standard deviations of "
            "the logits apart."
        )


def _size_table(sizes: pd.DataFrame) -> Table:
    texts = {axis: sizes[axis] for axis in SUBJECT}
    texts["prompts"] = sizes["batch_size"].astype(str)
    texts["padding, %"] = (100 * sizes["padding_share"].astype(float)).map(number)
    for metric, title in METRICS.items():
        texts[title] = sizes[metric].map(number)
    texts["speed-up"] = with_interval(sizes["speedup"], sizes["speedup_low"], sizes["speedup_high"])
    return table_of(texts, set(SUBJECT))


def _compared(table: pd.DataFrame) -> pd.DataFrame:
    """A row per size and prompt: whether its texts are equal in every replicate, the earliest token and the
    largest gap at which they part."""
    ok = table[table["status"] == "ok"].groupby([*SIZE, "prompt"], sort=False)
    return ok.agg({"text_equal": "all", "parted_at": "min", "parted_gap": "max"}).reset_index()


def _text_table(table: pd.DataFrame) -> Table:
    """A row per size: of how many prompts the texts are equal, how early and how far from a tie the others part."""
    sizes = _compared(table).groupby(SIZE, sort=False)
    found = sizes.agg(
        equal=("text_equal", "sum"),
        compared=("text_equal", "size"),
        first=("parted_at", "min"),
        gap=("parted_gap", "max"),
    ).reset_index()
    texts = {axis: found[axis] for axis in SUBJECT}
    texts["prompts"] = found["batch_size"].astype(str)
    texts["equal texts"] = [
        f"{equal} of {compared}" for equal, compared in zip(found["equal"], found["compared"])
    ]
    texts["first token that differs"] = ["-" if pd.isna(at) else f"{at:.0f}" for at in found["first"]]
    texts["largest gap to the second token there, deviations"] = found["gap"].map(number)
    return table_of(texts, set(SUBJECT))


def _texts(table: pd.DataFrame, samples: pd.DataFrame) -> list[Texts]:
    """The first texts that part, of every model, precision and attention."""
    parted = table[(table["status"] == "ok") & table["parted_at"].notna()]
    found = []
    for key, own in parted.groupby(SUBJECT, sort=False):
        first = own[own["cell"] == own["cell"].iloc[0]].drop_duplicates("prompt").head(SHOWN)
        shown = []
        for row in first.itertuples():
            job = (samples["cell"] == row.cell) & (samples["replicate"] == row.replicate)
            here = samples[job & (samples["prompt"] == row.prompt) & samples["text"].notna()]
            for batched, way in ((False, "alone"), (True, "in the batch")):
                texts = here[here["batched"] == batched]["text"]
                shown += [(f"prompt {row.prompt}, {way}", text) for text in texts.head(1)]
        if shown:
            note = f"Batch of {own['batch_size'].iloc[0]}; the first texts that differ there."
            found.append(Texts(f"Texts that part: {', '.join(key)}", note, shown))
    return found
