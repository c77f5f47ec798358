"""What this device can do at most, measured by the process that measures the cell, in under 2 s."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

#: Memory bandwidth in GB/s and dense bf16 rate in TFLOP/s from the manufacturers' datasheets.
DATASHEETS = {
    "H100 80GB HBM3": (3350, 989),
    "H100 PCIe": (2000, 756),
    "H200": (4800, 989),
    "A100-SXM4-80GB": (2039, 312),
    "A100-SXM4-40GB": (1555, 312),
    "A100 80GB PCIe": (1935, 312),
    "L40S": (864, 362),
    "L4": (300, 121),
    "RTX 4090": (1008, 165),
}


@torch.inference_mode()
def measure_ceilings(device: torch.device) -> dict[str, float | None]:
    """Copy bandwidth (bytes read and written), read-only bandwidth of a bf16 matrix-vector product,
    and rate of a bf16 matrix product, each the median of a few runs after one to warm up."""
    big, side = (2**30, 8192) if device.type == "cuda" else (2**27, 512)
    copy_s = _copy_seconds(big, device)
    read_s = _read_seconds(big, device)
    product_s = _product_seconds(side, device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    bandwidth, rate = datasheet(torch.cuda.get_device_name(device) if device.type == "cuda" else "")
    return {
        "copy_bandwidth_gb_s": 2 * big / copy_s / 1e9,
        "read_bandwidth_gb_s": big / read_s / 1e9,
        "matmul_tflop_s": 2 * side**3 / product_s / 1e12,
        "datasheet_bandwidth_gb_s": bandwidth,
        "datasheet_tflop_s": rate,
    }


def _copy_seconds(size: int, device: torch.device) -> float:
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return _median_seconds(lambda: target.copy_(source), device)


def _read_seconds(size: int, device: torch.device) -> float:
    columns = 16384
    matrix = torch.randn(size // 2 // columns, columns, dtype=torch.bfloat16, device=device)
    vector = torch.randn(columns, dtype=torch.bfloat16, device=device)
    return _median_seconds(lambda: matrix @ vector, device)


def _product_seconds(side: int, device: torch.device) -> float:
    left, right = torch.randn(2, side, side, dtype=torch.bfloat16, device=device)
    return _median_seconds(lambda: left @ right, device)


def datasheet(device_name: str) -> tuple[float | None, float | None]:
    """(GB/s, TFLOP/s) of the longest known name that the device's name ends with."""
    known = [name for name in DATASHEETS if device_name.endswith(name)]
    return DATASHEETS[max(known, key=len)] if known else (None, None)


def _median_seconds(call: Callable[[], object], device: torch.device, runs: int = 5) -> float:
    call()
    return median(_seconds(call, device) for _ in range(runs))


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        started = time.perf_counter()
        call()
        return time.perf_counter() - started
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000
