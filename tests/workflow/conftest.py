"""The real workflow in throw-away copies of this checkout. One real run of the tiny campaign is shared."""

import shutil
import subprocess

import pytest

from checkouts import REPOSITORY, Checkout


@pytest.fixture(scope="session")
def clone(tmp_path_factory) -> Checkout:
    """What a clone of the repository would hold, with the working tree's content. Not to be written to."""
    listing = ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\0")
    folder = tmp_path_factory.mktemp("clone") / "checkout"
    for name in filter(None, names):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, folder / name)
    return Checkout(folder)


@pytest.fixture(scope="session")
def first_run(clone, tmp_path_factory) -> Checkout:
    """A clone whose default campaign is the tiny one, run to its end by plain `snakemake`. Not to be
    written to."""
    checkout = clone.copy(tmp_path_factory.mktemp("first") / "checkout")
    checkout.campaign()
    done = checkout.snakemake()
    assert done.code == 0, done.output
    return checkout


@pytest.fixture
def fresh(clone, tmp_path) -> Checkout:
    """A clone in which nothing ran yet; its default campaign is the tiny one."""
    checkout = clone.copy(tmp_path / "checkout")
    checkout.campaign()
    return checkout


@pytest.fixture
def finished(first_run, tmp_path) -> Checkout:
    """A clone in which the tiny campaign ran to its end."""
    return first_run.copy(tmp_path / "checkout")
