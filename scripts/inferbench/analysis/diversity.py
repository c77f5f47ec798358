"""How much texts repeat themselves and one another: pure functions on token ids and texts."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from sacrebleu.metrics.bleu import BLEU


def distinct(texts: Sequence[Sequence[int]], n: int) -> float | None:
    """Distinct n-grams of all texts together, as a share of all their n-grams; None where there are none.

    Li et al., "A diversity-promoting objective function for neural conversation models", 2016 (1510.03055).
    It falls as texts grow longer: compare texts of one length.
    """
    grams = [gram for tokens in texts for gram in _grams(tokens, n)]
    return len(set(grams)) / len(grams) if grams else None


def repetition(tokens: Sequence[int], n: int = 4) -> float | None:
    """Share of a text's n-grams that it has said before; None where it has no n-gram.

    seq-rep-n of Welleck et al., "Neural text generation with unlikelihood training", 2020 (1908.04319).
    """
    share = distinct([tokens], n)
    return None if share is None else 1 - share


def self_bleu(groups: Sequence[Sequence[str]]) -> float | None:
    """Mean BLEU of each text against the other texts of its group, 0 (nothing in common) to 100 (all equal);
    None where no group has two texts.

    Zhu et al., "Texygen: a benchmarking platform for text generation models", 2018 (1802.01886); BLEU as
    sacrebleu computes it for one sentence: its tokenizer 13a, exponential smoothing, effective order.
    """
    bleu = BLEU(effective_order=True)
    # Rounded, because sacrebleu adds up floats with the built-in sum, whose last bits depend on Python's version.
    scores = [
        round(bleu.sentence_score(text, [*texts[:place], *texts[place + 1 :]]).score, 6)
        for texts in groups
        if len(texts) > 1
        for place, text in enumerate(texts)
    ]
    return mean(scores) if scores else None


def _grams(tokens: Sequence[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
