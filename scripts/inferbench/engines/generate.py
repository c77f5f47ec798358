"""transformers' `generate()` as an engine: what most people run."""

from __future__ import annotations

import time

import torch
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from inferbench.engines.decoding import LoopDecoder
from inferbench.engines.protocol import Stepper, Timeline, WrongCount, in_step
from inferbench.engines.transformers_model import TransformersEngine
from inferbench.models.cache import cache_bytes
from inferbench.models.prompts import PromptBatch
from inferbench.settings.job import RunConfig


def refusal(config: RunConfig, device: torch.device) -> str | None:
    """`generate()` does what transformers can."""
    return None


class Engine(TransformersEngine):
    """Whole runs alone, with a streamer that notes when each token is on the host."""

    def prepare(self, batch: PromptBatch, new_tokens: int) -> None:
        # Nothing beside greedy decoding, and an end-of-sequence token is a token here: it neither stops a
        # sequence nor is it suppressed.
        self.model.generation_config = GenerationConfig()

    @torch.inference_mode()
    def run(self, batch: PromptBatch, new_tokens: int) -> Timeline:
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
        return in_step(tokens, [started, *clock.seconds])

    def comparable(self) -> Stepper:
        """The loop calls the model as `generate()` does."""
        return LoopDecoder(self.model)

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
