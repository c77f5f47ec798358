"""The cache that a model makes of its past: how it takes it, and what it holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from inspect import signature
from typing import Any

import torch
from transformers import PreTrainedModel

from inferbench.settings.outcomes import NotKnown

#: The argument by which models without any attention take their cache.
STATE = "cache_params"


def cache_argument(model: PreTrainedModel) -> str:
    """The name by which the model's forward pass takes its cache."""
    return STATE if STATE in signature(model.forward).parameters else "past_key_values"


def cache_bytes(cache: Any) -> int:
    """Bytes of all that a transformers cache holds of the tokens: keys, values, recurrent and other states, whatever
    their names. Raises NotKnown as cache_tensors does."""
    return sum(tensor.numel() * tensor.element_size() for layer in cache_tensors(cache) for tensor in layer)


def cache_tensors(cache: Any) -> list[list[torch.Tensor]]:
    """The tensors in each layer of a transformers cache. Raises NotKnown for what is no cache with layers, and for one in
    which nothing was kept."""
    layers = getattr(cache, "layers", None)
    if layers is None:
        kind = "nothing" if cache is None else f"a {type(cache).__name__}"
        raise NotKnown(f"the model gives {kind} back for its past, and no cache of transformers with layers")
    # What has no dimension is a counter.
    held = [[tensor for tensor in _tensors(vars(layer).values()) if tensor.ndim] for layer in layers]
    if not any(tensor.numel() for layer in held for tensor in layer):
        raise NotKnown("the model leaves the cache that it is given empty")
    return held


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, Mapping):
            yield from _tensors(value.values())
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
