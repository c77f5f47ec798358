"""Where a number comes from: versions, commit, host, scheduler, time."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from inferbench.plan.fingerprint import code_hash
from inferbench.settings.repository import REPOSITORY

#: Packages that decide what runs on the device.
PACKAGES = ("torch", "transformers", "bitsandbytes", "accelerate", "flash-attn", "triton", "numpy")
#: Files that say what is measured and not how: every table keeps the campaign that it is of.
CAMPAIGNS = ("config/config.yaml", "config/campaigns")


def describe_run(config: dict[str, Any], fingerprint: str, code: tuple[str, ...]) -> dict[str, Any]:
    """Everything about this run that is known before it starts. code: files where its code begins."""
    return {
        "campaign": config["campaign"],
        "cell": config["cell"],
        "replicate": config["replicate"],
        "config": config,
        "fingerprint": fingerprint,
        "code": code_hash(*code),
        "git_commit": git_commit(),
        "versions": {"python": platform.python_version(), **package_versions()},
        "host": os.environ.get("SLURMD_NODENAME") or platform.node(),
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
    }


def package_versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Commit of this checkout, "-dirty" appended when tracked files other than CAMPAIGNS differ; None without git,
    also inside another repository, whose commit says nothing of this one."""
    if not (REPOSITORY / ".git").exists():
        return None
    commit = _git("rev-parse", "--verify", "--short=12", "HEAD")
    others = [f":(exclude){path}" for path in CAMPAIGNS]
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *others)
    return f"{commit}-dirty" if commit and changed else commit


def _git(*arguments: str) -> str | None:
    """What git says of this checkout; None where it says nothing, or is not there."""
    try:
        done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def now() -> str:
    """UTC time, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
