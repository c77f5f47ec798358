"""Strategies: the distribution is the one that transformers draws from, and draws follow it."""

import pytest
import torch
from scipy.stats import chisquare
from transformers.generation.logits_process import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from inferbench.engines.sampling import draw, probabilities
from inferbench.settings.job import ConfigError
from inferbench.settings.strategy import Strategy
from tiny_models import tiny_llama


def generators(seed=0):
    return torch.Generator().manual_seed(seed)


def transformers_probabilities(logits, *warpers):
    return LogitsProcessorList(warpers)(None, logits).softmax(-1)


@pytest.mark.parametrize(
    "strategy, warpers",
    [
        (Strategy(temperature=1.5), [TemperatureLogitsWarper(1.5)]),
        (Strategy(temperature=5.5), [TemperatureLogitsWarper(5.5)]),
        (Strategy(temperature=0.7, top_k=50), [TemperatureLogitsWarper(0.7), TopKLogitsWarper(50)]),
        (Strategy(temperature=0.7, top_p=0.9), [TemperatureLogitsWarper(0.7), TopPLogitsWarper(0.9)]),
        (
            Strategy(temperature=0.8, top_k=50, top_p=0.9),
            [TemperatureLogitsWarper(0.8), TopKLogitsWarper(50), TopPLogitsWarper(0.9)],
        ),
        (Strategy(top_k=1000), [TopKLogitsWarper(1000)]),
        (Strategy(top_p=0.001), [TopPLogitsWarper(0.001)]),
    ],
)
def test_the_distribution_is_that_of_transformers(strategy, warpers):
    logits = 3 * torch.randn(4, 300, generator=generators())
    torch.testing.assert_close(
        probabilities(logits, strategy), transformers_probabilities(logits, *warpers), rtol=1e-6, atol=0
    )


def test_greedy_is_one_hot_whatever_the_other_settings():
    logits = torch.tensor([[1.0, 3.0, 2.0], [0.0, -1.0, -2.0]])
    found = probabilities(logits, Strategy(do_sample=False, temperature=9.0, top_k=2))
    assert found.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert draw(found, generators()).tolist() == [[1], [0]]


def test_top_k_and_top_p_by_hand():
    # Probabilities 0.5, 0.3, 0.15, 0.05.
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert probabilities(logits, Strategy(top_k=2))[0].tolist() == pytest.approx([0.625, 0.375, 0, 0])
    # 0.5 + 0.3 do not reach 0.9, so the third stays: 0.95 are left.
    found = probabilities(logits, Strategy(top_p=0.9))[0].tolist()
    assert found == pytest.approx([0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0])
    # Temperature 0.5 squares: 0.25, 0.09, 0.0225, 0.0025 of 0.365.
    found = probabilities(logits, Strategy(temperature=0.5))[0].tolist()
    assert found == pytest.approx([0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365])


def test_draws_follow_the_distribution_and_never_leave_it():
    distribution = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    drawn = draw(distribution.expand(20_000, 5), generators(1)).flatten()
    counts = torch.bincount(drawn, minlength=5)
    assert counts[4] == 0
    assert chisquare(counts[:4], 20_000 * distribution[:4]).pvalue > 0.001


def test_a_seed_repeats_its_draws_and_another_seed_does_not():
    flat = torch.ones(50, 100) / 100
    first = draw(flat, generators(2))
    assert torch.equal(draw(flat, generators(2)), first)
    assert not torch.equal(draw(flat, generators(3)), first)


def test_half_precision_logits_are_a_distribution_in_fp32():
    model = tiny_llama(dtype=torch.bfloat16)
    with torch.inference_mode():
        logits = model(torch.tensor([[1, 2, 3]])).logits[0]
    found = probabilities(logits, Strategy(temperature=0.7, top_p=0.9))
    assert found.dtype is torch.float32
    assert found.sum(-1).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_a_setting_without_a_meaning_is_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Strategy(**wrong)
