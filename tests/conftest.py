"""Tests import the library and the entry scripts as `scripts/` has them, and each other's helpers.

A test that needs a program names it by marker. Where the program is absent the test is left out and
the last lines say so; with REQUIRE_ALL=1 it fails instead, the GPU tests apart.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FOLDERS = ("unit", "workflow", "slurm", "browser")
sys.path[:0] = [str(TESTS.parent / "scripts"), *(str(TESTS / name) for name in FOLDERS)]


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
left_out: dict[str, int] = {}


def pytest_runtest_setup(item):
    for part, (is_there, install, insist) in PARTS.items():
        if item.get_closest_marker(part) and not is_there():
            if REQUIRE_ALL and insist:
                pytest.fail(f"the {part} tests need {install}")
            left_out[part] = left_out.get(part, 0) + 1
            pytest.skip(f"needs {install}")


def pytest_terminal_summary(terminalreporter):
    for part, count in left_out.items():
        terminalreporter.write_line(f"Left out: {count} {part} tests; they need {PARTS[part][1]}.")
