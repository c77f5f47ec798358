"""What a way to draw tokens does to the text, and what it costs.

Shapes: B rows (every prompt with every seed), N new tokens, V vocabulary.
"""

from __future__ import annotations

import hashlib
import random
import time
from typing import Any

import torch
from transformers import PreTrainedModel

from inferbench.engines.protocol import Stepper
from inferbench.engines.sampling import draw_at, probabilities
from inferbench.experiments.sampling.settings import Settings
from inferbench.measure.fastest_decoder import fastest_decoder, host_bound
from inferbench.measure.setup import load_checked
from inferbench.measure.stages import Stages
from inferbench.models.prompts import PromptBatch, pad_left, random_rows, require_known
from inferbench.models.requests import choose_prompts, request_ids, until_end
from inferbench.settings.experiment import ExperimentConfig
from inferbench.settings.strategy import Strategy

#: Tokens of a prompt for a model without a tokenizer.
RANDOM_TOKENS = 16
WARMUP_TOKENS = 3


class SamplingDecoder:
    """A decoder whose tokens are drawn, each row's by random numbers of its own: shares (B, N).

    The numbers are on the device before the first token, so a step waits for no host.
    """

    def __init__(self, decoder: Stepper, strategy: Strategy, shares: torch.Tensor):
        self.decoder = decoder
        self.strategy = strategy
        self.shares = shares

    def prefill(self, batch: PromptBatch) -> torch.Tensor:
        self.drawn = 0
        self.decoder.prefill(batch)
        return self._draw()

    def step(self, token: torch.Tensor) -> torch.Tensor:
        self.decoder.step(token)
        return self._draw()

    @torch.inference_mode()
    def _draw(self) -> torch.Tensor:
        self.drawn += 1
        return draw_at(
            probabilities(self.decoder.logits, self.strategy), self.shares[:, self.drawn - 1 : self.drawn]
        )


def measure(config: ExperimentConfig, device: torch.device, stages: Stages, record: dict[str, Any]) -> None:
    """Fill `record`; a sample is one text. Greedy decoding of the same batch is timed beside the strategy."""
    settings: Settings = config.experiment
    model, tokenizer = load_checked(config, device, stages, record)
    requests = make_requests(config, tokenizer, model)
    rows = [(prompt, seed) for prompt in requests for seed in range(1, settings.seeds + 1)]
    batch = pad_left([requests[prompt] for prompt, _ in rows], padding=0, device=device)
    shares = torch.stack([row_shares(*row, config.seed, settings.new_tokens) for row in rows]).to(device)
    with stages("warmup"):
        greedy, drawn = (fastest_decoder(config, model, batch, settings.new_tokens) for _ in range(2))
        record["host_bound"] = host_bound(greedy, device)
        if settings.strategy.do_sample:
            drawn = SamplingDecoder(drawn, settings.strategy, shares)
        # Steps have one shape whatever was before them: a short prompt warms them up.
        decode_together(greedy, drawn, batch.last(2), min(WARMUP_TOKENS, settings.new_tokens))
    with stages("measure"):
        record["greedy_step_ms"], record["step_ms"], texts = decode_together(
            greedy, drawn, batch, settings.new_tokens
        )
    with stages("score"):
        record["samples"] = [
            {
                "prompt": prompt,
                "seed": seed,
                "tokens": tokens,
                "text": tokenizer.decode(tokens, skip_special_tokens=True) if tokenizer else None,
                "log_likelihood": log_likelihood(model, requests[prompt], tokens),
            }
            for (prompt, seed), row in zip(rows, texts)
            for tokens in [until_end(row, model)]
        ]


def make_requests(config: ExperimentConfig, tokenizer, model: PreTrainedModel) -> dict[str, list[int]]:
    """Token ids by prompt: shipped texts, or for a model without a tokenizer (synthetic) random ids. Raises Fault as
    `require_known` does."""
    settings: Settings = config.experiment
    if tokenizer is None:
        rng = random.Random(config.seed)
        rows = random_rows([RANDOM_TOKENS] * settings.prompt_count, rng, model)
        return {f"random tokens {number}": row for number, row in enumerate(rows, start=1)}
    prompts = choose_prompts(settings.prompts, settings.prompt_count, config.seed)
    requests = {prompt: request_ids(prompt, tokenizer) for prompt in prompts}
    require_known(requests.values(), model)
    return requests


def row_shares(prompt: str, row_seed: int, seed: int, count: int) -> torch.Tensor:
    """(N,) random numbers of [0, 1) that belong to a prompt and a seed alone: a text comes out the same
    whatever else is in the batch, but for the rounding of its logits."""
    named = hashlib.sha256(f"{seed} {row_seed} {prompt}".encode()).digest()
    # On the CPU: a GPU's generator gives other numbers.
    generator = torch.Generator().manual_seed(int.from_bytes(named[:7]))
    return torch.rand(count, generator=generator)


def decode_together(
    greedy: Stepper, drawn: Stepper, batch: PromptBatch, new_tokens: int
) -> tuple[list[float], list[float], list[list[int]]]:
    """(milliseconds of greedy steps, of drawn ones, drawn tokens of each row). A step of one decoder, then of
    the other, so that what slows the machine for a while slows both; each token is read back."""
    tokens = [decoder.prefill(batch) for decoder in (greedy, drawn)]
    read = [tokens[1].flatten().tolist()]
    times = [], []
    for _ in range(new_tokens - 1):
        for place, decoder in enumerate((greedy, drawn)):
            started = time.perf_counter()
            tokens[place] = decoder.step(tokens[place])
            now = tokens[place].flatten().tolist()
            times[place].append(1000 * (time.perf_counter() - started))
        read.append(now)
    return *times, [list(row) for row in zip(*read)]


@torch.inference_mode()
def log_likelihood(model: PreTrainedModel, prompt: list[int], tokens: list[int]) -> float:
    """Mean log-probability of `tokens` after `prompt`, nats a token, in the model's own distribution: without
    temperature or filters. Each text by itself, so that no padding takes part."""
    ids = torch.tensor([prompt + tokens], device=model.device)
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=len(tokens) + 1).logits[0, :-1]
    chosen = logits.float().log_softmax(-1).gather(1, ids[0, -len(tokens) :, None])
    return chosen.double().mean().item()
