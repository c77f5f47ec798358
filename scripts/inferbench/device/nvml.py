"""The GPU driver's own counters, read before and after a measurement and never during it.

This is the boundary to the driver: without one `Gpus.open` gives None, and everything that needs the
driver is null.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

import pynvml

#: Driver counters of nanoseconds during which clocks were held down, and what each means here.
THROTTLE_COUNTERS = {
    "thermal": (
        "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN",
        "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN",
    ),
    "power_brake": ("NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN",),
    "power_cap": ("NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP",),
}
#: The older interface to the same times, for drivers that do not answer the newer one.
VIOLATIONS = {
    "thermal": (pynvml.NVML_PERF_POLICY_THERMAL,),
    "power_brake": (pynvml.NVML_PERF_POLICY_BOARD_LIMIT,),
    "power_cap": (pynvml.NVML_PERF_POLICY_POWER,),
}


@dataclass
class Snapshot:
    """State of the GPUs at one moment. Times in seconds since the driver was loaded, the mean of the GPUs."""

    throttle_s: dict[str, float] = field(default_factory=dict)
    foreign_processes: int = 0


class Gpus:
    """The GPUs that a process computes on, through NVML, as one device."""

    def __init__(self, handles: list):
        self.handles = handles

    @classmethod
    def open(cls, uuids: Iterable[str]) -> Gpus | None:
        """The GPUs with these UUIDs ("GPU-..."); None where there is no driver."""
        try:
            pynvml.nvmlInit()
            return cls([pynvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in uuids])
        except pynvml.NVMLError:
            return None

    def identity(self) -> dict[str, str]:
        """Name of the first, UUIDs in one order whichever came first, and driver version."""
        return {
            "device_name": pynvml.nvmlDeviceGetName(self.handles[0]),
            "device_uuid": "+".join(sorted(map(pynvml.nvmlDeviceGetUUID, self.handles))),
            "driver": pynvml.nvmlSystemGetDriverVersion(),
        }

    def snapshot(self) -> Snapshot:
        return Snapshot(
            throttle_s={
                kind: sum(_throttle_seconds(handle, kind) for handle in self.handles) / len(self.handles)
                for kind in THROTTLE_COUNTERS
            },
            foreign_processes=self.foreign_processes(),
        )

    def foreign_processes(self) -> int:
        """Compute processes on these GPUs other than this one.

        In a container the driver may report the host's process ids, among which this one's is not
        found; this process then counts as one of them.
        """
        return sum(max(0, len(_processes(handle)) - 1) for handle in self.handles)

    def process_bytes(self) -> int | None:
        """GPU memory of this process; None where the driver does not say."""
        sizes = [_own_bytes(_processes(handle)) for handle in self.handles]
        return None if None in sizes else sum(sizes)

    def energy_j(self) -> float | None:
        """Joules since the driver was loaded; None where a GPU counts none."""
        counted = [_ask(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle) for handle in self.handles]
        return None if None in counted else sum(counted) / 1e3


def _processes(handle) -> list:
    return _ask(pynvml.nvmlDeviceGetComputeRunningProcesses, handle) or []


def _own_bytes(processes: list) -> int | None:
    own = [p for p in processes if p.pid == os.getpid()] or (processes if len(processes) == 1 else [])
    return own[0].usedGpuMemory if own else None


def _throttle_seconds(handle, kind: str) -> float:
    fields = [getattr(pynvml, name) for name in THROTTLE_COUNTERS[kind] if hasattr(pynvml, name)]
    values = _ask(pynvml.nvmlDeviceGetFieldValues, handle, fields) or []
    answered = [value for value in values if value.nvmlReturn == pynvml.NVML_SUCCESS]
    if answered:
        return sum(value.value.ullVal for value in answered) / 1e9
    times = [_ask(pynvml.nvmlDeviceGetViolationStatus, handle, policy) for policy in VIOLATIONS[kind]]
    return sum(time.violationTime for time in times if time is not None) / 1e9


def _ask(function, *arguments):
    """The driver's answer, None where this GPU has none."""
    try:
        return function(*arguments)
    except pynvml.NVMLError:
        return None


def validity_flags(before: Snapshot, after: Snapshot, seconds: float) -> list[str]:
    """Flags and notes for a measurement of `seconds` between two snapshots.

    Any thermal slowdown or power brake makes a number invalid; a power cap is normal under load and
    is noted when it held for over 1% of the time.
    """
    held = {
        kind: after.throttle_s.get(kind, 0) - before.throttle_s.get(kind, 0) for kind in THROTTLE_COUNTERS
    }
    flags = []
    if held["thermal"] > 0 or held["power_brake"] > 0:
        flags.append("throttled")
    if before.foreign_processes or after.foreign_processes:
        flags.append("contended")
    if held["power_cap"] > 0.01 * seconds:
        flags.append("power_capped")
    return flags
