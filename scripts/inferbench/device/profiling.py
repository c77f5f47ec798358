"""What ran in one step: attention kernels, busy time, and where the time went."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from inferbench.settings.job import AttentionConfig

#: Operators (on any device) and kernels (in a replayed graph, where no operator is seen) of torch's
#: scaled_dot_product_attention, which chooses among several by itself. The first pattern that matches names it.
SDPA_KERNELS = (
    ("sdpa:flash", r"_scaled_dot_product_flash|pytorch_flash"),
    ("sdpa:efficient", r"_scaled_dot_product_efficient|fmha_cutlass"),
    ("sdpa:cudnn", r"_scaled_dot_product_cudnn|cudnn_generated\w*sdpa"),
    ("sdpa:math", r"_scaled_dot_product_attention_math"),
)
#: Attention of another package.
FOREIGN = r"flash_attn|flash_fwd|FlashAtt|flex_attention"
#: Kernel classes of a step, first match wins.
KERNEL_CLASSES = (
    ("attention", r"flash|fmha|sdpa|[sS]oft[mM]ax"),
    ("dequantise", r"[dD]equant|QuantVector|VectorQuant|kQuantize|int8_vectorwise|mm_dequant"),
    (
        "matmul",
        r"gemm|gemv|cutlass|nvjet|cublas|xmma|splitK|matmul|triton_\w*_mm|_mm_|dot_kernel|reduce_1Block",
    ),
)


@dataclass
class StepProfile:
    """Names of attention that ran; per class, milliseconds of kernels; their union in milliseconds."""

    attention: set[str]
    class_ms: dict[str, float]
    busy_ms: float
    kernels: list[tuple[str, float, int]]


def profile_call(
    call: Callable[[], object], device: torch.device, attention: AttentionConfig | None = None
) -> StepProfile:
    """Run `call` once under the profiler. Its time there is not a measurement: profiling slows it.

    attention: the backend that was asked for, whose own pattern names it.
    """
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
        torch.cuda.synchronize()
    with profile(activities=activities, acc_events=True) as profiler:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
    events = profiler.events()
    kernels = [
        event for event in events if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    ]
    class_ms = dict.fromkeys(("matmul", "dequantise", "attention", "other"), 0.0)
    totals: dict[str, tuple[float, int]] = {}
    for kernel in kernels:
        milliseconds = (kernel.time_range.end - kernel.time_range.start) / 1000
        class_ms[kernel_class(kernel.name)] += milliseconds
        spent, count = totals.get(kernel.name, (0.0, 0))
        totals[kernel.name] = (spent + milliseconds, count + 1)
    return StepProfile(
        attention=attention_names([event.name for event in events], attention),
        class_ms=class_ms,
        busy_ms=union_length([(k.time_range.start, k.time_range.end) for k in kernels]) / 1000,
        kernels=sorted(((name, *spent) for name, spent in totals.items()), key=lambda row: -row[1]),
    )


def attention_names(names: Sequence[str], attention: AttentionConfig | None = None) -> set[str]:
    """Which attention the operators and kernels of these names are.

    That of `attention` by its own pattern, one of SDPA_KERNELS by its label, one of another package by the
    name itself; "eager" where there is none of them but a softmax.
    """
    patterns = list(SDPA_KERNELS)
    if attention and attention.shown_as:
        patterns.insert(0, (attention.implementation, attention.shown_as))
    labels = [
        next((label for label, pattern in patterns if re.search(pattern, name)), None) for name in names
    ]
    found = set(filter(None, labels))
    if not (attention and attention.implementation in found):
        found |= {name for name, label in zip(names, labels) if label is None and re.search(FOREIGN, name)}
    if not found and any(re.search(r"softmax", name, re.IGNORECASE) for name in names):
        found = {"eager"}
    return found


def kernel_class(name: str) -> str:
    return next((label for label, pattern in KERNEL_CLASSES if re.search(pattern, name)), "other")


def union_length(intervals: list[tuple[float, float]]) -> float:
    """Total length covered by intervals that may overlap."""
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered
