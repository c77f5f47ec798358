"""The parent of a measuring process: starts it, waits without polling, and turns any end into a record."""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from inferbench.measure.stages import AGAIN
from inferbench.settings.faults import is_fault
from inferbench.settings.job import Fault
from inferbench.settings.repository import SCRIPTS

PR_SET_PDEATHSIG = 1
#: What poll(2) can wait for, 24 days; a longer limit is none.
LONGEST_WAIT_MS = 2**31 - 1


def run_worker(config: dict[str, Any], environment: dict[str, str], timeout_s: float) -> dict[str, Any]:
    """The record of the worker that measures `config` (resolved, plain data).

    A worker that had to compile its step first leaves the measuring to a second one. Their output and
    errors go where this process's go. Whatever becomes of them, the record has a status and, unless ok, a
    reason. Raises Fault where that says nothing about the cell.
    """
    record = _record_of_one(config, environment, timeout_s, {})
    if record["status"] == AGAIN:
        so_far = {key: record[key] for key in ("compile_cache", "stages_s")}
        record = _record_of_one(config, environment, timeout_s, so_far)
    if record["status"] == "failed" and is_fault(record["reason"]):
        raise Fault(re.sub(r"^Fault during \w+: ", "", record["reason"]))
    return record


def _record_of_one(
    config: dict[str, Any], environment: dict[str, str], timeout_s: float, so_far: dict[str, Any]
) -> dict[str, Any]:
    with tempfile.TemporaryFile("w+") as answer:
        spawned_at = time.time()
        worker = subprocess.Popen(
            [sys.executable, "-m", "inferbench.run.worker", str(answer.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[answer.fileno()],
            env={**os.environ, **environment, "PYTHONPATH": _python_path()},
            preexec_fn=_die_with_parent,
            process_group=0,
        )
        try:
            worker.stdin.write(
                json.dumps({"config": config, "spawned_at": spawned_at, "so_far": so_far}).encode()
            )
            worker.stdin.close()
        except BrokenPipeError:
            pass  # it is already dead; its exit status says of what
        kills_before = _oom_kills()
        finished = _wait(worker, timeout_s)
        answer.seek(0)
        messages = [json.loads(line) for line in answer if line.endswith("\n")]
        answer_record = next((message["record"] for message in messages if "record" in message), None)
    stage = next((m["stage"] for m in reversed(messages) if "stage" in m), "startup")
    if answer_record is not None:
        return answer_record
    if not finished:
        return {"status": "timeout", "reason": f"over timeout_s = {timeout_s:g} s, during {stage}"}
    return _death_record(worker.returncode, stage, kills_before, _oom_kills())


def _wait(worker: subprocess.Popen, timeout_s: float) -> bool:
    """Sleep until the worker ends; whether it did in time. A worker that did not is killed, and so are
    processes that it leaves behind: torch's compilers would hold the job's log open for a minute.

    `Popen.wait(timeout)` would wake up many times a second beside the measurement.
    """
    watched = os.pidfd_open(worker.pid)
    try:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        finished = bool(poll.poll(min(timeout_s * 1000, LONGEST_WAIT_MS)))
    finally:
        os.close(watched)
        os.killpg(worker.pid, signal.SIGKILL)  # its group's name is its own until it is waited for
        worker.wait()
    return finished


def _death_record(returncode: int, stage: str, kills_before: int | None, kills: int | None) -> dict[str, Any]:
    """The record of a worker that gave no answer. kills_before, kills: what `_oom_kills` said."""
    if returncode == -signal.SIGKILL and kills is None:
        return {
            "status": "failed",
            "reason": f"killed by SIGKILL, for lack of memory or from outside, during {stage}",
        }
    if returncode == -signal.SIGKILL and kills > kills_before:
        return {"status": "oom", "reason": f"killed by the system for lack of memory during {stage}"}
    if returncode < 0:
        return {"status": "failed", "reason": f"killed by {signal.Signals(-returncode).name} during {stage}"}
    return {
        "status": "failed",
        "reason": f"the measuring process exited with {returncode} during {stage}; see the log",
    }


def _oom_kills() -> int | None:
    """How many processes the kernel has killed for lack of memory, here and in this control group; None where it does
    not say."""
    files = (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events"))
    lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
    counted = [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
    return sum(counted) if counted else None


def _die_with_parent() -> None:
    """In the worker: a parent killed by a scheduler must not leave it behind on the GPU."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _python_path() -> str:
    inherited = os.environ.get("PYTHONPATH")
    return f"{SCRIPTS}{os.pathsep}{inherited}" if inherited else str(SCRIPTS)
