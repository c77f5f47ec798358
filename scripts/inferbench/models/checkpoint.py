"""A checkpoint's folder, looked through before each job: by headers and sizes alone, which takes milliseconds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from inferbench.plan.context_length import Run, checkpoint_config, runs_of
from inferbench.plan.fingerprint import CHECKPOINT_FILES
from inferbench.settings.job import Fault, ModelConfig, RunConfig, Source
from inferbench.settings.repository import in_repository

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
#: What git leaves in place of a file that it keeps elsewhere (git-lfs, docs/spec.md), which is shorter than 1,024 bytes.
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class ModelError(Fault):
    """A model that is not to be had. The message names it and says what to do."""


def asked_runs(config: RunConfig) -> tuple[dict[str, Any], list[Run]]:
    """(config.json of the cell's model, the runs that the cell makes of it)."""
    asked = getattr(config, "workload", None) or getattr(config, "experiment", None)
    return checkpoint_config(in_repository(config.model.path)), runs_of(vars(asked)) if asked else []


def require_checkpoint(model: ModelConfig) -> list[Path]:
    """The weight files of the model's folder. Raises ModelError, which names the file, where they cannot be used."""
    folder = in_repository(model.path)
    try:
        return list(_whole_files(model, folder))
    except OSError as error:
        raise ModelError(
            f"model {model.name}: {error.filename or folder}: {error.strerror or error}"
        ) from error


def _whole_files(model: ModelConfig, folder: Path) -> Iterator[Path]:
    where = f"model {model.name}: {folder}"
    if not (folder / "config.json").is_file():
        other = _other_kind(folder)
        raise ModelError(f"{where} {other}" if other else _nothing(model, folder))
    for file in sorted(file for pattern in CHECKPOINT_FILES for file in folder.glob(pattern)):
        if file.stat().st_size < 1024 and file.read_bytes().startswith(LFS_POINTER):
            raise ModelError(
                f"{where}/{file.name} is a Git LFS pointer and not the file: run git lfs pull there, or fetch it anew."
            )
    _read_json(where, folder / "config.json")
    for file, tensors in _declared(where, folder).items():
        try:
            with safe_open(file, framework="np") as opened:
                absent = sorted(tensors - set(opened.keys()))
        except SafetensorError as error:
            raise ModelError(f"{where}/{file.name} is not whole ({error}): fetch it anew.") from error
        if absent:
            raise ModelError(
                f"{where}/{file.name} does not hold {absent[0]}, which {INDEX} says it does: fetch both anew."
            )
        yield file


def _declared(where: str, folder: Path) -> dict[Path, set[str]]:
    """The weight files that transformers reads, and the tensors that the index says each holds."""
    if (folder / WEIGHTS).exists():
        return {folder / WEIGHTS: set()}
    if not (folder / INDEX).exists():
        raise ModelError(f"{where} {_other_kind(folder) or _loose(folder)}")
    weight_map = _read_json(where, folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict):
        raise ModelError(f"{where}/{INDEX} names no files of weights: fetch it anew.")
    tensors: dict[Path, set[str]] = {}
    for tensor, name in weight_map.items():
        tensors.setdefault(folder / name, set()).add(tensor)
    for file in sorted(tensors):
        if not file.exists():
            raise ModelError(
                f"{where}/{file.name} is not there, and {INDEX} names it; complete the download."
            )
    return dict(sorted(tensors.items()))


def _read_json(where: str, file: Path) -> dict:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{where}/{file.name} is not whole ({error}): fetch it anew.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{where}/{file.name} is not a mapping of keys: fetch it anew.")
    return content


def _other_kind(folder: Path) -> str | None:
    """What a folder holds that has no weights of a whole model for transformers, and what to do."""
    if name := _first(folder, "adapter_config.json", "adapter_model.*"):
        return (
            f"holds an adapter ({name}) and not the model that it changes: merge it into that (merge_and_unload of"
            " PEFT), save the whole and name its folder."
        )
    if name := _first(folder, "consolidated*.safetensors"):
        return (
            f"holds its weights only as {name}, the form of Mistral's own code: fetch the same model's files for"
            f" transformers ({WEIGHTS}, or shards and {INDEX})."
        )
    return None


def _loose(folder: Path) -> str:
    if name := _first(folder, "*.safetensors"):
        return f"holds {name} and no {INDEX} that says what is where; complete the download."
    if name := _first(folder, "*.bin", "*.pt", "*.pth"):
        return f"holds its weights only as pickles ({name}), which can run code; convert them to safetensors."
    return "holds no weights (*.safetensors); complete the download."


def _first(folder: Path, *patterns: str) -> str | None:
    return next((file.name for pattern in patterns for file in sorted(folder.glob(pattern))), None)


def _nothing(model: ModelConfig, folder: Path) -> str:
    todo = f"make it with: python scripts/prepare_model.py model={model.name}"
    if model.source is Source.checkpoint and not model.hub_id:
        todo = "put one there (config.json and *.safetensors), or name a hub_id in its Hydra file."
    return f"model {model.name}: there is no checkpoint in {folder}; {todo}"
