"""The device that a process measures on."""

from __future__ import annotations

from pathlib import Path

import torch

from inferbench.device.nvml import Gpus
from inferbench.settings.job import Device, Fault, RunConfig


def set_up(config: RunConfig) -> None:
    """Threads, and fp32 that is fp32."""
    torch.set_num_threads(config.cpu_threads)
    torch.set_float32_matmul_precision("highest")  # no TF32


def gpus_of(device: torch.device) -> list[torch.device]:
    """The GPUs that a model on `device` may lie on: all that this process can see, which are those leased for it."""
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    return [torch.device("cuda", index) for index in range(count)]


def open_gpus(device: torch.device) -> Gpus | None:
    """The driver's view of them; None on a CPU and where there is no driver."""
    gpus = gpus_of(device)
    return Gpus.open(f"GPU-{torch.cuda.get_device_properties(gpu).uuid}" for gpu in gpus) if gpus else None


def device_name(device: torch.device) -> str:
    """The GPU's or the processor's model name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else "CPU"


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def pick_device(config: RunConfig) -> torch.device:
    """The device asked for; `auto` is a GPU where there is one. Raises Fault."""
    if config.device is Device.cpu:
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if config.device is Device.cuda:
        raise Fault("device cuda asked for, but torch sees no GPU on this machine")
    return torch.device("cpu")
