"""The experiments that there are, found by their folders: adding one is adding its folder."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from inferbench.settings.repository import SCRIPTS
from inferbench.settings.spec import Spec

GRID = "grid"


@cache
def specs() -> dict[str, Spec]:
    """Name -> spec of every experiment and of the grid, in the order of the report."""
    folders = [path.parent.name for path in (SCRIPTS / "inferbench" / "experiments").glob("*/spec.py")]
    found = {name: import_module(f"inferbench.experiments.{name}.spec").SPEC for name in folders}
    return dict(sorted(found.items(), key=lambda item: (item[1].place, item[0])))


def experiment_names() -> list[str]:
    """Every experiment beside the grid, in the order of the report."""
    return [name for name in specs() if name != GRID]
