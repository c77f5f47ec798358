"""Copies of this checkout to run the real workflow in, and the names of the tiny campaign's jobs."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd
import yaml

from inferbench.plan.figures import grid_drawings

REPOSITORY = Path(__file__).resolve().parents[2]
#: What would change how a job or a plan comes out, if it came from whoever runs the tests.
NOT_INHERITED = ("SLURM_JOB_ID", "SNAKEMAKE_PROFILE", "PYTHONPATH", "HF_HUB_OFFLINE")


@dataclass(frozen=True)
class Done:
    """How a command ended, and what a person saw of it."""

    code: int
    output: str


def clone_into(folder: Path) -> Path:
    """What a clone of the repository would hold, with the working tree's content, in `folder`."""
    listing = ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, folder / name)
    return folder


class Checkout:
    """A copy of the repository in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        scratch = folder.parent / "scratch"
        scratch.mkdir(exist_ok=True)
        self.environment = {
            **{key: value for key, value in os.environ.items() if key not in NOT_INHERITED},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            # Locks of devices lie here: a campaign that runs on this machine shall not hold up a test.
            "TMPDIR": str(scratch),
            "XDG_CACHE_HOME": str(scratch),
            "CUDA_VISIBLE_DEVICES": "",
        }

    def copy(self, folder: Path) -> "Checkout":
        """Everything here, results and Snakemake's records included, in another folder."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Checkout(folder)

    def path(self, name: str) -> Path:
        return self.folder / name

    def start(self, *command: str, **options) -> subprocess.Popen:
        options.setdefault("cwd", self.folder)
        return subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    def run(self, *command: str, **options) -> Done:
        process = self.start(*command, **options)
        output, _ = process.communicate()
        return Done(process.returncode, output)

    def snakemake(self, *arguments: str) -> Done:
        return self.run(sys.executable, "-m", "snakemake", *arguments)

    def planned(self, *arguments: str) -> set[str]:
        """Jobs of a dry run: `cell/replicate` of each cell to measure (of an experiment's cell
        `experiment/cell/replicate`), and the names of other rules."""
        return set(self.priorities(*arguments))

    def priorities(self, *arguments: str) -> dict[str, int]:
        """The jobs of a dry run as `planned` names them, each with its priority."""
        done = self.snakemake("--dry-run", *arguments)
        assert done.code == 0, done.output
        jobs = {}
        for block in re.split(r"\n(?=(?:local)?rule )", done.output.partition("This was a dry-run")[0]):
            if head := re.match(r"(?:local)?rule (\w+):", block):
                wildcards = dict(re.findall(r"(folder|cell|replicate)=([^\s,]+)", block))
                priority = re.search(r"priority: (\d+)", block)
                own = [wildcards[part] for part in ("folder", "cell", "replicate") if "cell" in wildcards]
                name = "/".join(own).removeprefix("cells/") or head[1]
                jobs[name] = int(priority[1]) if priority else 0
        return jobs

    def commit(self) -> None:
        """Make what is here a commit, so that `changed` tells what is written from now on."""
        name = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
        for command in (("init", "-q"), ("add", "-A"), (*name, "commit", "-q", "-m", "All")):
            assert self.run("git", *command).code == 0

    def changed(self) -> set[str]:
        """Files that `git status` shows since `commit`."""
        return {line[3:] for line in self.run("git", "status", "--porcelain", "-uall").output.splitlines()}

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.path(name))

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace the one occurrence of a text in a file."""
        text = self.path(name).read_text()
        assert text.count(old) == 1, f"{name} has {text.count(old)} times {old!r}"
        self.path(name).write_text(text.replace(old, new))

    def append(self, name: str, text: str) -> None:
        with self.path(name).open("a") as file:
            file.write(text)

    def campaign(self, **changes) -> None:
        """Make the tiny campaign with these keys the default campaign; `axes` replaces single axes."""
        campaign = yaml.safe_load(self.path("config/campaigns/tiny.yaml").read_text())
        campaign["axes"] |= changes.pop("axes", {})
        self.path("config/config.yaml").write_text(yaml.safe_dump({**campaign, **changes}, sort_keys=False))


FIGURE_RULES = {f"draw_{drawing.figure.name}" for drawing in grid_drawings()}
REPORT = {*FIGURE_RULES, "write_report", "all"}
DOWNSTREAM = {*REPORT, "aggregate_cells"}


def cells(
    precision=("fp32", "bf16"), attention=("sdpa", "flash_attention_2"), batch_size=(1, 2), replicate=(1,)
) -> set[str]:
    """Cells of the tiny campaign as `planned` names them."""
    return {
        f"tiny--{p}--{a}--loop--tiny--b{b}/{r}"
        for p, a, b, r in product(precision, attention, batch_size, replicate)
    }


def cell_file(cell: str, campaign: str = "tiny") -> str:
    """Path of the file of a cell as `planned` names it."""
    name, replicate = cell.split("/")
    return f"results/{campaign}/cells/{name}/replicate-{replicate}.parquet"
