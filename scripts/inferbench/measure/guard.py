"""What makes a measurement doubtful from outside: the driver's counters before and after everything that is timed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from inferbench.device.nvml import Gpus, validity_flags


class Guard:
    """Collects `flags`, in the order in which they were found, over all measurements of one process."""

    def __init__(self, gpus: Gpus | None):
        """gpus: None where there is no driver; then only what `add` is told is collected."""
        self.gpus = gpus
        self.flags: list[str] = []

    def add(self, flag: str) -> None:
        if flag not in self.flags:
            self.flags.append(flag)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The body is measured: its time counts from after the first look to before the second."""
        if self.gpus is None:
            yield
            return
        before, started = self.gpus.snapshot(), time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        for flag in validity_flags(before, self.gpus.snapshot(), seconds):
            self.add(flag)
