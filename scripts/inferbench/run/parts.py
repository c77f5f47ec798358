"""The parts of an experiment, loaded by name: nothing below `run` knows which experiments there are, so that one more
changes the code of no other."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def part(experiment: str, name: str) -> ModuleType:
    """The module `inferbench/experiments/<experiment>/<name>.py`; name: settings, measure, table, section, figures or
    a module below that (`figures.ranking`)."""
    return import_module(f"inferbench.experiments.{experiment}.{name}")
