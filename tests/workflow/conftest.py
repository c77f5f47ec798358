"""The real workflow in throw-away copies of this checkout. One real run of the tiny campaign is shared."""

import pytest

from checkouts import Checkout, clone_into


@pytest.fixture(scope="session")
def clone(tmp_path_factory) -> Checkout:
    """What a clone of the repository would hold. Not to be written to."""
    return Checkout(clone_into(tmp_path_factory.mktemp("clone") / "checkout"))


@pytest.fixture(scope="session")
def first_run(clone, made_once) -> Checkout:
    """A clone whose default campaign is the tiny one, run to its end by plain `snakemake`. Not to be
    written to."""

    def run(folder):
        checkout = clone.copy(folder / "checkout")
        checkout.campaign()
        done = checkout.snakemake()
        assert done.code == 0, done.output

    return Checkout(made_once("first_run", run) / "checkout")


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
