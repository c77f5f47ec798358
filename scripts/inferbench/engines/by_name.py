"""Engines by the name of their module, so that no list of them exists and one more changes the code of no other."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from inferbench.settings.job import ConfigError, ExecutionConfig


def engine_module(execution: ExecutionConfig) -> ModuleType:
    """`inferbench/engines/<module>.py`. Raises ConfigError where there is none."""
    name = f"{__package__}.{execution.module}"
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ConfigError(
            f"execution {execution.name} names the engine module {execution.module}, and there is no"
            f" scripts/{name.replace('.', '/')}.py"
        ) from error
