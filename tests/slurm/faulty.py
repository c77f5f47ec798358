"""A checkout whose jobs run on the Slurm of these tests and can be given faults."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

from checkouts import Checkout
from inferbench.tables.cell_file import read_cell

FREQUENT_LOOKS = Path(__file__).with_name("frequent_looks.py")
#: Stands in a job's PATH before the real python: faults/<cell> is what befalls the job of that cell.
PYTHON = """\
#!/bin/bash
fault=$(cat "{folder}/faults/$(sed -n 's/.* cell=\\([^ ]*\\).*/\\1/p' <<<"$*")" 2>/dev/null)
eval "$fault"
exec {python} "$@"
"""
#: The measuring process is stopped as soon as it is there, so its job goes on until something ends it.
FREEZE = """\
( until worker=$(pgrep -P $$ -f inferbench.run.worker); do sleep 0.1; done; kill -STOP $worker ) &
"""
#: A helper of the job takes so much memory that the job as a whole has too much, at first.
HOG = """\
python3 -c 'import time; held = bytearray(1_400_000_000); time.sleep(60)' > /dev/null 2>&1 &
"""
#: The whole job is killed from inside, measuring process and parent.
CRASH = "kill -KILL $$"
#: The measuring process dies of a segmentation fault; its parent lives.
SEGFAULT = FREEZE.replace("-STOP", "-SEGV")


class Run:
    """A run of snakemake; what it says goes to a file, for a pipe that is not read would stop it."""

    def __init__(self, checkout: Checkout, command: list[str]):
        self.folder = checkout.folder
        self.file = checkout.folder.parent / f"run-{time.time_ns()}.txt"
        with self.file.open("w") as out:
            self.process = subprocess.Popen(
                command,
                cwd=checkout.folder,
                env=checkout.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def wait(self) -> int:
        return self.process.wait(timeout=600)

    @property
    def output(self) -> str:
        return self.file.read_text()


class ClusterCheckout(Checkout):
    """A checkout with `snakemake --profile slurm` set up, whose jobs can be given faults."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        home = folder.parent / "home"
        self.environment |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}
        self.environment["PATH"] = f"{folder}/bin{os.pathsep}{self.environment['PATH']}"
        self.runs: list[Run] = []
        self.profile = home / ".config/snakemake/slurm/config.yaml"

    def set_up(self) -> None:
        """Install the profile as a user does, and edit it: this Slurm is fast, so are its looks at the queue."""
        self.run("make", "slurm-profile")
        self.profile.write_text(
            self.profile.read_text()
            .replace("latency-wait: 60 ", "latency-wait: 5 ")
            .replace("retries: 2", "retries: 0")
            + "slurm-init-seconds-before-status-checks: 2\n"
        )
        self.path("faults").mkdir()
        self.path("bin").mkdir()
        script = self.path("bin/python")
        script.write_text(PYTHON.format(folder=self.folder, python=sys.executable))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def campaign(self, **changes) -> None:
        super().campaign(
            **{"baseline": {"model": "tiny"}, "cpu_threads": 1, "mem_mb": 1500, "timeout_s": 300, **changes}
        )

    def fault(self, cell: str, script: str) -> None:
        self.path(f"faults/{cell}").write_text(script)

    def heal(self) -> None:
        for file in self.path("faults").iterdir():
            file.unlink()

    def submit(self, *arguments: str) -> "Run":
        """`snakemake --profile slurm` in the background, its jobs on GPUs (the campaign's cells would ask for
        none, since they are measured on the processor)."""
        command = [sys.executable, str(FREQUENT_LOOKS), *arguments, "--profile", "slurm"]
        self.runs.append(Run(self, [*command, "--set-resources", "measure_cell:gpu=1"]))
        return self.runs[-1]

    def on_slurm(self, *arguments: str) -> "Run":
        """The same until it ends."""
        run = self.submit(*arguments)
        run.wait()
        return run

    def cell_files(self) -> dict[str, tuple[str, int]]:
        """Of every cell file under results: its status, and when it was written. Each is whole and no other
        file is beside it."""
        found = {}
        for path in self.path("results/tiny/cells").rglob("*"):
            if path.is_file():
                provenance, record, rows = read_cell(path)
                assert path.parent.name == provenance["cell"]
                assert path.name == f"replicate-{provenance['replicate']}.parquet"
                assert len(rows) == len(record.get("iterations") or [0]) or record["status"] == "ok"
                found[provenance["cell"]] = (record["status"], path.stat().st_mtime_ns)
        return found

    def rows(self):
        """The measurements of what is there, by cell, without a report."""
        name = "results/tiny/partial/measurements.parquet"
        done = self.snakemake(name)
        assert done.code == 0, done.output
        return self.table(name).set_index("cell")

    def partial(self):
        """The measurements of `snakemake partial`, whose report was written."""
        done = self.snakemake("partial")
        assert done.code == 0, done.output
        assert self.path("results/tiny/partial/report.html").exists()
        return self.table("results/tiny/partial/measurements.parquet").set_index("cell")
