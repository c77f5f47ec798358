"""Options that one module of several understands: untyped in Hydra's files, typed by the module that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inferbench.settings.job import ConfigError

Options = TypeVar("Options")


def typed_options(kind: type[Options], options: Mapping[str, Any], owner: str) -> Options:
    """The options as an instance of the dataclass `kind`. owner: whose they are, as a sentence names it. Raises
    ConfigError for one that is unknown, missing or no value of its type."""
    structured: Any = OmegaConf.structured(kind)
    known = list(structured)
    if unknown := sorted(set(options) - set(known)):
        raise ConfigError(f"{owner}: there is no option {unknown[0]}; there is {', '.join(known) or 'none'}.")
    try:
        typed: Any = OmegaConf.to_object(OmegaConf.merge(structured, dict(options)))
        return typed
    except OmegaConfBaseException as error:
        raise ConfigError(f"{owner}: option {error.full_key}: {str(error).splitlines()[0]}") from error
