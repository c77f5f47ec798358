"""What every experiment does first: the model in memory, checked to be the one that was asked for, and
the decoder that is fastest here."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedModel

from inferbench.device.device import device_name, open_gpus, set_up, wait
from inferbench.engines.captured import CapturedDecoder
from inferbench.engines.decoding import Decoder, LoopDecoder
from inferbench.measure import checks
from inferbench.measure.reasons import unsupported_reason
from inferbench.measure.stages import Stages
from inferbench.models import load, weights
from inferbench.models.facts import load_config
from inferbench.models.generation import neutralised
from inferbench.models.prompts import PromptBatch
from inferbench.settings.experiment import ExperimentConfig
from inferbench.settings.job import ExecutionConfig, ExecutionMode, RunConfig
from inferbench.settings.outcomes import Unsupported
from inferbench.settings.repository import in_repository

CUDA_GRAPH = ExecutionConfig("cuda_graph", ExecutionMode.cuda_graph)
#: Prompt of the check of a step's logits: a wrong mask or slot shows in a short one too, and costs less.
CHECK_TOKENS = 64


def load_checked(
    config: ExperimentConfig, device: torch.device, stages: Stages, record: dict[str, Any]
) -> tuple[PreTrainedModel, Any]:
    """(model, tokenizer or None); what was really loaded goes into `record`. Raises CheckFailed, and Unsupported for
    what is no causal language model."""
    load_config(config)
    set_up(config)
    gpus = open_gpus(device)
    record |= gpus.identity() if gpus else {"device_name": device_name(device)}
    checks.check_gpu_model(config, record["device_name"])
    with stages("load"):
        model = load.load_model(config, device)
        wait(device)
    with stages("check"):
        record["parameters"] = weights.parameter_count(model)
        record["weight_bytes"] = weights.weight_bytes(model)
        record["quantised_share"] = checks.check_quantisation(model, config)
        record["effective_dtype"] = checks.check_dtype(model, config)
        record["neutralised"] = neutralised(in_repository(config.model.path))
    return model, load.load_tokenizer(config.model)


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
    return unsupported_reason(replace(config, execution=CUDA_GRAPH), device) is None


def static_decoder(
    config: RunConfig, model: PreTrainedModel, batch: PromptBatch, new_tokens: int
) -> CapturedDecoder:
    """A decoder with a static cache that has room for `batch` and its new tokens. Its step is captured
    where it can be, and computes what the plain loop's does. Raises CheckFailed, and Unsupported for a model whose
    cache cannot be static."""
    rows, width = batch.input_ids.shape
    decoder = CapturedDecoder(model, rows, checks.slots(width, new_tokens), CUDA_GRAPH)
    if can_capture(config, model.device):
        decoder.capture(batch)
        checks.check_replay(decoder, batch)
    checks.check_logits(model, decoder, batch.last(CHECK_TOKENS), config)
    return decoder


def host_bound(decoder: Decoder, device: torch.device) -> bool:
    """Whether steps are ordinary calls on a GPU, whose kernels the host then launches one by one."""
    return device.type == "cuda" and getattr(decoder, "graph", None) is None
