"""Distinct-n, repetition and self-BLEU, worked by hand."""

import pytest

from inferbench.analysis.diversity import distinct, repetition, self_bleu


def test_distinct_counts_over_all_texts_together():
    texts = [[1, 2, 1, 2], [1, 2, 3]]
    # 7 tokens, of which 1, 2, 3 are distinct.
    assert distinct(texts, 1) == pytest.approx(3 / 7)
    # Pairs: 12 21 12, 12 23: 5, of which 12, 21, 23. No pair runs from one text into the next (2, 1).
    assert distinct(texts, 2) == pytest.approx(3 / 5)
    assert distinct([[1], [2]], 2) is None


def test_repetition_is_what_was_said_before():
    # Runs of 4 in 1 2 3 4 1 2 3 4: 1234 2341 3412 4123 1234: one of five has been said.
    assert repetition([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(1 / 5)
    assert repetition([1, 2, 3, 4, 5]) == 0
    # Of 7 runs of the same token 6 are repeated.
    assert repetition([9] * 10) == pytest.approx(6 / 7)
    assert repetition([1, 2, 3]) is None


def test_self_bleu_by_hand():
    # Of "a b c d e" in "a b c d f": 4 of 5 words, 3 of 4 pairs, 2 of 3 triples, 1 of 2 runs of four.
    expected = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
    assert self_bleu([["a b c d e", "a b c d f"]]) == pytest.approx(expected)


def test_self_bleu_compares_within_a_group_and_averages_over_texts():
    same = ["the cat sat on the mat"] * 2
    assert self_bleu([same]) == pytest.approx(100)
    other = ["one two three four five", "six seven eight nine ten"]
    apart = self_bleu([other])
    assert apart < 5
    # Nothing of one group is looked for in another: two texts of each.
    assert self_bleu([same, other]) == pytest.approx((100 + apart) / 2)
    assert self_bleu([["alone"], ["alone"]]) is None
