"""Greedy decoding with a stepper, and the plain loop, which every other way to decode is held against.

Shapes: B sequences, P prompt tokens (padded on the left), V vocabulary. A token tensor is (B, 1).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import DynamicCache, PreTrainedModel

from inferbench.engines.protocol import Stepper, Timeline, in_step
from inferbench.models.cache import STATE, cache_argument, cache_bytes, cache_tensors
from inferbench.models.prompts import PromptBatch
from inferbench.settings.outcomes import NotKnown, Unsupported


@contextmanager
def attention_of(model: PreTrainedModel, implementation: str) -> Iterator[None]:
    """The model with another attention while the body runs: several decoders share one model."""
    config = model.config
    previous, config._attn_implementation = config._attn_implementation, implementation
    try:
        yield
    finally:
        config._attn_implementation = previous


def greedy(logits: torch.Tensor) -> torch.Tensor:
    """(B, V) -> (B, 1), the likeliest token."""
    return logits.argmax(dim=-1, keepdim=True)


class LoopDecoder:
    """The plain loop: a cache that grows, eager kernels, one forward pass per token."""

    captured = False

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self.cache_argument = cache_argument(model)
        self.cache_is_filled = False

    @torch.inference_mode()
    def prefill(self, batch: PromptBatch) -> torch.Tensor:
        """Start anew from the prompts; return the first token, (B, 1). Raises Unsupported, the first time, for a
        model that leaves the cache empty: its steps would not see what was before them."""
        self.cache = DynamicCache(config=self.model.config)
        self.mask = batch.attention_mask
        self.position = batch.positions[:, -1:]
        token = self._forward(batch.input_ids, batch.positions)
        if not self.cache_is_filled:
            try:
                cache_tensors(self.cache)
            except NotKnown as error:
                raise Unsupported(f"{error}: no step after the prompt would see it") from error
            self.cache_is_filled = True
        return token

    @torch.inference_mode()
    def step(self, token: torch.Tensor) -> torch.Tensor:
        self.position = self.position + 1
        if self.cache_argument == STATE:
            # A state has padding no more, and such models take the mask for one of the tokens that they are given.
            self.mask = None
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(token), 1)], dim=1)
        return self._forward(token, self.position)

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        out = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **{self.cache_argument: self.cache},
        )
        self.logits = out.logits[:, -1]
        return greedy(self.logits)

    def rewind(self, steps: int) -> None:
        try:
            self.cache.crop(-steps)
        except (RuntimeError, TypeError) as error:  # the latter from a layer that nothing was kept in
            raise NotKnown(
                "steps cannot be decoded again: a sliding window or a recurrent state does not keep what it was before"
                " them"
            ) from error
        self.position = self.position - steps
        if self.mask is not None:
            self.mask = self.mask[:, :-steps]

    def cache_bytes(self) -> int:
        return cache_bytes(self.cache)

    def dirty_cache(self) -> None:
        """Each prefill has a new cache."""

    @contextmanager
    def uncaptured(self) -> Iterator[None]:
        yield


def decode(decoder: Stepper, batch: PromptBatch, new_tokens: int) -> Timeline:
    """Prefill, then one step per token, each read back before the next starts: what a user streams."""
    seconds = [time.perf_counter()]
    token = decoder.prefill(batch)
    read = [token.tolist()]
    seconds.append(time.perf_counter())
    for _ in range(new_tokens - 1):
        token = decoder.step(token)
        # Reading waits for the step: the time that follows is the time at which a user has the token.
        read.append(token.tolist())
        seconds.append(time.perf_counter())
    return in_step(torch.tensor(read).squeeze(-1).T, seconds)


def unread_step_s(decoder: Stepper, token: torch.Tensor, steps: int) -> float:
    """Seconds per step of as many, with the tokens left on the device and one wait at the end; the
    decoder is then where it was before."""
    token.tolist()
    started = time.perf_counter()
    for _ in range(steps):
        token = decoder.step(token)
    token.tolist()
    seconds = (time.perf_counter() - started) / steps
    decoder.rewind(steps)
    return seconds


def teacher_forced_logits(decoder: Stepper, batch: PromptBatch, tokens: torch.Tensor) -> torch.Tensor:
    """(N + 1, B, V) float32 on the host: logits after the prompt and after each of the given tokens,
    (B, N), whatever the decoder itself would have chosen."""
    decoder.prefill(batch)
    logits = [on_host(decoder.logits)]
    for column in tokens.to(batch.input_ids.device).unbind(dim=1):
        decoder.step(column[:, None])
        logits.append(on_host(decoder.logits))
    return torch.stack(logits)


def on_host(logits: torch.Tensor) -> torch.Tensor:
    """The logits in float32 on the host."""
    # A copy even where nothing changes: a captured step overwrites its logits.
    return logits.to("cpu", torch.float32, copy=True)
