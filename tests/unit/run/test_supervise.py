"""However a measuring process ends, its parent has a record: here small programs stand in for it."""

import os

import pytest

from inferbench.run import supervise
from inferbench.settings.job import Fault

RECORD = 'say({"record": {"status": "ok", "flags": []}})\n'
HEAD = """
import json, os, signal, sys, time
answer = os.fdopen(int(sys.argv[1]), "w")
def say(message, end="\\n"):
    answer.write((message if isinstance(message, str) else json.dumps(message)) + end)
    answer.flush()
"""


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """`ended(program, timeout_s)`: the record of a worker that runs this program."""

    def run(program: str, timeout_s: float = 60, config: dict | None = None, environment: dict | None = None):
        package = tmp_path / "inferbench" / "run"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "worker.py").write_text(HEAD + program)
        monkeypatch.setattr(supervise, "SCRIPTS", tmp_path)
        return supervise.run_worker(config or {}, environment or {}, timeout_s)

    return run


def test_what_the_worker_found_is_handed_back(ended):
    program = 'asked = json.load(sys.stdin)["config"]\n'
    program += 'say({"record": {"status": "ok", "asked": asked, "threads": os.environ["OMP_NUM_THREADS"]}})\n'
    record = ended(program, config={"batch_size": 3}, environment={"OMP_NUM_THREADS": "7"})
    assert record == {"status": "ok", "asked": {"batch_size": 3}, "threads": "7"}


ENDS = {
    "segmentation fault": (
        "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), signal.SIGSEGV)",
        "failed",
        "killed by SIGSEGV during load",
    ),
    "abort": (
        "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.abort()",
        "failed",
        "killed by SIGABRT during load",
    ),
    "exit": ("sys.exit(3)", "failed", "the measuring process exited with 3 during load; see the log"),
    "no answer": ("", "failed", "the measuring process exited with 0 during load; see the log"),
    "half an answer": (
        "say('{\"record\": {\"sta', end=''); os._exit(3)",
        "failed",
        "the measuring process exited with 3 during load; see the log",
    ),
    "too slow": ("time.sleep(600)", "timeout", "over timeout_s = 4 s, during load"),
}


@pytest.mark.parametrize("program, status, reason", ENDS.values(), ids=ENDS)
def test_a_worker_without_an_answer_has_a_status_and_a_reason(ended, program, status, reason):
    stages = 'say({"stage": "ceilings"})\nsay({"stage": "load"})\n'
    record = ended(stages + program, timeout_s=4 if status == "timeout" else 60)
    assert record == {"status": status, "reason": reason}


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGBUS"])
def test_a_worker_that_is_ended_from_outside_has_no_record(ended, name):
    program = f'say({{"stage": "load"}})\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\nos.kill(os.getpid(), signal.{name})'
    with pytest.raises(Fault, match=f"^killed by {name} during load$"):
        ended("import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n" + program)


@pytest.mark.parametrize(
    "kills, status, reason",
    [
        ([4, 5], "oom", "killed by the system for lack of memory during startup"),
        ([None, None], "failed", "killed by SIGKILL, for lack of memory or from outside, during startup"),
    ],
    ids=["by the kernel", "nobody counts"],
)
def test_a_worker_killed_for_lack_of_memory_has_a_record(ended, monkeypatch, kills, status, reason):
    counted = iter(kills)
    monkeypatch.setattr(supervise, "_oom_kills", lambda: next(counted))
    record = ended("os.kill(os.getpid(), signal.SIGKILL)")
    assert record == {"status": status, "reason": reason}


def test_a_fault_of_files_that_the_worker_met_is_no_record(ended):
    met = {"status": "failed", "reason": "SafetensorError during load: incomplete metadata"}
    with pytest.raises(Fault, match="^SafetensorError during load: incomplete metadata$"):
        ended(f"say({{'record': {met}}})")


def test_a_sentence_of_our_own_stands_alone(ended):
    met = {"status": "failed", "reason": "Fault during check: the tokenizer is another's"}
    with pytest.raises(Fault, match="^the tokenizer is another's$"):
        ended(f"say({{'record': {met}}})")


def test_a_worker_that_dies_before_it_reads_its_request(ended):
    # more than a pipe holds, so that the parent is still writing
    record = ended("os._exit(9)", config={"architecture": "x" * 1_000_000})
    assert record["reason"] == "the measuring process exited with 9 during startup; see the log"


@pytest.mark.parametrize(
    "program", ["time.sleep(600)", "sys.exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"]
)
def test_an_answer_counts_whatever_the_process_does_after_it(ended, program):
    assert ended(RECORD + program, timeout_s=4)["status"] == "ok"


def test_no_worker_outlives_its_time(ended, tmp_path):
    pid = tmp_path / "pid"
    ended(f"open({str(pid)!r}, 'w').write(str(os.getpid()))\nsignal.pause()", timeout_s=4)
    with pytest.raises(ProcessLookupError):
        supervise.os.kill(int(pid.read_text()), 0)


def test_what_a_worker_started_ends_with_it(ended, tmp_path):
    """torch's pool of compilers outlives its process by a minute and holds the job's log open."""
    pipe = tmp_path / "log"
    os.mkfifo(pipe)
    log = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    program = f"""
import subprocess
subprocess.Popen("sleep 10; echo still here", shell=True, stdout=open({str(pipe)!r}, "w"))
"""
    assert ended(program + RECORD)["status"] == "ok"
    os.set_blocking(log, True)
    with open(log) as lines:
        assert lines.read() == ""  # at once, for nobody is left to write


@pytest.mark.parametrize("timeout_s", [1e9, float("inf")])
def test_a_time_limit_of_years_or_none(ended, timeout_s):
    assert ended(RECORD, timeout_s=timeout_s)["status"] == "ok"


def test_a_worker_that_compiled_first_leaves_the_measuring_to_another(ended):
    """The second knows that, and for how long the first was at it; what the first measured does not count."""
    program = """
so_far = json.load(sys.stdin)["so_far"]
first = {"status": "again", "reason": "", "compile_cache": "cold", "stages_s": {"compile": 90.0}, "copy": 1}
say({"record": {"status": "ok", "so_far": so_far} if so_far else first})
"""
    told = {"compile_cache": "cold", "stages_s": {"compile": 90.0}}
    assert ended(program) == {"status": "ok", "so_far": told}
