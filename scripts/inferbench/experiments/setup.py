"""What every experiment does first: the model in memory, checked to be the one that was asked for."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from inferbench import checks, load
from inferbench.device import device_name, open_gpu, set_up, wait
from inferbench.experiments.settings import ExperimentConfig
from inferbench.stages import Stages


def load_checked(
    config: ExperimentConfig, device: torch.device, stages: Stages, record: dict[str, Any]
) -> tuple[PreTrainedModel, Any]:
    """(model, tokenizer or None); what was really loaded goes into `record`. Raises CheckFailed."""
    set_up(config)
    gpu = open_gpu(device)
    record |= gpu.identity() if gpu else {"device_name": device_name(device)}
    with stages("load"):
        model = load.load_model(config, device)
        wait(device)
    with stages("check"):
        record["parameters"] = load.parameter_count(model)
        record["weight_bytes"] = load.weight_bytes(model)
        record["quantised_share"] = checks.check_quantisation(model, config)
        record["effective_dtype"] = checks.check_dtype(model, config)
    return model, load.load_tokenizer(config.model)
