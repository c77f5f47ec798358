"""What engines share that run a transformers model in the measuring process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from inferbench.engines.decoding import decode
from inferbench.engines.protocol import Answer, Stepper, Timeline
from inferbench.models.load import load_model
from inferbench.models.prompts import PromptBatch
from inferbench.settings.job import RunConfig


class TransformersEngine:
    """An Engine whose runs are the steps of its stepper; `prepare` is to make that."""

    captures = False
    stepper: Stepper | None = None

    def __init__(self, config: RunConfig, device: torch.device):
        self.config = config
        self.device = device

    def require(self, model: PreTrainedModel, prompt_tokens: int, new_tokens: int) -> None:
        """Any model that transformers has."""

    def load(self) -> None:
        self.model = load_model(self.config, self.device)

    def ask(self, question: Callable[[PreTrainedModel], Answer]) -> Answer:
        return question(self.model)

    def compilation(self) -> dict[str, Any]:
        return {}

    def run(self, batch: PromptBatch, new_tokens: int) -> Timeline:
        return decode(self.stepper, batch, new_tokens)

    def comparable(self) -> Stepper:
        return self.stepper

    def cache_bytes(self) -> int:
        return self.stepper.cache_bytes()
