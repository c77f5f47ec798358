"""Prompts as a user sends them to a model, in its chat template where it has one, and where an answer ends."""

from __future__ import annotations

import random
from collections.abc import Sequence

import yaml
from transformers import PreTrainedModel

from inferbench.config import ConfigError, in_repository


def choose_prompts(path: str, count: int, seed: int) -> list[str]:
    """`count` distinct texts of a YAML list. Raises ConfigError when it has fewer."""
    texts = yaml.safe_load(in_repository(path).read_text())
    if count > len(texts):
        raise ConfigError(
            f"{count} prompts asked for, but {path} has {len(texts)}: ask for fewer or add some."
        )
    return random.Random(seed).sample(texts, count)


def request_ids(prompt: str, tokenizer) -> list[int]:
    """Token ids of one request."""
    if tokenizer.chat_template is None:
        return tokenizer(prompt).input_ids
    message = {"role": "user", "content": prompt}
    return tokenizer.apply_chat_template([message], add_generation_prompt=True, return_dict=False)


def until_end(tokens: Sequence[int], model: PreTrainedModel) -> list[int]:
    """The tokens to the first that ends a sequence, that one included; all of them if none does."""
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    places = [place for place, token in enumerate(tokens) if token in ends]
    return list(tokens[: places[0] + 1] if places else tokens)
