"""Prompts as a user sends them to a model, in its chat template where it has one, and where an answer ends."""

from __future__ import annotations

import random
from collections.abc import Sequence

import yaml
from transformers import PreTrainedModel

from inferbench.models.prompts import text_ids
from inferbench.settings.job import ConfigError
from inferbench.settings.repository import in_repository


def choose_prompts(path: str, count: int, seed: int) -> list[str]:
    """`count` distinct texts of a YAML list. Raises ConfigError when it has fewer."""
    texts = yaml.safe_load(in_repository(path).read_text())
    if count > len(texts):
        raise ConfigError(
            f"{count} prompts asked for, but {path} has {len(texts)}: ask for fewer or add some."
        )
    return random.Random(seed).sample(texts, count)


def request_ids(prompt: str, tokenizer) -> list[int]:
    """Token ids of what a user asks, in the form in which the model was taught to answer, if it has one."""
    if not tokenizer.chat_template:
        return text_ids(prompt, tokenizer)
    message = {"role": "user", "content": prompt}
    return tokenizer.apply_chat_template([message], add_generation_prompt=True, return_dict=False)


def end_tokens(model: PreTrainedModel, tokenizer) -> frozenset[int]:
    """Ids after which a sequence is over: those of the checkpoint's generation config and its tokenizer."""
    return frozenset(
        token for token in (*_configured_ends(model), tokenizer.eos_token_id) if token is not None
    )


def until_end(tokens: Sequence[int], model: PreTrainedModel) -> list[int]:
    """The tokens to the first that ends a sequence, that one included; all of them if none does."""
    ends = _configured_ends(model)
    places = [place for place, token in enumerate(tokens) if token in ends]
    return list(tokens[: places[0] + 1] if places else tokens)


def _configured_ends(model: PreTrainedModel) -> list[int | None]:
    ends = model.generation_config.eos_token_id
    return ends if isinstance(ends, list) else [ends]
