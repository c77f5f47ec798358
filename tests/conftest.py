"""Tests import the library and the entry scripts as `scripts/` has them, and each other's helpers.

A test that needs a program names it by marker. Where the program is absent the test is left out and
the last lines say so; with REQUIRE_ALL=1 it fails instead, the GPU tests apart.

`make test` runs several processes. Each takes whole files, so what a file's tests share is made once, and
the tests on Slurm are one piece, first, since they wait more than they compute.
"""

import fcntl
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FOLDERS = ("unit", "workflow", "slurm", "browser")
sys.path[:0] = [str(TESTS.parent / "scripts"), *(str(TESTS / name) for name in FOLDERS)]

# A shell has its background jobs ignore Ctrl-C, and what the tests start and interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _gpu_is_there() -> bool:
    import torch

    return torch.cuda.is_available()


def _slurm_is_there() -> bool:
    from cluster import installed

    return installed()


def _browser_is_there() -> bool:
    from chromium import path_of_chromium

    return find_spec("playwright") is not None and path_of_chromium() is not None


#: marker -> (is it there, what to install, whether REQUIRE_ALL=1 insists on it)
PARTS = {
    "gpu": (_gpu_is_there, "a machine with a CUDA GPU and envs/benchmark-gpu.txt", False),
    "slurm": (_slurm_is_there, "root and the packages slurm-wlm, slurm-client and munge", True),
    "browser": (_browser_is_there, "Chromium (Debian's package chromium) and envs/dev.txt", True),
}
REQUIRE_ALL = os.environ.get("REQUIRE_ALL") == "1"


def pytest_collection_modifyitems(items):
    # The longest pieces first: a process that is done must find another.
    items.sort(key=lambda item: [item.path.parent.name != folder for folder in ("slurm", "workflow")])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadFileScheduling

    class Pieces(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "slurm" if nodeid.startswith("tests/slurm/") else super()._split_scope(nodeid)

    config.option.loadscopereorder = False
    return Pieces(config, log)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`made_once(name, make)`: the folder `name`, which `make(folder)` fills in whichever process comes first."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    run = tmp_path_factory.getbasetemp().parent if parallel else tmp_path_factory.getbasetemp()

    def folder_of(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = run / name, run / f"{name}.done"
        with (run / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return folder_of


def pytest_runtest_setup(item):
    for part, (is_there, install, insist) in PARTS.items():
        if item.get_closest_marker(part) and not is_there():
            if REQUIRE_ALL and insist:
                pytest.fail(f"the {part} tests need {install}")
            pytest.skip(f"needs {install}")


def pytest_terminal_summary(terminalreporter):
    skipped = terminalreporter.stats.get("skipped", [])
    left_out = Counter(part for report in skipped for part in PARTS if part in report.keywords)
    for part, count in left_out.items():
        terminalreporter.write_line(f"Left out: {count} {part} tests; they need {PARTS[part][1]}.")
