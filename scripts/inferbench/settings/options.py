"""Options that one module of several understands: untyped in Hydra's files, typed by the module that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inferbench.settings.job import ConfigError

Options = TypeVar("Options")


def typed_options(kind: type[Options], options: Mapping[str, Any], owner: str) -> Options:
    """The dataclass `kind` with these options. owner: whose they are, for the sentence of the ConfigError that an
    unknown or badly typed one raises."""
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), dict(options)))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"options of {owner}: {reason}") from error
