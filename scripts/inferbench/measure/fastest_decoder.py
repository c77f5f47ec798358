"""The decoder that is fastest here, for experiments that ask what decoding gives and not which engine is best."""

from __future__ import annotations

from contextlib import suppress

import torch
from transformers import PreTrainedModel

from inferbench.engines.captured import capture_refusal
from inferbench.engines.captured_decoder import CapturedDecoder, slots
from inferbench.engines.decoding import LoopDecoder
from inferbench.engines.protocol import Stepper
from inferbench.measure import checks
from inferbench.models.prompts import PromptBatch
from inferbench.settings.job import RunConfig
from inferbench.settings.outcomes import Unsupported

#: Prompt of the check of a step's logits: a wrong mask or slot shows in a short one too, and costs less.
CHECK_TOKENS = 64


def fastest_decoder(
    config: RunConfig, model: PreTrainedModel, batch: PromptBatch, new_tokens: int
) -> LoopDecoder | CapturedDecoder:
    """A decoder for batches of this one's size and at most its length: with a captured step where there
    can be one, else the plain loop. Raises CheckFailed."""
    if can_capture(config, model.device):
        # A cache of which no step can be captured.
        with suppress(Unsupported):
            return static_decoder(config, model, batch, new_tokens)
    return LoopDecoder(model)


def can_capture(config: RunConfig, device: torch.device) -> bool:
    """Whether steps of this model, precision and attention can be captured on the device."""
    return capture_refusal(config, device) is None


def static_decoder(
    config: RunConfig, model: PreTrainedModel, batch: PromptBatch, new_tokens: int
) -> CapturedDecoder:
    """A decoder with a static cache that has room for `batch` and its new tokens. Its step is captured
    where it can be, and computes what the plain loop's does. Raises CheckFailed, and Unsupported for a model whose
    cache cannot be static."""
    rows, width = batch.input_ids.shape
    decoder = CapturedDecoder(model, rows, slots(width, new_tokens))
    if can_capture(config, model.device):
        decoder.capture(batch)
        checks.check_replay(decoder, batch)
    checks.check_logits(model, decoder, batch.last(CHECK_TOKENS), config)
    return decoder


def host_bound(decoder: Stepper, device: torch.device) -> bool:
    """Whether steps are ordinary calls on a GPU, whose kernels the host then launches one by one."""
    return device.type == "cuda" and not decoder.captured
