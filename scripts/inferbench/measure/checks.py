"""Right before fast: what must hold before a cell is timed. A cell that fails here has no number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from inferbench.device.profiling import StepProfile
from inferbench.engines.decoding import LoopDecoder, attention_of, on_host, teacher_forced_logits
from inferbench.engines.protocol import Stepper
from inferbench.models.prompts import PromptBatch
from inferbench.models.weights import (
    computed_dtypes,
    effective_dtype,
    kept_in_float32,
    packed_types,
    quantised_share,
)
from inferbench.plan.context_length import CHECK_STEPS
from inferbench.precision.by_name import library
from inferbench.settings.gpu_model import is_gpu_model
from inferbench.settings.job import RunConfig

MINIMUM_QUANTISED_SHARE = 0.9


class CheckFailed(RuntimeError):
    """The cell does not compute what it claims to. The message has what was asked and what was found."""


def check_gpu_model(config: RunConfig, device_name: str) -> None:
    """The device is of the type that the cell was to be measured on."""
    if config.gpu_model and not is_gpu_model(config.gpu_model, device_name):
        raise CheckFailed(f"gpu_model {config.gpu_model} asked for, but this ran on {device_name}")


def check_quantisation(model: PreTrainedModel, config: RunConfig) -> float | None:
    """Share of weights really quantised; None where none were asked for. Raises CheckFailed where too few are, or
    any is held as another type than was asked for."""
    precision, share = config.precision, None
    asked = library(precision).packed_types(precision)
    if asked:
        share = quantised_share(model)
        if share < MINIMUM_QUANTISED_SHARE:
            raise CheckFailed(
                f"{precision.name} asked for, but only {share:.0%} of the weights inside the layers are quantised"
            )
    found = packed_types(model)
    if found != asked:
        raise CheckFailed(f"{precision.name} asked for, but weights are held as {', '.join(sorted(found))}")
    return share


def check_dtype(model: PreTrainedModel, config: RunConfig) -> str:
    """The dtype that the model computes in, with the float32 that its class keeps. Raises CheckFailed if another
    was asked for."""
    asked, found = config.precision.dtype, effective_dtype(model)
    if computed_dtypes(model, apart=kept_in_float32(model, asked)) != {asked.value}:
        raise CheckFailed(f"dtype {asked.value} asked for, but the model computes in {found}")
    return found


def check_attention(profile: StepProfile, requested: str) -> str:
    """The attention that ran in the profiled call. Raises CheckFailed if it is not the one asked for."""
    found = "+".join(sorted(profile.attention)) or "none"
    if not profile.attention or not all(name.split(":")[0] == requested for name in profile.attention):
        raise CheckFailed(f"attention {requested} asked for, but {found} ran")
    return found


def check_compiled(record: Mapping[str, Any]) -> None:
    """Where something was to be compiled, torch.compile made at least one graph."""
    if record.get("compiled_graphs", 1) < 1:
        raise CheckFailed("compilation asked for, but torch.compile made no graph")


def check_logits(model: PreTrainedModel, decoder: Stepper, batch: PromptBatch, config: RunConfig) -> float:
    """Teacher-forced logits of `decoder` against the plain loop's with sdpa, in the cell's own dtype.

    At two prompt lengths; before the second, a decoder with a static cache has its cache dirtied, as
    any run leaves it for the next. Returns the largest error of any step of any sequence, as
    Tolerance defines it; raises CheckFailed above that of the precision.
    """
    tolerance = library(config.precision).logit_tolerance(config.precision)
    worst = 0.0
    prompt = batch.input_ids.shape[1]
    for length in (prompt, max(1, prompt // 2)):
        shorter = batch.last(length)
        with attention_of(model, "sdpa" if model._supports_sdpa else "eager"):
            tokens, expected = _greedy_run(LoopDecoder(model), shorter)
        found = teacher_forced_logits(decoder, shorter, tokens)
        # (steps, sequences): one wrong step must not drown in right ones
        errors = (found - expected).square().mean(-1).sqrt() / expected.std(-1)
        error = errors.max().item()
        if not error <= tolerance.share:
            raise CheckFailed(
                f"logits differ from the plain loop's by {error:.2g} of their standard deviation at prompt length"
                f" {length} (tolerance {tolerance.share}, {tolerance.reason})"
            )
        worst = max(worst, error)
        decoder.dirty_cache()
    return worst


def check_replay(decoder: Stepper, batch: PromptBatch) -> None:
    """Replays of a captured step give the tokens that calling the same step one by one gives."""
    if not decoder.captured:
        return
    with decoder.uncaptured():
        expected = _tokens(decoder, batch)
    found = _tokens(decoder, batch)
    if not torch.equal(found, expected):
        raise CheckFailed(
            f"replays of the captured step give {found.tolist()}, its calls {expected.tolist()}"
        )


def _tokens(decoder: Stepper, batch: PromptBatch) -> torch.Tensor:
    token = decoder.prefill(batch)
    tokens = [token.cpu().clone()]
    for _ in range(CHECK_STEPS):
        tokens.append(decoder.step(token).cpu().clone())
    return torch.cat(tokens, dim=1)


def _greedy_run(decoder: Stepper, batch: PromptBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """((B, N) tokens, (N + 1, B, V) logits): what the decoder chooses, and why, as teacher_forced_logits."""
    token = decoder.prefill(batch)
    tokens, logits = [], [on_host(decoder.logits)]
    for _ in range(CHECK_STEPS):
        tokens.append(token)
        token = decoder.step(token)
        logits.append(on_host(decoder.logits))
    return torch.cat(tokens, dim=1), torch.stack(logits)
