"""The token ids that a batch starts from: distinct prompts, chosen by seed, padded on the left."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import yaml
from transformers import PreTrainedModel

from inferbench.settings.job import Fault, Lengths, WorkloadConfig
from inferbench.settings.repository import in_repository


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
    workload: WorkloadConfig, batch_size: int, seed: int, tokenizer, model: PreTrainedModel
) -> PromptBatch:
    """Distinct prompts of the lengths that the workload asks for, on the model's device.

    Row 0 has exactly `prompt_tokens`; with unequal lengths the others have from half of that. Rows
    are shipped prompts, shuffled by the seed and joined until they are long enough; a model without
    a tokenizer (synthetic) gets random ids instead. Raises Fault as `require_known` does.
    """
    rng = random.Random(seed)
    lengths = [workload.prompt_tokens] * batch_size
    if workload.lengths is Lengths.unequal:
        lengths[1:] = [
            rng.randint((workload.prompt_tokens + 1) // 2, workload.prompt_tokens)
            for _ in range(batch_size - 1)
        ]
    if tokenizer is None:
        rows = random_rows(lengths, rng, model)
    else:
        rows = _real_rows(workload, lengths, rng, tokenizer)
        require_known(rows, model)
    return pad_left(rows, padding=0, device=model.device)


def joined_prompt(path: str, tokens: int, seed: int, tokenizer, model: PreTrainedModel) -> list[int]:
    """Token ids of shipped prompts, shuffled by the seed and joined until there are `tokens` of them."""
    workload = WorkloadConfig("", tokens, 1, Lengths.equal, path)
    return make_batch(workload, 1, seed, tokenizer, model).input_ids[0].tolist()


def text_ids(text: str, tokenizer) -> list[int]:
    """Token ids of a text that goes on: begun as the tokenizer begins one, and not ended as some end it."""
    return beginning(tokenizer) + tokenizer(text, add_special_tokens=False).input_ids


def beginning(tokenizer) -> list[int]:
    """What the tokenizer puts before a text (the BOS that the model was trained with), if anything."""
    plain, whole = tokenizer("a", add_special_tokens=False).input_ids, tokenizer("a").input_ids
    return next(whole[:start] for start in range(len(whole)) if whole[start:][: len(plain)] == plain)


def require_known(rows: Iterable[Sequence[int]], model: PreTrainedModel) -> None:
    """Raise Fault where a token lies beyond the vocabulary of the model: on a GPU, indexing with it would end the
    process."""
    size = len(model.get_input_embeddings().weight)
    largest = max(map(max, rows))
    if largest >= size:
        raise Fault(
            f"the tokenizer in {model.name_or_path} gives token {largest}, and the model there knows {size}: it is another"
            " model's; put its own there"
        )


def random_rows(lengths: Sequence[int], rng: random.Random, model: PreTrainedModel) -> list[list[int]]:
    """Random token ids that stand for text: of the model's vocabulary, and none to which its configs give a role."""
    roles: set[int] = set()
    for config in (model.config, model.config.get_text_config(), model.generation_config):
        for name, value in config.to_dict().items():
            if name.endswith(("token_id", "token_ids")):
                roles.update(value if isinstance(value, list) else [value])
    ids = [token for token in range(len(model.get_input_embeddings().weight)) if token not in roles]
    return [[rng.choice(ids) for _ in range(length)] for length in lengths]


def _real_rows(
    workload: WorkloadConfig, lengths: list[int], rng: random.Random, tokenizer
) -> list[list[int]]:
    texts = yaml.safe_load(in_repository(workload.prompts).read_text())
    # Each row starts with another prompt, so that no two rows are alike.
    firsts = rng.sample(texts, len(texts))
    rows = []
    for index, length in enumerate(lengths):
        rest = rng.sample(texts, len(texts))
        ids = text_ids(firsts[index % len(firsts)], tokenizer)
        while len(ids) < length:
            ids = ids + tokenizer("\n\n" + rest.pop(), add_special_tokens=False).input_ids
            rest = rest or rng.sample(texts, len(texts))
        rows.append(ids[:length])
    return rows


def pad_left(rows: Sequence[Sequence[int]], padding: int, device: torch.device) -> PromptBatch:
    """Rows of unequal length as one batch, their ends aligned."""
    width = max(map(len, rows))
    ids = torch.tensor([[padding] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return PromptBatch(ids, None if all(len(row) == width for row in rows) else mask)
