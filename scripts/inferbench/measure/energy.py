"""Joules per token, from the driver's energy counter over seconds of decoding."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from inferbench.device.device import wait
from inferbench.device.nvml import Gpus
from inferbench.engines.protocol import Engine
from inferbench.models.prompts import PromptBatch
from inferbench.settings.job import BenchmarkConfig

#: Seconds for clocks to settle after work, and over which the power of an idle GPU is read then.
SETTLE_S, IDLE_S = 1.0, 1.5


@dataclass
class Spent:
    """tokens: of all sequences, decoded meanwhile. joules: None where this GPU counts none."""

    joules: float | None
    seconds: float
    tokens: int


class Meter:
    """The energy counter since it was made. Reads it then and in `spent`, never between."""

    def __init__(self, gpus: Gpus | None):
        self.gpus = gpus
        self.joules, self.started = gpus.energy_j() if gpus else None, time.perf_counter()

    def spent(self, tokens: int) -> Spent:
        joules = None if self.joules is None else self.gpus.energy_j() - self.joules
        return Spent(joules, time.perf_counter() - self.started, tokens)


def measure_energy(
    engine: Engine, batch: PromptBatch, config: BenchmarkConfig, gpus: Gpus, timed: Spent
) -> dict[str, Any]:
    """Joules per token, and the power of the idle GPUs with the model loaded; nothing where it counts none.

    Of decoding alone, repeated. An engine that cannot be taken apart has its timed runs counted, prefill and all; it
    is repeated only where they took less than `measure.energy_seconds`.
    """
    if timed.joules is None:
        return {}
    wait(batch.input_ids.device)
    time.sleep(SETTLE_S)
    meter = Meter(gpus)
    time.sleep(IDLE_S)
    idle = meter.spent(0)
    idle_power = idle.joules / idle.seconds
    if engine.stepper is None and timed.seconds >= config.measure.energy_seconds:
        spent = timed
    else:
        spent = decode_repeatedly(engine, batch, config, gpus)
    return {
        "power_w": spent.joules / spent.seconds,
        "idle_power_w": idle_power,
        "joules_per_token": spent.joules / spent.tokens,
        "joules_per_token_above_idle": (spent.joules - idle_power * spent.seconds) / spent.tokens,
    }


def decode_repeatedly(engine: Engine, batch: PromptBatch, config: BenchmarkConfig, gpus: Gpus) -> Spent:
    """`measure.energy_seconds` of decoding or a little more, each token read back."""
    tokens = config.workload.new_tokens
    stepper = engine.stepper
    token = stepper.prefill(batch) if stepper else None
    wait(batch.input_ids.device)
    meter, steps = Meter(gpus), 0
    while time.perf_counter() - meter.started < config.measure.energy_seconds:
        if stepper is None:
            engine.run(batch, tokens)
            steps += tokens
            continue
        for _ in range(tokens - 1):
            token = stepper.step(token)
            token.tolist()
        stepper.rewind(tokens - 1)
        steps += tokens - 1
    wait(batch.input_ids.device)
    return meter.spent(steps * config.batch_size)
