"""Whole devices for one cell at a time on this host, whoever starts the cells.

Each GPU (or the processor, as one device) has a lock file; a cell holds its locks until it ends, and
the kernel lets go of them however it ends. On a Slurm node the scheduler has already done this.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pynvml


class LeaseError(RuntimeError):
    """This host has fewer GPUs than the cell asks for."""


def visible_gpus() -> list[str]:
    """GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip()]
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return []
    return [pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count)]


@contextmanager
def leased_devices(device: str, gpus: int) -> Iterator[dict[str, str]]:
    """Hold `gpus` GPUs (the processor if there is none or `device` is cpu) while the body runs.

    Yields the environment for the measuring process. Raises LeaseError.
    """
    visible = [] if device == "cpu" else visible_gpus()
    if not visible:
        # An empty list hides every GPU from a cell that asked for the processor.
        environment = {"CUDA_VISIBLE_DEVICES": ""}
        with _locks([["cpu"]]) if _alone() else ExitStack():
            yield environment
        return
    if gpus > len(visible):
        raise LeaseError(f"the model asks for {gpus} GPUs, and {len(visible)} are visible here")
    if not _alone():
        yield {"CUDA_VISIBLE_DEVICES": ",".join(visible[:gpus])}
        return
    with _locks([visible] * gpus) as held:
        yield {"CUDA_VISIBLE_DEVICES": ",".join(held)}


def _alone() -> bool:
    return "SLURM_JOB_ID" not in os.environ


@contextmanager
def _locks(choices: list[list[str]]) -> Iterator[list[str]]:
    """One lock for each list of choices: the first that is free, or else a wait for the last."""
    folder = Path(tempfile.gettempdir()) / f"inferbench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with ExitStack() as stack:
        # Cells that need several GPUs take them one group at a time, or two could wait for each other.
        if len(choices) > 1:
            _lock(stack, folder / "several.lock", wait=True)
        held: list[str] = []
        for names in choices:
            left = [name for name in names if name not in held]
            free = next((name for name in left if _lock(stack, folder / f"{name}.lock", wait=False)), None)
            if free is None:
                free = left[os.getpid() % len(left)]
                _lock(stack, folder / f"{free}.lock", wait=True)
            held.append(free)
        yield held


def _lock(stack: ExitStack, path: Path, wait: bool) -> bool:
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        return False
    stack.callback(file.close)
    return True
