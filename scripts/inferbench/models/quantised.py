"""What a checkpoint's config.json says of its own quantisation: known before anything loads, by the standard
library alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    # Its other weights stay in the dtype that they were saved in, whatever is asked for.
    settings = _of_bitsandbytes(own, _first(config, ("dtype", "torch_dtype")))
    asked = {
        "quantisation": precision.quantisation.value,
        "double_quantisation": precision.double_quantisation,
        "outlier_threshold": precision.outlier_threshold,
        "dtype": precision.dtype.value,
        OTHERS: precision.dtype.value,
    }
    if settings is not None and settings.items() <= asked.items():
        return None
    todo = "give its unquantised checkpoint"
    if settings is not None:
        todo = f"ask for a precision that says the same, or {todo}"
    return (
        f"the checkpoint of {model} is quantised already ({_described(own, settings)}), and precision"
        f" {precision.name} was asked for, which is something else: {todo}"
    )


def _of_bitsandbytes(own: dict[str, Any], others: str | None) -> dict[str, Any] | None:
    """Its settings under the names that a precision's Hydra file has for them; None for another library.
    others: dtype of the weights that are not quantised, where the config says it."""
    if own.get("load_in_8bit"):
        settings = {"quantisation": "int8", "outlier_threshold": own.get("llm_int8_threshold", 6.0)}
    elif own.get("load_in_4bit"):
        settings = {
            "quantisation": own.get("bnb_4bit_quant_type", "fp4"),
            "double_quantisation": own.get("bnb_4bit_use_double_quant", False),
            "dtype": own.get("bnb_4bit_compute_dtype") or "float32",
        }
    else:
        return None
    return settings if others is None else {**settings, OTHERS: others}


def _described(own: dict[str, Any], settings: dict[str, Any] | None) -> str:
    if settings is not None:
        return "bitsandbytes: " + ", ".join(f"{key} {value}".lower() for key, value in settings.items())
    method = own.get("quant_method") or "by a method that it does not name"
    bits = f", {own['bits']} bit" if own.get("bits") else ""
    return METHODS.get(method, method) + bits
