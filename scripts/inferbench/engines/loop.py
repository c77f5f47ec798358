"""The plain loop as an engine: an explicit prefill and decode loop over eager kernels."""

from __future__ import annotations

import torch

from inferbench.engines.decoding import LoopDecoder
from inferbench.engines.transformers_model import TransformersEngine
from inferbench.models.checkpoint import asked_runs
from inferbench.models.prompts import PromptBatch
from inferbench.plan.context_length import changing_reason
from inferbench.settings.job import RunConfig


def refusal(config: RunConfig, device: torch.device) -> str | None:
    return changing_reason(*asked_runs(config))


class Engine(TransformersEngine):
    def prepare(self, batch: PromptBatch, new_tokens: int) -> None:
        self.stepper = LoopDecoder(self.model)
