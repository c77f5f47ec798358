"""What every experiment does first: the process under guard, and the model in memory, checked to be the one that was
asked for."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from inferbench.device.device import device_name, open_gpus, set_up, wait
from inferbench.device.nvml import Gpus
from inferbench.measure import checks
from inferbench.measure.guard import Guard
from inferbench.measure.stages import Stages
from inferbench.models import load, weights
from inferbench.models.checkpoint import asked_runs
from inferbench.models.facts import load_config
from inferbench.models.generation import neutralised
from inferbench.plan.context_length import beyond_context
from inferbench.settings.experiment import ExperimentConfig
from inferbench.settings.job import RunConfig
from inferbench.settings.repository import in_repository


def begin(config: RunConfig, device: torch.device, stages: Stages, record: dict[str, Any]) -> Gpus | None:
    """Set the process up, and put its measurements under guard: `record` gets which device this is and the flags,
    those that are still to come too. Raises CheckFailed where the device is not of the type asked for. Returns the
    driver's view of the GPUs."""
    set_up(config)
    gpus = open_gpus(device)
    record |= gpus.identity() if gpus else {"device_name": device_name(device)}
    checks.check_gpu_model(config, record["device_name"])
    stages.guard = Guard(gpus)
    checkpoint, runs = asked_runs(config)
    if any(beyond_context(checkpoint, prompt + new) for prompt, new in runs):
        stages.guard.add("beyond_context")
    record["flags"] = stages.guard.flags
    return gpus


def load_checked(
    config: ExperimentConfig, device: torch.device, stages: Stages, record: dict[str, Any]
) -> tuple[PreTrainedModel, Any]:
    """(model, tokenizer or None); what was really loaded goes into `record`. Raises CheckFailed, and Unsupported for
    what is no causal language model."""
    load_config(config)
    begin(config, device, stages, record)
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
