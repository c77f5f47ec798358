"""The library of weight formats that a precision's Hydra file names. No list has them: each is a module of this folder."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

import inferbench.precision
from inferbench.precision.protocol import Library
from inferbench.settings.job import ConfigError, PrecisionConfig


def library(precision: PrecisionConfig) -> Library:
    """The library of the precision. Raises ConfigError where there is none of that name."""
    found = libraries().get(precision.library)
    if found is None:
        raise ConfigError(
            f"precision {precision.name}: there is no library {precision.library}; there are {', '.join(libraries())}."
        )
    return found


@cache
def libraries() -> dict[str, Library]:
    """All libraries by name, for what is to be told of weights whichever was asked for."""
    names = [module.name for module in iter_modules(inferbench.precision.__path__)]
    modules = {name: import_module(f"{inferbench.precision.__name__}.{name}") for name in names}
    return {name: module for name, module in modules.items() if isinstance(module, Library)}
