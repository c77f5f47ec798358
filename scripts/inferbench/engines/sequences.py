"""One sequence in a model's cache that can be taken back and continued: what speculation stands on.

Shapes: P prompt tokens, Q tokens fed in one pass, V vocabulary. Batch 1, no padding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from transformers import DynamicCache, PreTrainedModel, StaticCache

from inferbench.attention.registered import STATIC_ATTENTION
from inferbench.attention.static import slot_mask
from inferbench.engines.captured_decoder import WARMUP_STEPS
from inferbench.engines.decoding import attention_of


class Sequence(Protocol):
    """A model and its cache of one sequence."""

    vocabulary: int
    device: torch.device

    def prefill(self, prompt: torch.Tensor) -> torch.Tensor:
        """Start anew from `prompt` (P,); return the logits of its last token, (1, V)."""

    def extend(self, tokens: torch.Tensor, start: int | torch.Tensor, keep: int) -> torch.Tensor:
        """Forget what follows the first `start` tokens of the sequence and append `tokens` (Q,) to them;
        return the logits of the last `keep` positions, (keep, V)."""

    def prepare(self, function: Callable, generator: torch.Generator) -> Callable:
        """`function`, which calls `extend` and draws from `generator`, in the way it runs fastest here."""


class GrowingSequence:
    """A cache that grows and is cropped; eager kernels."""

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self.vocabulary = model.config.vocab_size
        self.device = model.device

    def prefill(self, prompt: torch.Tensor) -> torch.Tensor:
        self.cache = DynamicCache(config=self.model.config)
        self.cached = 0
        return self.extend(prompt, 0, keep=1)

    @torch.inference_mode()
    def extend(self, tokens: torch.Tensor, start: int, keep: int) -> torch.Tensor:
        self.cache.crop(start - self.cached)
        self.cached = start + len(tokens)
        out = self.model(
            input_ids=tokens[None],
            position_ids=torch.arange(start, self.cached, device=self.device)[None],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        return out.logits[0]

    def prepare(self, function: Callable, generator: torch.Generator) -> Callable:
        return function


class StaticSequence:
    """A static cache whose length lives on the device: taking tokens back is setting that length, so a
    pass at any `start` is the same captured graph."""

    def __init__(self, model: PreTrainedModel, length: int):
        """`length`: slots of the cache; the prompt, the new tokens and one draft must fit."""
        self.model = model
        self.vocabulary = model.config.vocab_size
        self.device = model.device
        self.implementation = model.config._attn_implementation
        self.cache = StaticCache(config=model.config, max_cache_len=length)
        self.slots = torch.arange(length, device=self.device)
        self.padding = torch.zeros(1, dtype=torch.int32, device=self.device)
        # One tensor behind all layers' lengths: one kernel sets them.
        self.lengths = torch.zeros(len(self.cache.layers), dtype=torch.long, device=self.device)
        for layer, held in zip(self.cache.layers, self.lengths):
            layer.cumulative_length = held

    def prefill(self, prompt: torch.Tensor) -> torch.Tensor:
        positions = self.slots[: len(prompt)]
        return self._forward(prompt, positions, None, keep=1, prefill=True)

    def extend(self, tokens: torch.Tensor, start: torch.Tensor, keep: int) -> torch.Tensor:
        positions = start + self.slots[: len(tokens)]
        open_slots = self.slots <= positions[:, None]
        mask = slot_mask(open_slots[None, None], self.model, self.implementation)
        return self._forward(tokens, positions, mask, keep)

    @torch.inference_mode()
    def _forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor | None,
        keep: int,
        prefill: bool = False,
    ) -> torch.Tensor:
        self.lengths.copy_(positions[0])
        with attention_of(self.model, STATIC_ATTENTION[self.implementation]):
            out = self.model(
                input_ids=tokens[None],
                attention_mask=mask,
                position_ids=positions[None],
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=keep,
                # for the kernels of `captured`
                lengths=(positions[-1:] + 1).to(torch.int32),
                padding=self.padding,
                prefill=prefill,
            )
        return out.logits[0]

    def prepare(self, function: Callable, generator: torch.Generator) -> Callable:
        return Replayed(function, self.device, generator)


class Replayed:
    """A function of integer and tensor arguments as CUDA graphs, one per shape of its arguments.

    The function must give the same for the same arguments, the generator's draws apart: a capture runs
    it several times. What it returns is overwritten by the next call. On a CPU the same calls run
    without a graph.
    """

    def __init__(self, function: Callable, device: torch.device, generator: torch.Generator):
        self.function = function
        self.device = device
        self.generator = generator
        self.inputs: dict[tuple, tuple[torch.Tensor, ...]] = {}
        self.graphs: dict[tuple, tuple[torch.cuda.CUDAGraph, tuple[torch.Tensor, ...]]] = {}

    @torch.inference_mode()
    def __call__(self, *arguments: torch.Tensor | int) -> tuple[torch.Tensor, ...]:
        shapes = tuple(argument.shape if torch.is_tensor(argument) else () for argument in arguments)
        if shapes not in self.inputs:
            self.inputs[shapes] = tuple(
                torch.tensor(argument, device=self.device) if isinstance(argument, int) else argument.clone()
                for argument in arguments
            )
        inputs = self.inputs[shapes]
        for held, given in zip(inputs, arguments):
            held.fill_(given) if isinstance(given, int) else held.copy_(given)
        if self.device.type != "cuda":
            return self.function(*inputs)
        if shapes not in self.graphs:
            self.graphs[shapes] = self._capture(inputs)
        graph, outputs = self.graphs[shapes]
        graph.replay()
        return outputs

    def _capture(
        self, inputs: tuple[torch.Tensor, ...]
    ) -> tuple[torch.cuda.CUDAGraph, tuple[torch.Tensor, ...]]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARMUP_STEPS):
                self.function(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        with torch.cuda.graph(graph):
            outputs = self.function(*inputs)
        return graph, outputs
