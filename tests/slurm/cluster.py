"""A real Slurm on this host: a controller, two virtual nodes with stand-in GPUs, no accounting database.

The daemons are children of the test process and die with it. Their configuration is a scratch folder's,
but for `/etc/slurm/slurm.conf`: Snakemake's job steps drop SLURM_CONF, so only that place is found.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

SYSTEM_CONFIG = Path("/etc/slurm/slurm.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")
PATH = f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/usr/bin"
#: Devices that exist everywhere stand in for GPUs; the second node's type is a word of this processor's
#: name, so that a cell measured on the processor ran on that type and on no other.
NODES = {"gpu1": "h100", "gpu2": None}

SLURM_CONF = """\
# Written by tests/slurm/cluster.py, which removes it again.
ClusterName=ci
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={controller_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
SlurmdTimeout=20
# A node that comes back says which jobs it lost; a younger job counts as still starting, for minutes.
BatchStartTimeout=1
ReturnToService=2
MpiDefault=none
KillWait=1
MinJobAge=600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName=gpu1 NodeAddr=127.0.0.1 NodeHostname=localhost Port={gpu1_port} CPUs=4 RealMemory=16000 Gres=gpu:{gpu1_type}:2
NodeName=gpu2 NodeAddr=127.0.0.1 NodeHostname=localhost Port={gpu2_port} CPUs=4 RealMemory=16000 Gres=gpu:{gpu2_type}:2
PartitionName=gpu Nodes=gpu[1-2] Default=YES MaxTime=1-0 DefMemPerCPU=500 PriorityTier=1 State=UP
PartitionName=urgent Nodes=gpu[1-2] MaxTime=1-0 DefMemPerCPU=500 PriorityTier=2 State=UP
"""
GRES_CONF = """\
AutoDetect=off
NodeName=gpu1 Name=gpu Type={gpu1_type} File=/dev/null,/dev/zero
NodeName=gpu2 Name=gpu Type={gpu2_type} File=/dev/full,/dev/random
"""


def installed() -> bool:
    """Whether the daemons can be started here: their programs, root, and no Slurm of this machine's own."""
    return os.geteuid() == 0 and all(shutil.which(program, path=PATH) for program in PROGRAMS)


class Cluster:
    """The daemons, by name: munged, slurmctld, gpu1, gpu2."""

    def __init__(self, folder: Path, processor_type: str):
        self.folder = folder
        self.daemons: dict[str, subprocess.Popen] = {}
        self.types = {"gpu1": "h100", "gpu2": processor_type}
        values = {f"{node}_type": type_ for node, type_ in self.types.items()}
        values |= {f"{name}_port": _free_port() for name in ("controller", "gpu1", "gpu2")}
        for name in ("state", "gpu1", "gpu2"):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o600)
        (folder / "slurm.conf").write_text(SLURM_CONF.format(folder=folder, **values))
        (folder / "gres.conf").write_text(GRES_CONF.format(**values))
        # As real files: what is included is looked for beside the file that is read.
        for name in ("slurm.conf", "gres.conf"):
            shutil.copyfile(folder / name, SYSTEM_CONFIG.with_name(name))

    def start(self) -> None:
        options = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        self._spawn(
            "munged", "munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *options
        )
        wait_for(lambda: (self.folder / "munge.socket").exists(), "munged")
        self.start_controller()
        for node in self.types:
            self.start_node(node)
        wait_for(lambda: self.node_states() == dict.fromkeys(self.types, "idle"), "idle nodes")

    def start_controller(self) -> None:
        self._spawn("slurmctld", "slurmctld", "-D")

    def start_node(self, node: str) -> None:
        self._spawn(node, "slurmd", "-D", "-N", node)

    def kill(self, daemon: str, number: int = signal.SIGKILL) -> None:
        self.daemons[daemon].send_signal(number)
        self.daemons[daemon].wait()

    def crash_node(self, node: str) -> None:
        """As when a node loses its power: its daemon and everything that runs on it are gone, and nothing
        is left that could report how its jobs ended."""
        running = _processes_of_jobs(node)
        self.kill(node)
        watchers = {process.parent() for process in running} - {None}
        for process in [*(watcher for watcher in watchers if watcher.name() == "slurmstepd"), *running]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> None:
        """End all jobs and daemons; nothing is left behind."""
        self.cancel_all()
        for name in ("gpu1", "gpu2", "slurmctld", "munged"):
            if name in self.daemons:
                self.daemons[name].send_signal(signal.SIGTERM)
                try:
                    self.daemons[name].wait(timeout=10)
                except subprocess.TimeoutExpired:
                    self.daemons[name].kill()
        for process in psutil.process_iter(["name"]):
            if process.info["name"] == "slurmstepd":
                process.kill()
        for name in ("slurm.conf", "gres.conf"):
            SYSTEM_CONFIG.with_name(name).unlink(missing_ok=True)

    def cancel_all(self) -> None:
        subprocess.run(["scancel", "--full", "--user=root"], env=self.environment(), capture_output=True)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": PATH}

    def run(self, *command: str, env: dict[str, str] | None = None) -> str:
        """Standard output of a Slurm command that must succeed."""
        done = subprocess.run(command, env=env or self.environment(), capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def node_states(self) -> dict[str, str]:
        done = subprocess.run(
            ["sinfo", "-Nh", "-o", "%N %t"], env=self.environment(), capture_output=True, text=True
        )
        return dict(line.split() for line in done.stdout.splitlines())

    def jobs(self, folder: Path, *options: str) -> dict[str, str]:
        """Ids of the jobs in the queue that were sent from a folder, by what they are: rule and wildcards."""
        lines = self.run("squeue", "-h", "-o", "%i %Z %k", *options).splitlines()
        rows = [line.split(maxsplit=2) for line in lines]
        return {comment: job for job, sent_from, comment in rows if sent_from == str(folder)}

    def state(self, job: str) -> str:
        return self.run("squeue", "-h", "-j", job, "--states=all", "-o", "%T").strip()

    def job_of(self, run, cell: str) -> str:
        """Id of the running job of a cell, once its measuring process is there and has been stopped."""
        process = wait_for(lambda: _stopped_process(cell), f"stopped process of {cell}", run)
        return process.environ()["SLURM_JOB_ID"]

    def thaw(self, cell: str) -> None:
        """Let the stopped process of a cell go on."""
        _stopped_process(cell).send_signal(signal.SIGCONT)

    def _spawn(self, name: str, *command: str) -> None:
        log = (self.folder / f"{name}.out").open("a")
        self.daemons[name] = subprocess.Popen(
            command,
            env={**self.environment(), "SLURM_CONF": str(self.folder / "slurm.conf")},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,
            start_new_session=True,
        )


def _processes_of_jobs(node: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("SLURMD_NODENAME") == node:
                found.append(process)
    return found


def _stopped_process(cell: str) -> psutil.Process | None:
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        if "inferbench.run.worker" in command and process.info["status"] == psutil.STATUS_STOPPED:
            parent = process.parent()
            if parent and f"cell={cell}" in parent.cmdline():
                return process
    return None


def wait_for(condition: Callable[[], object], what: str, run=None) -> object:
    """The condition's value once it is true. It fails when `run` ends before, or after five minutes."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        if value := condition():
            return value
        if run is not None and run.process.poll() is not None:
            raise AssertionError(f"no {what}:\n{run.output}")
        time.sleep(0.1)
    raise AssertionError(f"waited in vain for {what}")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
