"""The process that loads a model and measures one cell.

Started by `supervise` with the resolved config on standard input; it answers with JSON lines on the
file descriptor it is given: `{"stage": ...}` as each stage begins, then one `{"record": ...}`.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from omegaconf import OmegaConf

from inferbench.config import BenchmarkConfig, Device
from inferbench.support import Hopeless, Unsupported, unsupported_reason


class Stages:
    """Which stage runs, told to the parent as it begins, and how long each took."""

    def __init__(self, answer, spawned_at: float):
        self.answer = answer
        self.current = "startup"
        self.seconds = {"startup": time.time() - spawned_at}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.current = name
        send(self.answer, {"stage": name})
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def main() -> None:
    answer = os.fdopen(int(sys.argv[1]), "w")
    request = json.load(sys.stdin)
    merged = OmegaConf.merge(OmegaConf.structured(BenchmarkConfig), request["config"])
    config: BenchmarkConfig = OmegaConf.to_object(merged)
    stages = Stages(answer, request["spawned_at"])
    record: dict[str, Any] = {}
    try:
        device = pick_device(config)
        if reason := unsupported_reason(config, device):
            raise Unsupported(reason)
        # Importing transformers takes seconds, which a cell that cannot run need not pay.
        from inferbench.cell import measure_cell

        measure_cell(config, device, stages, record)
        record["status"] = "ok"
    except Exception as error:  # whatever a cell dies of is its result
        record["status"], record["reason"] = classify(error, stages.current)
        if record["status"] == "failed":
            traceback.print_exc()
    record["stages_s"] = stages.seconds
    send(answer, {"record": record})


def send(answer, message: dict[str, Any]) -> None:
    answer.write(json.dumps(message) + "\n")
    answer.flush()


def classify(error: Exception, stage: str) -> tuple[str, str]:
    """(status, reason) of a cell that ended with this exception."""
    text = " ".join(str(error).split())
    if isinstance(error, Unsupported):
        return "unsupported", text
    if isinstance(error, Hopeless):
        return "skipped", text
    allocation = "can't allocate memory" in text or "CUDA out of memory" in text
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or allocation:
        return "oom", f"out of memory during {stage}: {text[:300]}"
    return "failed", f"{type(error).__name__} during {stage}: {text[:600]}"


def pick_device(config: BenchmarkConfig) -> torch.device:
    """The device asked for; `auto` is a GPU where there is one."""
    if config.device is Device.cpu:
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if config.device is Device.cuda:
        raise Unsupported("device cuda asked for, but torch sees no GPU on this machine")
    return torch.device("cpu")


if __name__ == "__main__":
    main()
