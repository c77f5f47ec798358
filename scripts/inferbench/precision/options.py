"""A precision's options as its library types them."""

from __future__ import annotations

from inferbench.settings.job import PrecisionConfig
from inferbench.settings.options import Options, typed_options


def typed(precision: PrecisionConfig, kind: type[Options]) -> Options:
    """The options as an instance of the dataclass `kind`. Raises ConfigError."""
    owner = f"precision {precision.name}, library {precision.library}"
    return typed_options(kind, precision.options, owner)
