"""What a node must have before cells are sent to it: a driver that this torch can use, GPUs of the type asked
for, the checkpoints, room for the results. Everything that is wrong is one sentence."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pynvml

from inferbench.settings.gpu_model import is_gpu_model


@dataclass(frozen=True)
class Node:
    """A node as its driver and torch see it. CUDA versions are (major, minor); None where there is none."""

    host: str
    driver: str | None
    driver_cuda: tuple[int, int] | None
    torch: str
    torch_cuda: tuple[int, int] | None
    devices: tuple[str, ...]
    #: compute capabilities that torch has kernels for, and those of the devices, as "90"
    architectures: tuple[str, ...]
    capabilities: tuple[str, ...]


def look_around() -> Node:
    """This node."""
    import torch

    try:
        pynvml.nvmlInit()
        driver = pynvml.nvmlSystemGetDriverVersion()
        number = pynvml.nvmlSystemGetCudaDriverVersion_v2()  # 12020 is 12.2
        driver_cuda = (number // 1000, number % 1000 // 10)
    except pynvml.NVMLError:
        driver, driver_cuda = None, None
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    built_for = torch.version.cuda
    return Node(
        host=os.environ.get("SLURMD_NODENAME") or os.uname().nodename,
        driver=driver,
        driver_cuda=driver_cuda,
        torch=torch.__version__,
        torch_cuda=tuple(map(int, built_for.split(".")[:2])) if built_for else None,
        devices=tuple(torch.cuda.get_device_name(index) for index in range(count)),
        architectures=tuple(name.split("_")[1] for name in torch.cuda.get_arch_list()),
        capabilities=tuple("".join(map(str, torch.cuda.get_device_capability(i))) for i in range(count)),
    )


def gpu_complaint(node: Node, gpu_model: str | None) -> str | None:
    """Why no cell can run on the GPUs of `node`, and what to do; None if it can.

    A driver runs what was built for its own major version of CUDA, whatever the minor one, and for older
    ones (NVIDIA, CUDA Compatibility).
    """
    torch = f"torch {node.torch}"
    if node.driver is None:
        return (
            f"node {node.host} has no NVIDIA driver: ask for nodes with GPUs (slurm_partition in the profile),"
            " or set device: cpu in the campaign"
        )
    if node.torch_cuda is None:
        return (
            f"{torch} on node {node.host} is built without CUDA: install envs/benchmark-gpu.txt for its jobs"
        )
    if node.driver_cuda[0] < node.torch_cuda[0]:
        return (
            f"driver {node.driver} of node {node.host} supports CUDA {_dotted(node.driver_cuda)} and {torch} is built"
            f" for CUDA {_dotted(node.torch_cuda)}: have the driver updated, or pin an older torch in"
            " envs/benchmark-gpu.in and run make lock"
        )
    if not node.devices:
        return (
            f"driver {node.driver} of node {node.host} shows {torch} no GPU, CUDA_VISIBLE_DEVICES is"
            f" {os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}: does the job ask for one?"
        )
    if not _has_kernels(node):
        return (
            f"{torch} has no kernels for {node.devices[0]} (compute capability {node.capabilities[0]}), only for"
            f" {', '.join(node.architectures)}: pin another torch in envs/benchmark-gpu.in"
        )
    if gpu_model and not is_gpu_model(gpu_model, node.devices[0]):
        return f"gpu_model {gpu_model} asked for, but node {node.host} has {node.devices[0]}"
    return None


def _has_kernels(node: Node) -> bool:
    """Whether torch has kernels for each device: of its own capability, or of an older one of its major."""
    built = [(name[:-1], name[-1]) for name in node.architectures]
    return all(
        any(major == own[:-1] and minor <= own[-1] for major, minor in built) for own in node.capabilities
    )


def disk_complaint(folder: Path, needed_bytes: int) -> str | None:
    """Whether the disk under `folder` has room for the results."""
    free = shutil.disk_usage(folder).free
    if free >= needed_bytes:
        return None
    return f"{folder} has {free / 1e6:,.0f} MB free and needs {needed_bytes / 1e6:,.0f} MB: make room first"


def summary(node: Node, models: Sequence[str]) -> str:
    """One line for the log."""
    return (
        f"{node.host}: {', '.join(node.devices)}, driver {node.driver} (CUDA {_dotted(node.driver_cuda)}), torch"
        f" {node.torch} (CUDA {_dotted(node.torch_cuda)}); found {', '.join(models)}"
    )


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
