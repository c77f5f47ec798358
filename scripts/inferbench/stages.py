"""Which stage of a cell runs, told to the parent as it begins, and how long each took."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class Stages:
    """`seconds` by stage; `startup` counts from `spawned_at`, the time.time() at which the parent started us."""

    def __init__(self, answer: TextIO, spawned_at: float):
        self.answer = answer
        self.current = "startup"
        self.seconds = {"startup": time.time() - spawned_at}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.current = name
        send(self.answer, {"stage": name})
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def send(answer: TextIO, message: dict[str, Any]) -> None:
    """One JSON line, at once: the sender may be killed at any moment."""
    answer.write(json.dumps(message) + "\n")
    answer.flush()
