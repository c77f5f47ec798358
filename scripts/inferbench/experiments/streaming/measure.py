"""What a user of a stream sees: when each token reaches the thread that shows it, beside the same run
whose tokens stay with the thread that decodes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from inferbench.engines.protocol import Stepper
from inferbench.engines.streaming import TextPieces, TokenStream, new_tokens, stream_tokens
from inferbench.measure.fastest_decoder import fastest_decoder, host_bound
from inferbench.measure.setup import load_checked
from inferbench.measure.stages import Stages
from inferbench.models.prompts import PromptBatch, joined_prompt
from inferbench.settings.experiment import ExperimentConfig


def measure(config: ExperimentConfig, device: torch.device, stages: Stages, record: dict[str, Any]) -> None:
    """Fill `record`; a sample is one token of one run."""
    settings = config.experiment
    model, tokenizer = load_checked(config, device, stages, record)
    ids = joined_prompt(settings.prompts, settings.prompt_tokens, config.seed, tokenizer, model)
    batch = PromptBatch(torch.tensor([ids], device=device), None)
    with stages("check"):
        decoder = fastest_decoder(config, model, batch, settings.new_tokens)
    record["host_bound"] = host_bound(decoder, device)
    record["samples"] = []
    # One thread decodes in every run: a new one would set up threads and buffers of its own.
    with ThreadPoolExecutor(1) as decoding:

        def run(streamed: bool) -> list[dict[str, float]]:
            if streamed:
                return run_streamed(decoding, decoder, batch, settings.new_tokens, tokenizer)
            return run_plain(decoding, decoder, batch, settings.new_tokens)

        with stages("warmup"):
            run(streamed=False)
            run(streamed=True)
        for number in range(1, settings.rounds + 1):
            # Each goes first in every other round: what drifts favours neither.
            for streamed in (False, True) if number % 2 else (True, False):
                with stages("measure"):
                    times = run(streamed)
                record["samples"] += [
                    {"round": number, "streamed": streamed, "token": place, "seen_ms": None, **token}
                    for place, token in enumerate(times, start=1)
                ]


def run_plain(
    decoding: ThreadPoolExecutor, decoder: Stepper, batch: PromptBatch, count: int
) -> list[dict[str, float]]:
    """Per token `made_ms`: milliseconds from the request until the decoding thread had it on the host."""
    requested = time.perf_counter()
    made = decoding.submit(lambda: [time.perf_counter() for _ in new_tokens(decoder, batch, count)])
    return [{"made_ms": 1000 * (mark - requested)} for mark in made.result()]


def run_streamed(
    decoding: ThreadPoolExecutor, decoder: Stepper, batch: PromptBatch, count: int, tokenizer
) -> list[dict[str, float]]:
    """The same run with a reader in the calling thread. Per token `made_ms` as above, and `seen_ms`: until
    the reader had it, and its text where there is a tokenizer."""
    stream = TokenStream()
    pieces = TextPieces(tokenizer) if tokenizer else None
    made, seen = [], []

    def tokens():
        for token in new_tokens(decoder, batch, count):
            made.append(time.perf_counter())
            yield token

    requested = time.perf_counter()
    ended = decoding.submit(stream_tokens, stream, tokens())
    for token in stream:
        if pieces:
            pieces.add(token)
        seen.append(time.perf_counter())
    ended.result()
    return [
        {"made_ms": 1000 * (mark - requested), "seen_ms": 1000 * (other - requested)}
        for mark, other in zip(made, seen)
    ]
