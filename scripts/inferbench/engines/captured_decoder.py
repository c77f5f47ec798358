"""The decode step over a static cache, so that it can be compiled, captured once, and replayed.

Everything a step reads or writes (token, position, slot, mask, cache) stays in device tensors at
fixed addresses; nothing of it needs the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from transformers import PreTrainedModel, StaticCache
from transformers.cache_utils import StaticLayer, StaticSlidingWindowLayer

from inferbench.attention.registered import STATIC_ATTENTION
from inferbench.attention.static import slot_mask
from inferbench.engines.decoding import attention_of, greedy
from inferbench.models.cache import cache_bytes
from inferbench.models.prompts import PromptBatch
from inferbench.plan.context_length import CHECK_STEPS
from inferbench.settings.outcomes import Unsupported

#: Steps on a side stream before capture, as torch's notes on CUDA graphs ask for.
WARMUP_STEPS = 3


@dataclass(frozen=True)
class CompileOptions:
    """What the step is compiled with, as torch.compile takes it; no backend: it is not compiled."""

    compile_backend: str | None = None
    compile_options: dict[str, Any] = field(default_factory=dict)


NOT_COMPILED = CompileOptions()


def slots(prompt_tokens: int, new_tokens: int) -> int:
    """Places of a static cache that the checks have room in too, where fewer new tokens are asked for than they take."""
    return prompt_tokens + max(new_tokens, CHECK_STEPS)


def static_cache(model: PreTrainedModel, length: int) -> StaticCache:
    """An empty cache with `length` slots in every layer. Raises Unsupported where a layer of the model keeps anything else,
    or a step would need the host."""
    if "position_ids" not in signature(model.forward).parameters:
        raise Unsupported("a captured step tells the position of its token, and this model takes none")
    try:
        cache = StaticCache(config=model.config, max_cache_len=length)
    except (KeyError, ValueError) as error:
        raise Unsupported(f"transformers has no static cache for this model ({error!r})") from error
    # Where all slots fit into a window there is none. Its layer would count tokens on the host, which no replay does.
    cache.layers = [
        StaticLayer(length)
        if type(layer) is StaticSlidingWindowLayer and layer.max_cache_len == length
        else layer
        for layer in cache.layers
    ]
    others = [type(layer).__name__ for layer in cache.layers if type(layer) is not StaticLayer]
    if others:
        raise Unsupported(
            f"{len(others)} of {len(cache.layers)} layers keep a sliding window or a state in place of {length} keys and"
            f" values ({', '.join(dict.fromkeys(others))}): no captured step is written for that"
        )
    return cache


class CapturedDecoder:
    """Prefill with eager kernels into a static cache; the step as one CUDA graph, compiled or not.

    Until `capture` is called (and always on a CPU), the same step runs as ordinary calls.
    """

    def __init__(
        self, model: PreTrainedModel, batch_size: int, length: int, options: CompileOptions = NOT_COMPILED
    ):
        """`length`: slots of the cache, prompt and new tokens together. Raises Unsupported as static_cache does."""
        self.model = model
        self.implementation = model.config._attn_implementation
        self.cache = static_cache(model, length)
        device = model.device
        self.slots = torch.arange(length, device=device)
        self.slot = torch.zeros((), dtype=torch.long, device=device)
        self.token = torch.zeros(batch_size, 1, dtype=torch.long, device=device)
        self.position = torch.zeros(batch_size, 1, dtype=torch.long, device=device)
        self.padding = torch.zeros(batch_size, dtype=torch.int32, device=device)
        vocabulary = model.config.get_text_config(decoder=True).vocab_size
        self.logits = torch.zeros(batch_size, vocabulary, dtype=model.dtype, device=device)
        self.run_step = self._step
        if options.compile_backend is not None:
            self.run_step = torch.compile(
                self._step,
                fullgraph=True,
                dynamic=False,
                backend=options.compile_backend,
                **({"options": options.compile_options} if options.compile_options else {}),
            )
        self.graph: torch.cuda.CUDAGraph | None = None

    @property
    def captured(self) -> bool:
        return self.graph is not None

    @contextmanager
    def uncaptured(self) -> Iterator[None]:
        graph, self.graph = self.graph, None
        try:
            yield
        finally:
            self.graph = graph

    @torch.inference_mode()
    def prefill(self, batch: PromptBatch) -> torch.Tensor:
        for layer in self.cache.layers:
            layer.cumulative_length.fill_(0)
        if batch.attention_mask is None:
            self.padding.zero_()
        else:
            self.padding.copy_((batch.attention_mask == 0).sum(-1))
        self.slot.fill_(batch.input_ids.shape[1] - 1)
        with self._static_attention():
            self._forward(batch.input_ids, batch.positions, batch.attention_mask, prefill=True)
        self.position.copy_(batch.positions[:, -1:])
        self._advance()
        return self.token

    @torch.inference_mode()
    def step(self, token: torch.Tensor) -> torch.Tensor:
        if token is not self.token:
            self.token.copy_(token)
        if self.graph is not None:
            self.graph.replay()
        else:
            with self._static_attention():
                self.run_step()
        return self.token

    def _step(self) -> None:
        """One token: forward pass, then every buffer moved on for the next."""
        self._forward(self.token, self.position, self._mask())
        self._advance()

    def _forward(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, prefill: bool = False
    ) -> None:
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
            # for flash_static: `slot` is the one that the last of these tokens fills
            lengths=(self.slot + 1).to(torch.int32).repeat(len(self.padding)),
            padding=self.padding,
            prefill=prefill,
        )
        self.logits.copy_(out.logits[:, -1])

    def _advance(self) -> None:
        self.token.copy_(greedy(self.logits))
        self.position.add_(1)
        self.slot.add_(1)

    def _mask(self) -> torch.Tensor:
        """(B, 1, 1, L): the filled slots that are not padding, in the form that the backend reads."""
        open_slots = (self.slots <= self.slot) & (self.slots >= self.padding[:, None])
        return slot_mask(open_slots[:, None, None, :], self.model, self.implementation)

    def _static_attention(self) -> AbstractContextManager[None]:
        return attention_of(self.model, STATIC_ATTENTION[self.implementation])

    @torch.inference_mode()
    def capture(self, batch: PromptBatch) -> None:
        """Compile if asked to, then capture the step; on a CPU compile alone."""
        self.prefill(batch)
        if self.model.device.type != "cuda":
            self.step(self.token)
            return
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), self._static_attention():
            for _ in range(WARMUP_STEPS):
                self.run_step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with self._static_attention(), torch.cuda.graph(graph):
            self.run_step()
        torch.cuda.synchronize()
        self.graph = graph

    @torch.inference_mode()
    def dirty_cache(self) -> None:
        for layer in self.cache.layers:
            layer.keys.fill_(100.0)
            layer.values.fill_(100.0)

    @torch.inference_mode()
    def rewind(self, steps: int) -> None:
        self.slot.sub_(steps)
        self.position.sub_(steps)
        for layer in self.cache.layers:
            layer.cumulative_length.sub_(steps)

    def cache_bytes(self) -> int:
        return cache_bytes(self.cache)
