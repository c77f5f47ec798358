"""How many tokens a model can hold, from its config.json: told before anything loads, and while a campaign is planned.

A run is (prompt tokens, new tokens) of a sequence. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

#: Steps of a check, also where a workload asks for fewer. Every token of them is forced, so that errors cannot hide
#: behind a near tie.
CHECK_STEPS = 6
#: Models that look each position up in a table, which ends: the rows that transformers gives it where the config
#: does not say.
TABLES = {
    "biogpt": 1024,
    "codegen": 2048,
    "ctrl": 256,
    "gpt2": 1024,
    "gpt_bigcode": 1024,
    "gpt_neo": 2048,
    "gptj": 2048,
    "openai-gpt": 512,
    "opt": 2048,
}
#: Kinds of rotary positions whose frequencies depend on the length so far.
CHANGING = ("dynamic", "longrope", "su")

Run = tuple[int, int]


def checkpoint_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint; empty where there is none that can be read."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def runs_of(settings: Mapping[str, Any]) -> list[Run]:
    """The runs that a workload or an experiment's settings ask for; none for whole prompts, which are short."""
    found = []
    if "prompt_tokens" in settings:
        # A draft may be that many tokens ahead.
        new = settings.get("new_tokens", 0) + settings.get("draft_tokens", 0)
        found.append((settings["prompt_tokens"], max(new, CHECK_STEPS)))
    if "steps" in settings:
        found += [(length, max(settings["steps"] + 1, CHECK_STEPS)) for length in settings["lengths"]]
    if "window_tokens" in settings:
        found.append((settings["window_tokens"], 0))
    return found


def host_rotary_reason(config: Mapping[str, Any]) -> str | None:
    """Why no step of a model of this config can be captured for its rotary positions; None if they hinder none."""
    if any(kind == "dynamic" for kind, _ in _rotary(_text_part(config))):
        return (
            "dynamic rotary scaling has the host look at each step's length, so the step cannot be captured"
        )
    return None


def too_long_reason(config: Mapping[str, Any], runs: Iterable[Run]) -> str | None:
    """Why a model of this config cannot hold the longest of the runs; None if it can."""
    text = _text_part(config)
    if text.get("model_type") not in TABLES:
        return None
    stated = text.get("n_positions") or text.get("max_position_embeddings")
    positions = stated or TABLES[text["model_type"]]
    longest = max((prompt + new for prompt, new in runs), default=0)
    if longest <= positions:
        return None
    return f"the model has {positions:,} positions, and {longest:,} are asked for (prompt and new tokens)"


def changing_reason(config: Mapping[str, Any], runs: Iterable[Run]) -> str | None:
    """Why steps over a cache cannot make these runs as `generate()` would; None if they can.

    Beyond the length that it was trained for first, a model may rotate by other frequencies than those by which the
    keys in the cache were rotated. `generate()` of models with LongRoPE begins anew there (transformers,
    modeling_phi3.py); with dynamic scaling they follow the longest sequence so far, that of an earlier run too."""
    text = _text_part(config)
    for kind, rope in _rotary(text):
        first = text.get("max_position_embeddings")
        if kind != "dynamic":
            own = rope.get("original_max_position_embeddings")
            first = text.get("original_max_position_embeddings") or own or first
        if kind not in CHANGING or first is None:
            continue
        if any(
            new and prompt + new > first and (kind == "dynamic" or prompt <= first) for prompt, new in runs
        ):
            return (
                f"the rotary frequencies of this model change beyond {first:,} tokens ({kind}), where keys in the cache"
                " no longer fit: take lengths on one side of that, or execution generate"
            )
    return None


def beyond_context(config: Mapping[str, Any], tokens: int) -> bool:
    """Whether so many tokens are more than the context that the config states, scaled as it says."""
    text = _text_part(config)
    stated = text.get("max_position_embeddings") or text.get("n_positions")
    scaled = [
        rope["original_max_position_embeddings"] * rope["factor"]
        for _, rope in _rotary(text)
        if rope.get("factor") and rope.get("original_max_position_embeddings")
    ]
    return stated is not None and tokens > max([stated, *scaled])


def _text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a config with several parts says of the language model."""
    return {**config, **(config.get("text_config") or {})}


def _rotary(text: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(kind, parameters) of the rotary positions; a model may have one set for each type of its layers."""
    given = text.get("rope_parameters") or text.get("rope_scaling") or {}
    sets = [given, *(value for value in given.values() if isinstance(value, dict))]
    kinds = ((rope.get("rope_type") or rope.get("type"), rope) for rope in sets)
    return [(kind, rope) for kind, rope in kinds if kind]
