"""The device that a process measures on."""

from __future__ import annotations

from pathlib import Path

import torch

from inferbench.config import RunConfig
from inferbench.nvml import Gpu


def set_up(config: RunConfig) -> None:
    """Threads, and fp32 that is fp32."""
    torch.set_num_threads(config.cpu_threads)
    torch.set_float32_matmul_precision("highest")  # no TF32


def open_gpu(device: torch.device) -> Gpu | None:
    """The driver's view of `device`; None on a CPU and where there is no driver."""
    return Gpu.open(f"GPU-{torch.cuda.get_device_properties(device).uuid}") if device.type == "cuda" else None


def device_name(device: torch.device) -> str:
    """The GPU's or the processor's model name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else "CPU"


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
