"""Which type of GPU a cell asks a scheduler for, and whether a device is of that type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def asked_gpu_model(campaign: Mapping[str, Any], axes: Mapping[str, Any]) -> str | None:
    """The type that the cell with these axes asks for: the campaign's `gpu_model`, or that of the first of
    its patterns that matches; None where any will do."""
    asked = campaign.get("gpu_model")
    if not isinstance(asked, list):
        return asked
    return next((entry["gpu_model"] for entry in asked if _matches(entry, axes)), None)


def _matches(entry: Mapping[str, Any], axes: Mapping[str, Any]) -> bool:
    values = {axis: value if isinstance(value, list) else [value] for axis, value in entry.items()}
    return all(axes.get(axis) in listed for axis, listed in values.items() if axis != "gpu_model")


def gpu_model_setting(campaign: Mapping[str, Any], axes: Mapping[str, Any]) -> dict[str, str]:
    """The Hydra setting that has the device checked; none where any will do."""
    asked = asked_gpu_model(campaign, axes)
    return {"gpu_model": asked} if asked else {}


def is_gpu_model(asked: str, device_name: str) -> bool:
    """Whether a device's name, as its driver gives it, has every word of a scheduler's GPU type.

    Schedulers write `h100`, `a100_80gb` or `rtx4090` for "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB"
    and "NVIDIA GeForce RTX 4090": case and what stands between the parts of a word do not count, but
    an A100 is no a10.
    """
    words = re.findall(r"[a-z0-9]+", asked.lower())
    return all(_has_word(word, device_name.lower()) for word in words)


def _has_word(word: str, text: str) -> bool:
    spread = r"[^a-z0-9]*".join(word)
    return re.search(rf"(?<![a-z0-9]){spread}(?![a-z0-9])", text) is not None
