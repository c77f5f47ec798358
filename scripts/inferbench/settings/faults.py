"""What says nothing about a cell: faults of its files and of the machine. Such a job fails and stores nothing, so
that the same command measures the cell again once they are in order.

What a cell dies of by itself is a result, also where that is a crash: memory that does not suffice, a kernel that
reads where it must not, a check that fails. A fault is

- an error of the operating system (a file that is gone, unreadable or cut off, no room on the disk) but for a lack
  of memory, also where a library tells of it in an error of its own;
- a file of weights that the safetensors library cannot read;
- a driver that does not answer, and a GPU that is absent, lost, busy or has bad memory;
- a signal from outside: SIGKILL that the kernel did not send for lack of memory, SIGTERM, SIGINT, SIGHUP; and SIGBUS,
  which ends whoever reads a mapped file that has become shorter or whose disk fails.

The reason of a record tells which it is: so do records that versions before 1.0.1 stored as `failed`.
"""

from __future__ import annotations

import builtins
import errno
import os
import re

#: Names of exceptions, which a reason begins with. `Fault` is what this package itself raises.
KINDS = {"Fault", "SafetensorError"} | {
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, OSError)
}
SIGNALS = {"SIGBUS", "SIGHUP", "SIGINT", "SIGKILL", "SIGTERM"}
#: Words of the system, of CUDA (cudaGetErrorString) and of torch, whichever exception brings them.
WORDS = (
    *(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS)),
    "No CUDA GPUs are available",
    "no CUDA-capable device",
    "Found no NVIDIA driver",
    "CUDA driver version is insufficient",
    "CUDA driver initialization failed",
    "CUDA error: initialization error",
    "CUDA error: unknown error",
    "CUDA unknown error",
    "busy or unavailable",
    "unsupported display driver",
    "system not yet initialized",
    "uncorrectable ECC error",
    "uncorrectable NVLink error",
)


def is_fault(reason: str) -> bool:
    """Whether the reason of a `failed` record is a fault of files or of the machine."""
    if os.strerror(errno.ENOMEM) in reason:
        return False
    began = re.match(r"(\w+) during |killed by (\w+) during ", reason)
    kind, name = began.groups() if began else (None, None)
    known = kind in KINDS or name in SIGNALS or (kind or "").startswith("NVMLError")
    return known or any(words in reason for words in WORDS)
