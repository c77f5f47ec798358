"""The process that loads a model and measures one cell.

Started by `supervise` with the resolved config on standard input; it answers with JSON lines on the
file descriptor it is given: `{"stage": ...}` as each stage begins, then one `{"record": ...}`.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from inferbench.measure.stages import AGAIN, Stages, send
from inferbench.run.compose import typed
from inferbench.run.parts import part
from inferbench.settings.job import ConfigError, RunConfig
from inferbench.settings.repository import in_repository

#: Of what a cell died of: enough to know it by, and no page of C++ frames.
MOST_LETTERS = 600


def main() -> None:
    answer = os.fdopen(int(sys.argv[1]), "w")
    request = json.load(sys.stdin)
    config = typed(request["config"])
    experiment = request["config"].get("experiment", {}).get("name", "grid")
    # Before torch is imported, which reads most of it once.
    os.environ.update(environment(config))
    keep_bytecode(config)
    record: dict[str, Any] = request["so_far"]
    stages = Stages(answer, request["spawned_at"], record.get("stages_s", {}))
    try:
        measure(experiment, config, stages, record)
        record["status"] = "ok"
    except Exception as error:  # whatever a cell dies of is its result
        record["status"], record["reason"] = classify(error, stages.current)
        if record["status"] == "failed":
            traceback.print_exc()
    record["stages_s"] = stages.seconds
    send(answer, {"record": record})
    # Nothing is left to do, and what torch does at exit can wait minutes for its pool of compilers.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def node_cache(config: RunConfig) -> Path:
    return in_repository(config.cache_dir) / os.uname().nodename


def keep_bytecode(config: RunConfig) -> None:
    """Container images often forbid Python to keep what it compiled: then each process would compile torch and
    transformers anew, which takes longer than many a measurement."""
    if sys.dont_write_bytecode:
        sys.dont_write_bytecode, sys.pycache_prefix = False, str(node_cache(config) / "bytecode")


def environment(config: RunConfig) -> dict[str, str]:
    """Threads, no network, kernel caches that last."""
    cache = node_cache(config)
    if shlex.quote(str(cache)) != str(cache):
        # torch puts it into the commands of its compilers as it is.
        kept = Path(tempfile.gettempdir()) / f"inferbench-{os.getuid()}"
        cache = kept / re.sub(r"\W", "_", str(cache))
    threads = str(config.cpu_threads)
    return {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        # Spin for microseconds, then sleep: as fast on an idle machine, and on a busy one a step does not
        # wait whole time slices for a thread that is not running.
        "GOMP_SPINCOUNT": "10000",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
    }


def measure(experiment: str, config: RunConfig, stages: Stages, record: dict[str, Any]) -> None:
    """Fill `record` by the `measure` of the experiment, which may be the grid. Raises what the cell dies of."""
    with stages("startup"):
        from inferbench.device.device import pick_device
        from inferbench.measure.reasons import unsupported_reason
        from inferbench.settings.outcomes import Unsupported

        device = pick_device(config)
        if reason := unsupported_reason(config, device):
            raise Unsupported(reason)
        # transformers takes seconds to import, which a cell that cannot run need not pay.
        measuring = part(experiment, "measure")

    measuring.measure(config, device, stages, record)


def classify(error: Exception, stage: str) -> tuple[str, str]:
    """(status, reason) of a cell that ended with this exception."""
    from torch import OutOfMemoryError

    from inferbench.settings.outcomes import CompiledAnew, Hopeless, Unsupported

    whole = " ".join(str(error).split())
    text = whole if len(whole) <= MOST_LETTERS else whole[: MOST_LETTERS - 4] + " ..."
    if isinstance(error, Unsupported):
        return "unsupported", text
    if isinstance(error, Hopeless):
        return "skipped", text
    if isinstance(error, CompiledAnew):
        return AGAIN, text
    if isinstance(error, ConfigError):  # only the module of an engine or of an experiment could tell
        return "failed", f"Fault during {stage}: {text}"
    # On a CPU torch raises a plain RuntimeError for a failed allocation; the system and CUDA have errors of their own.
    lacking = ("can't allocate memory", os.strerror(errno.ENOMEM), "CUDA error: out of memory")
    if isinstance(error, (OutOfMemoryError, MemoryError)) or any(words in whole for words in lacking):
        # How torch's allocator shared out the rest differs from run to run, and helps nobody.
        return "oom", f"out of memory during {stage}: {text.split(' Including non-PyTorch memory')[0]}"
    # Libraries have classes of their own for errors of the system.
    foreign = isinstance(error, OSError) and type(error).__module__ != "builtins"
    return "failed", f"{'OSError' if foreign else type(error).__name__} during {stage}: {text}"


if __name__ == "__main__":
    main()
