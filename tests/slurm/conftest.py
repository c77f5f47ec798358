"""One Slurm for all tests here, and copies of this checkout whose jobs it runs."""

import fcntl
import re
import sys
from pathlib import Path

import pytest

from checkouts import Checkout, clone_into
from cluster import SYSTEM_CONFIG, Cluster
from faulty import ClusterCheckout
from inferbench.device.device import device_name


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    processor = re.findall(r"[a-z]{3,}", device_name_of_processor().lower())[0]
    # One Slurm of this kind at a time on one host.
    with (Path("/var/lock") / "inferbench-slurm-tests").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if SYSTEM_CONFIG.exists() and "tests/slurm/cluster.py" not in SYSTEM_CONFIG.read_text():
            pytest.skip(f"this machine has a Slurm of its own ({SYSTEM_CONFIG})")
        cluster = Cluster(tmp_path_factory.mktemp("slurm"), processor)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def device_name_of_processor() -> str:
    import torch

    return device_name(torch.device("cpu"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Checkout:
    """A clone with the tiny model. Not to be written to."""
    checkout = Checkout(clone_into(tmp_path_factory.mktemp("clone") / "checkout"))
    done = checkout.run(sys.executable, "scripts/prepare_model.py", "model=tiny")
    assert done.code == 0, done.output
    return checkout


@pytest.fixture
def checkout(slurm, prepared, tmp_path) -> ClusterCheckout:
    """A checkout ready for `snakemake --profile slurm`; its default campaign is the tiny one."""
    prepared.copy(tmp_path / "checkout")
    ready = ClusterCheckout(tmp_path / "checkout")
    ready.set_up()
    ready.campaign()
    yield ready
    for run in ready.runs:
        run.process.kill()
    slurm.cancel_all()
