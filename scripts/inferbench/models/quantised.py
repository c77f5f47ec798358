"""What a checkpoint's config.json says of its own quantisation: known before anything loads, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from inferbench.precision.by_name import libraries, library
from inferbench.settings.job import PrecisionConfig

#: Where a config keeps it; compressed-tensors began with the second.
KEYS = ("quantization_config", "compression_config")
#: Methods by the names that people know.
METHODS = {"fp8": "fine-grained FP8", "gptq": "GPTQ", "awq": "AWQ", "mxfp4": "MXFP4"}
OTHERS = "dtype of other weights"


def own_quantisation(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """How the weights of a checkpoint with this config.json were quantised, as it or a text model's config in it
    says; None where they are not."""
    return _first(config, KEYS)


def _first(config: Mapping[str, Any], keys: Iterable[str]) -> Any:
    """The value of the first of `keys` that is set, in `config` or in what is nested in it."""
    nested = (_first(value, keys) for value in config.values() if isinstance(value, dict))
    return next((value for value in chain(map(config.get, keys), nested) if value is not None), None)


def refusal(config: Mapping[str, Any], model: str, precision: PrecisionConfig) -> str | None:
    """One sentence why a checkpoint with this config.json cannot be measured as `precision`: its weights are
    quantised, and not as that says. None where it can."""
    own = own_quantisation(config)
    if own is None:
        return None
    name, says = _as_precision(own)
    # Its other weights stay in the dtype that they were saved in, whatever is asked for.
    if name and (others := _first(config, ("dtype", "torch_dtype"))):
        says[OTHERS] = others
    dtype = precision.dtype.value
    asked = {**library(precision).options(precision), "dtype": dtype, OTHERS: dtype}
    if name == precision.library and says.items() <= asked.items():
        return None
    todo = "give its unquantised checkpoint"
    if name:
        todo = f"ask for a precision that says the same, or {todo}"
        described = f"{name}: " + ", ".join(f"{key} {value}".lower() for key, value in says.items())
    else:
        described = _described(own)
    return (
        f"the checkpoint of {model} is quantised already ({described}), and precision {precision.name} was asked"
        f" for, which is something else: {todo}"
    )


def _as_precision(own: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """The name of the library that quantised it, and what a precision's Hydra file would say; (None, {}) where no
    module of `precision` knows it."""
    for name, known in libraries().items():
        if (says := known.checkpoint_options(own)) is not None:
            return name, says
    return None, {}


def _described(own: dict[str, Any]) -> str:
    method = own.get("quant_method") or "by a method that it does not name"
    bits = f", {own['bits']} bit" if own.get("bits") else ""
    return METHODS.get(method, method) + bits
