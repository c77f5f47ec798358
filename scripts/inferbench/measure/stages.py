"""Which stage of a cell runs, told to the parent as it begins, and how long each took."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import MappingProxyType
from typing import Any, TextIO

from inferbench.measure.guard import Guard

#: What a worker answers instead of a status when another one is to measure.
AGAIN = "again"
#: The stage whose times are results.
MEASURED = "measure"


class Stages:
    """`seconds` by stage; `startup` counts from `spawned_at`, the time.time() at which the parent started us.

    Stages named MEASURED are under `guard`. so_far: the seconds of the process whose work this one goes on with.
    """

    def __init__(self, answer: TextIO, spawned_at: float, so_far: Mapping[str, float] = MappingProxyType({})):
        self.answer = answer
        self.current = "startup"
        self.guard = Guard(None)
        self.seconds = {**so_far, "startup": so_far.get("startup", 0.0) + time.time() - spawned_at}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.current = name
        send(self.answer, {"stage": name})
        started = time.perf_counter()
        try:
            with self.guard.watching() if name == MEASURED else nullcontext():
                yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def send(answer: TextIO, message: dict[str, Any]) -> None:
    """One JSON line, at once: the sender may be killed at any moment."""
    answer.write(json.dumps(message) + "\n")
    answer.flush()
