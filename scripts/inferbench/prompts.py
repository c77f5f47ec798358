"""The token ids that a batch starts from: distinct prompts, chosen by seed, padded on the left."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import yaml

from inferbench.config import Lengths, WorkloadConfig, in_repository


@dataclass
class PromptBatch:
    """input_ids: (batch, prompt_tokens). attention_mask: same shape, 1 = token, 0 = padding; None
    where there is no padding, so that no backend pays for a mask that masks nothing."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor | None

    @property
    def lengths(self) -> list[int]:
        """Tokens per prompt, padding not counted."""
        batch, width = self.input_ids.shape
        return [width] * batch if self.attention_mask is None else self.attention_mask.sum(-1).tolist()

    @property
    def positions(self) -> torch.Tensor:
        """(batch, prompt_tokens): each token's index in its own sequence; padding has 0."""
        if self.attention_mask is None:
            return torch.arange(self.input_ids.shape[1], device=self.input_ids.device).expand_as(
                self.input_ids
            )
        return (self.attention_mask.cumsum(-1) - 1).clamp(min=0)

    def last(self, tokens: int) -> PromptBatch:
        """The batch cut to its last tokens: a shorter prompt whose padding is still on the left."""
        mask = None if self.attention_mask is None else self.attention_mask[:, -tokens:]
        return PromptBatch(self.input_ids[:, -tokens:], mask)


def make_batch(
    workload: WorkloadConfig, batch_size: int, seed: int, tokenizer, vocabulary: int, device: torch.device
) -> PromptBatch:
    """Distinct prompts of the lengths that the workload asks for.

    Row 0 has exactly `prompt_tokens`; with unequal lengths the others have from half of that. Rows
    are shipped prompts, shuffled by the seed and joined until they are long enough; a model without
    a tokenizer (synthetic) gets random ids instead.
    """
    rng = random.Random(seed)
    lengths = [workload.prompt_tokens] * batch_size
    if workload.lengths is Lengths.unequal:
        lengths[1:] = [
            rng.randint((workload.prompt_tokens + 1) // 2, workload.prompt_tokens)
            for _ in range(batch_size - 1)
        ]
    if tokenizer is None:
        rows = [[rng.randrange(vocabulary) for _ in range(length)] for length in lengths]
    else:
        rows = _real_rows(workload, lengths, rng, tokenizer)
    return pad_left(rows, padding=0, device=device)


def joined_prompt(path: str, tokens: int, seed: int, tokenizer, vocabulary: int) -> list[int]:
    """Token ids of shipped prompts, shuffled by the seed and joined until there are `tokens` of them."""
    workload = WorkloadConfig("", tokens, 1, Lengths.equal, path)
    return make_batch(workload, 1, seed, tokenizer, vocabulary, torch.device("cpu")).input_ids[0].tolist()


def _real_rows(
    workload: WorkloadConfig, lengths: list[int], rng: random.Random, tokenizer
) -> list[list[int]]:
    texts = yaml.safe_load(in_repository(workload.prompts).read_text())
    # Each row starts with another prompt, so that no two rows are alike.
    firsts = rng.sample(texts, len(texts))
    rows = []
    for index, length in enumerate(lengths):
        rest = rng.sample(texts, len(texts))
        ids = tokenizer(firsts[index % len(firsts)]).input_ids
        while len(ids) < length:
            ids = ids + tokenizer("\n\n" + rest.pop()).input_ids
            rest = rest or rng.sample(texts, len(texts))
        rows.append(ids[:length])
    return rows


def pad_left(rows: Sequence[Sequence[int]], padding: int, device: torch.device) -> PromptBatch:
    """Rows of unequal length as one batch, their ends aligned."""
    width = max(map(len, rows))
    ids = torch.tensor([[padding] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return PromptBatch(ids, None if all(len(row) == width for row in rows) else mask)
