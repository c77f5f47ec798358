"""Greedy decoding, one class per execution mode, all with the same two verbs: prefill and step.

Shapes: B sequences, P prompt tokens (padded on the left), V vocabulary. A token tensor is (B, 1).
Every mode decodes exactly the number of tokens it is asked for: an end-of-sequence token is a token.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel
from transformers.generation.streamers import BaseStreamer

from inferbench.models.cache import STATE, cache_argument, cache_bytes, cache_tensors
from inferbench.models.prompts import PromptBatch
from inferbench.settings.outcomes import NotKnown, Unsupported


@dataclass
class Timeline:
    """What one run of a decoder gave, and when.

    tokens: (B, N) on the host. seconds: N + 1 host times, the start and then each moment at which a token
    of all sequences was on the host.
    """

    tokens: torch.Tensor
    seconds: list[float]


class WrongCount(RuntimeError):
    """A run gave more or fewer tokens than it was asked for, so no time per token can be had from it."""


class Decoder(Protocol):
    """A model, a batch and a way to run the step."""

    #: read and replaced by each step: (B, V), the logits of the last position
    logits: torch.Tensor

    def prefill(self, batch: PromptBatch) -> torch.Tensor:
        """Start anew from the prompts; return the first token, (B, 1)."""

    def step(self, token: torch.Tensor) -> torch.Tensor:
        """Append `token` (B, 1) to the sequences; return the next one."""

    def rewind(self, steps: int) -> None:
        """Forget the last `steps` tokens, for decoding them again without a prefill. Raises NotKnown where the
        cache cannot; the decoder then needs a prefill."""

    def cache_bytes(self) -> int:
        """Bytes that the cache holds now. Raises NotKnown."""


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
        """Forget the last `steps` tokens, for decoding them again without a prefill. Raises NotKnown where the cache
        cannot; the decoder then needs a prefill."""
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


class GenerateDecoder:
    """transformers' `generate()`, with a streamer that notes when each token is on the host."""

    def __init__(self, model: PreTrainedModel):
        self.model = model
        # Nothing beside greedy decoding, and an end-of-sequence token is a token here: it neither stops a
        # sequence nor is it suppressed.
        model.generation_config = GenerationConfig()

    @torch.inference_mode()
    def generate(self, batch: PromptBatch, new_tokens: int) -> Timeline:
        """Raises WrongCount."""
        clock = _TokenClock()
        started = time.perf_counter()
        out = self.model.generate(
            batch.input_ids,
            attention_mask=torch.ones_like(batch.input_ids)
            if batch.attention_mask is None
            else batch.attention_mask,
            do_sample=False,
            max_new_tokens=new_tokens,
            pad_token_id=0,
            streamer=clock,
            return_dict_in_generate=True,
        )
        self.cache = out.past_key_values
        tokens = out.sequences[:, batch.input_ids.shape[1] :].cpu()
        if not tokens.shape[1] == len(clock.seconds) == new_tokens:
            raise WrongCount(
                f"generate() gave {tokens.shape[1]} tokens in {len(clock.seconds)} steps where {new_tokens} were asked for"
            )
        return Timeline(tokens, [started, *clock.seconds])

    def cache_bytes(self) -> int:
        return cache_bytes(self.cache)


class _TokenClock(BaseStreamer):
    """`generate()` hands its streamer the prompt first, then (B,) tokens that are on the host."""

    def __init__(self):
        self.seconds: list[float] = []
        self.prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        if self.prompt_seen:
            self.seconds.append(time.perf_counter())
        self.prompt_seen = True

    def end(self) -> None:
        pass


def decode(decoder: Decoder, batch: PromptBatch, new_tokens: int) -> Timeline:
    """Prefill, then one step per token, each read back before the next starts: what a user streams."""
    if isinstance(decoder, GenerateDecoder):
        return decoder.generate(batch, new_tokens)
    seconds = [time.perf_counter()]
    token = decoder.prefill(batch)
    read = [token.tolist()]
    seconds.append(time.perf_counter())
    for _ in range(new_tokens - 1):
        token = decoder.step(token)
        # Reading waits for the step: the time that follows is the time at which a user has the token.
        read.append(token.tolist())
        seconds.append(time.perf_counter())
    return Timeline(torch.tensor(read).squeeze(-1).T, seconds)


def unread_step_s(decoder: Decoder, token: torch.Tensor, steps: int) -> float:
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


def teacher_forced_logits(decoder: Decoder, batch: PromptBatch, tokens: torch.Tensor) -> torch.Tensor:
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
