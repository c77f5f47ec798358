"""The decode step over a static cache as one CUDA graph, compiled or not, as an engine."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from inferbench.attention.registered import STATIC_ATTENTION
from inferbench.engines.captured_decoder import (
    NOT_COMPILED,
    CapturedDecoder,
    CompileOptions,
    slots,
    static_cache,
)
from inferbench.engines.transformers_model import TransformersEngine
from inferbench.models.checkpoint import asked_runs
from inferbench.models.prompts import PromptBatch
from inferbench.plan.context_length import changing_reason, host_rotary_reason
from inferbench.precision.by_name import library
from inferbench.settings.job import RunConfig
from inferbench.settings.options import typed_options


def refusal(config: RunConfig, device: torch.device) -> str | None:
    return capture_refusal(config, device, _options(config)) or changing_reason(*asked_runs(config))


def capture_refusal(
    config: RunConfig, device: torch.device, options: CompileOptions = NOT_COMPILED
) -> str | None:
    """Why no step of this model, precision and attention can be captured here as these options say."""
    implementation, compiled = config.attention.implementation, options.compile_backend is not None
    if not compiled and device.type != "cuda":
        return f"a CUDA graph needs a CUDA GPU; this cell runs on the {device.type}"
    if config.model.gpus > 1:
        return f"one captured step runs on one GPU; this model asks for {config.model.gpus}"
    if implementation not in STATIC_ATTENTION:
        return f"no captured decode step is written for {implementation}"
    if reason := library(config.precision).capture_refusal(config.precision, traced=compiled):
        return reason
    if compiled and implementation == "flash_attention_2":
        return "the kernels of flash_attn are not traced by torch.compile(fullgraph=True)"
    checkpoint, _ = asked_runs(config)
    return host_rotary_reason(checkpoint)


def _options(config: RunConfig) -> CompileOptions:
    return typed_options(CompileOptions, config.execution.options, f"execution {config.execution.name}")


class Engine(TransformersEngine):
    captures = True
    stepper: CapturedDecoder

    def __init__(self, config: RunConfig, device: torch.device):
        super().__init__(config, device)
        self.options = _options(config)

    def require(self, model: PreTrainedModel, prompt_tokens: int, new_tokens: int) -> None:
        static_cache(model, slots(prompt_tokens, new_tokens))

    def prepare(self, batch: PromptBatch, new_tokens: int) -> None:
        rows, width = batch.input_ids.shape
        self.stepper = CapturedDecoder(self.model, rows, slots(width, new_tokens), self.options)
        self.stepper.capture(batch)

    def compilation(self) -> dict[str, Any]:
        """Of this process: it compiles one step."""
        if self.options.compile_backend is None:
            return {}
        from torch._dynamo.utils import counters  # a second to import

        cold = counters["inductor"]["fxgraph_cache_miss"]
        return {
            "compiled_graphs": counters["stats"]["unique_graphs"],
            "compile_cache": "cold" if cold else "warm",
        }
