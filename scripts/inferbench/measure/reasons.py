"""Which cells cannot run here, and why: decided before any weights load."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from inferbench.attention.registered import STATIC_ATTENTION
from inferbench.models.quantised import refusal
from inferbench.plan.context_length import checkpoint_config, context_reason, runs_of
from inferbench.precision.by_name import library
from inferbench.settings.job import CAPTURED, Dtype, ExecutionMode, RunConfig
from inferbench.settings.repository import in_repository


def unsupported_reason(config: RunConfig, device: torch.device) -> str | None:
    """One sentence why this cell cannot run on `device` with what is installed; None if it can."""
    return (
        _attention_reason(config, device)
        or _execution_reason(config, device)
        or _precision_reason(config)
        or _context_reason(config)
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


def _execution_reason(config: RunConfig, device: torch.device) -> str | None:
    mode, implementation = config.execution.mode, config.attention.implementation
    if mode not in CAPTURED:
        return None
    if mode is ExecutionMode.cuda_graph and device.type != "cuda":
        return f"a CUDA graph needs a CUDA GPU; this cell runs on the {device.type}"
    if config.model.gpus > 1:
        return "one captured step runs on one GPU; this model asks for " + str(config.model.gpus)
    if implementation not in STATIC_ATTENTION:
        return f"no captured decode step is written for {implementation}"
    traced = mode is ExecutionMode.compiled
    if reason := library(config.precision).capture_refusal(config.precision, traced=traced):
        return reason
    if traced and implementation == "flash_attention_2":
        return "the kernels of flash_attn are not traced by torch.compile(fullgraph=True)"
    return None


def _precision_reason(config: RunConfig) -> str | None:
    if reason := library(config.precision).unsupported_reason(config.precision):
        return reason
    return refusal(checkpoint_config(in_repository(config.model.path)), config.model.name, config.precision)


def _context_reason(config: RunConfig) -> str | None:
    asked = getattr(config, "workload", None) or getattr(config, "experiment", None)
    return context_reason(
        checkpoint_config(in_repository(config.model.path)),
        runs_of(vars(asked)) if asked else [],
        generates=config.execution.mode is ExecutionMode.generate,
        captured=config.execution.mode in CAPTURED,
    )
