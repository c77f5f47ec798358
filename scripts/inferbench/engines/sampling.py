"""Sampling strategies: the distribution that a token is drawn from, and the draw.

Shapes: B positions, V vocabulary. Nothing here reads a device tensor on the host, so a captured step
may contain all of it.
"""

from __future__ import annotations

import torch

from inferbench.settings.strategy import Strategy


def probabilities(logits: torch.Tensor, strategy: Strategy) -> torch.Tensor:
    """(B, V) -> (B, V) float32: the distribution that `strategy` draws from; greedy is one-hot.

    Temperature, top-k, top-p, in the order of transformers' `generate()`; of tokens whose logits tie at
    the edge, top-k keeps all.
    """
    scores = logits.float()
    if not strategy.do_sample:
        return torch.zeros_like(scores).scatter_(-1, scores.argmax(-1, keepdim=True), 1.0)
    scores = scores / strategy.temperature
    if strategy.top_k:
        least = scores.topk(min(strategy.top_k, scores.shape[-1]), dim=-1).values[..., -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if strategy.top_p:
        scores = scores.masked_fill(_outside_nucleus(scores, strategy.top_p), -torch.inf)
    return scores.softmax(-1)


def _outside_nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """(B, V) bool: the unlikeliest tokens that together have at most 1 - top_p. The likeliest one stays.

    Holtzman et al., "The curious case of neural text degeneration", 2020 (1904.09751), section 3.1.
    """
    ascending, order = scores.sort(dim=-1)
    outside = ascending.softmax(-1).cumsum(-1) <= 1 - top_p
    outside[..., -1] = False
    return outside.scatter(-1, order, outside)


def draw(distribution: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(B, V) -> (B, 1): one token of each row's distribution."""
    shares = torch.rand(len(distribution), 1, generator=generator, device=distribution.device)
    return draw_at(distribution, shares)


def draw_at(distribution: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """(B, V), (B, 1) random numbers of [0, 1) -> (B, 1): the token at that share of each row's
    distribution, by inversion of its cumulative sum.

    `torch.multinomial` checks its input on the host first, which a CUDA graph cannot contain, and needs a
    random number per token of the vocabulary: ten times slower on a CPU at 49 152.
    """
    # In float64 no share of the last sum is rounded up to it, so a token without probability is never hit.
    cumulative = distribution.cumsum(-1, dtype=torch.float64)
    return torch.searchsorted(cumulative, shares * cumulative[:, -1:], right=True)
