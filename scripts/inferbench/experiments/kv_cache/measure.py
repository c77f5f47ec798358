"""What the cache of keys and values is worth: the time of a decode step against the context's length,
without a cache, with one that grows, and with one of fixed size."""

from __future__ import annotations

import time
from typing import Any

import torch
from transformers import PreTrainedModel

from inferbench.attention.registered import STATIC_ATTENTION
from inferbench.engines.captured_decoder import slots, static_cache
from inferbench.engines.decoding import LoopDecoder, greedy
from inferbench.engines.protocol import Stepper
from inferbench.experiments.kv_cache.settings import Cache
from inferbench.measure.fastest_decoder import host_bound, static_decoder
from inferbench.measure.setup import load_checked
from inferbench.measure.stages import Stages
from inferbench.models.facts import load_shape
from inferbench.models.memory import true_bytes_per_token
from inferbench.models.prompts import PromptBatch, joined_prompt
from inferbench.settings.experiment import ExperimentConfig
from inferbench.settings.outcomes import Unsupported, known


class UncachedDecoder:
    """Every step runs the whole sequence through the model again."""

    captured = False

    def __init__(self, model: PreTrainedModel):
        self.model = model

    def prefill(self, batch: PromptBatch) -> torch.Tensor:
        self.ids = batch.input_ids
        return self._next()

    def step(self, token: torch.Tensor) -> torch.Tensor:
        self.ids = torch.cat([self.ids, token], dim=1)
        return self._next()

    @torch.inference_mode()
    def _next(self) -> torch.Tensor:
        self.logits = self.model(input_ids=self.ids, use_cache=False, logits_to_keep=1).logits[:, -1]
        return greedy(self.logits)

    def cache_bytes(self) -> int:
        return 0


def measure(config: ExperimentConfig, device: torch.device, stages: Stages, record: dict[str, Any]) -> None:
    """Fill `record`; a sample is one step at one context length."""
    settings = config.experiment
    implementation = config.attention.implementation
    if settings.cache is Cache.static and implementation not in STATIC_ATTENTION:
        raise Unsupported(f"no decode step over a static cache is written for {implementation}")
    shape, most = load_shape(config), max(settings.lengths)
    record["cache_slots"] = None
    if settings.cache is Cache.static:
        record["cache_slots"] = slots(most, settings.steps + 1)
        static_cache(shape.model, record["cache_slots"])
    model, tokenizer = load_checked(config, device, stages, record)
    record["kv_bytes_per_token"] = None
    with known(record, "cache_formula_bytes"):
        record["kv_bytes_per_token"] = true_bytes_per_token(shape, 1, most + settings.steps)
    longest = joined_prompt(settings.prompts, most, config.seed, tokenizer, model)

    def prompt(length: int) -> PromptBatch:
        return PromptBatch(torch.tensor([longest[:length]], device=device), None)

    with stages("check"):
        decoder = make_decoder(config, model, prompt(most))
    record["host_bound"] = host_bound(decoder, device)
    record["samples"] = []
    for length in settings.lengths:
        batch = prompt(length)
        with stages("warmup"):
            # Every step that is timed: the first at a context pays for memory and for the choice of its kernels.
            time_steps(decoder, batch, settings.steps)
        with stages("measure"):
            record["samples"] += time_steps(decoder, batch, settings.steps)


def make_decoder(config: ExperimentConfig, model: PreTrainedModel, longest: PromptBatch) -> Stepper:
    """The decoder of a kind of cache. A static one has room for the longest prompt from the start, as
    where it is used; its step is captured on a GPU."""
    settings = config.experiment
    if settings.cache is Cache.off:
        return UncachedDecoder(model)
    if settings.cache is Cache.dynamic:
        return LoopDecoder(model)
    return static_decoder(config, model, longest, settings.steps + 1)


def time_steps(decoder: Stepper, batch: PromptBatch, steps: int) -> list[dict[str, Any]]:
    """One sample per step, each read back: context (tokens that the step attends to, its own included),
    milliseconds, and the bytes of the cache after it."""
    token = decoder.prefill(batch)
    token.tolist()
    samples = []
    for index in range(steps):
        started = time.perf_counter()
        token = decoder.step(token)
        token.tolist()
        milliseconds = 1000 * (time.perf_counter() - started)
        context = batch.input_ids.shape[1] + index + 1
        samples.append(
            {
                "prompt_tokens": batch.input_ids.shape[1],
                "context_tokens": context,
                "step_ms": milliseconds,
                "cache_bytes": decoder.cache_bytes(),
            }
        )
    return samples
