"""Which cells cannot run here, and why: decided before any weights load."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from inferbench.engines.by_name import engine_module
from inferbench.models.checkpoint import asked_runs
from inferbench.models.quantised import refusal
from inferbench.plan.context_length import checkpoint_config, too_long_reason
from inferbench.precision.by_name import library
from inferbench.settings.job import Dtype, RunConfig
from inferbench.settings.repository import in_repository


def unsupported_reason(config: RunConfig, device: torch.device) -> str | None:
    """One sentence why this cell cannot run on `device` with what is installed; None if it can."""
    return (
        _attention_reason(config, device)
        or _precision_reason(config)
        or too_long_reason(*asked_runs(config))
        or engine_module(config.execution).refusal(config, device)
    )


def _attention_reason(config: RunConfig, device: torch.device) -> str | None:
    attention = config.attention
    if attention.gpu_only and device.type != "cuda":
        return f"{attention.name} runs on CUDA GPUs only; this cell runs on the {device.type}"
    if attention.package and not _installed(attention.package):
        return f"{attention.name} needs the package {attention.package}, which is not installed"
    if attention.half_only and config.precision.dtype is Dtype.float32:
        return f"{attention.name} computes in 16 bit only; {config.precision.name} computes in float32"
    return None


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the parent of a dotted name is absent
        return False


def _precision_reason(config: RunConfig) -> str | None:
    if reason := library(config.precision).unsupported_reason(config.precision):
        return reason
    return refusal(checkpoint_config(in_repository(config.model.path)), config.model.name, config.precision)
