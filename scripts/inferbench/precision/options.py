"""A precision's options as its library types them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inferbench.settings.job import ConfigError, PrecisionConfig

Options = TypeVar("Options")


def typed(precision: PrecisionConfig, kind: type[Options]) -> Options:
    """The options as an instance of the dataclass `kind`. Raises ConfigError for one that is unknown, missing or no
    value of its type."""
    known = [field.name for field in fields(kind)]
    where = f"precision {precision.name}, library {precision.library}"
    if unknown := sorted(set(precision.options) - set(known)):
        raise ConfigError(f"{where}: there is no option {unknown[0]}; there is {', '.join(known) or 'none'}.")
    try:
        merged: Any = OmegaConf.merge(OmegaConf.structured(kind), precision.options)
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{where}: option {error.full_key}: {str(error).splitlines()[0]}") from error
