"""Checkpoints: made the same each time, whole or not at all, refused with a sentence."""

import errno
import hashlib
import json
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import save_file

from inferbench.models.checkpoint import ModelError
from inferbench.models.prepare import prepare
from inferbench.settings.job import ConfigError, ModelConfig, Source

ARCHITECTURE = {
    "model_type": "llama",
    "num_hidden_layers": 1,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 32,
    "vocab_size": 64,
}


def synthetic(tmp_path, **changes):
    given = {"name": "small", "source": Source.synthetic, "path": str(tmp_path / "small"), "seed": 1}
    return ModelConfig(**{**given, "architecture": ARCHITECTURE, **changes})


def weights(folder):
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_a_synthetic_model_is_its_seed(tmp_path):
    manifest = tmp_path / "small.json"
    record = prepare(synthetic(tmp_path), manifest)
    first = weights(tmp_path / "small")
    assert json.loads(manifest.read_text()) == record
    assert (record["model"], record["source"]) == ("small", "synthetic")
    assert record["files"] == {"model.safetensors": (tmp_path / "small/model.safetensors").stat().st_size}
    prepare(synthetic(tmp_path), manifest)
    assert weights(tmp_path / "small") == first
    prepare(synthetic(tmp_path, seed=2), manifest)
    assert weights(tmp_path / "small") != first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small", "small.json"]


def test_a_model_that_cannot_be_made_leaves_the_old_one_and_nothing_else(tmp_path):
    prepare(synthetic(tmp_path), tmp_path / "small.json")
    before = weights(tmp_path / "small")
    with pytest.raises(ConfigError, match="model small: its architecture is not one of transformers"):
        prepare(synthetic(tmp_path, architecture={"model_type": "abacus"}), tmp_path / "small.json")
    assert weights(tmp_path / "small") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small", "small.json"]


def test_a_model_described_otherwise_takes_the_place_of_the_one_before(tmp_path):
    manifests = [
        tmp_path / f"{name}.json"
        for name in (f"small-{'0' * 16}", f"small-{'1' * 16}", f"small-2-{'0' * 16}")
    ]
    for manifest, seed in zip(manifests, (1, 2, 3)):
        prepare(synthetic(tmp_path, seed=seed), manifest)
    # that of another model, whose name begins alike, is not the same model's
    prepare(synthetic(tmp_path, seed=1), manifests[0])
    assert [manifest.exists() for manifest in manifests] == [True, False, True]


def test_a_local_checkpoint_is_taken_as_it_is(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({"a": torch.zeros(3)}, folder / "model.safetensors")
    before = weights(folder)
    record = prepare(
        ModelConfig(name="own", source=Source.checkpoint, path=str(folder)), tmp_path / "own.json"
    )
    assert record["files"] == {"model.safetensors": (folder / "model.safetensors").stat().st_size}
    assert weights(folder) == before


def refusal(kind, status):
    return kind("long story", response=SimpleNamespace(headers={}, request=None, status_code=status))


FETCHING = {
    "gated": (refusal(GatedRepoError, 403), "is gated: accept its licence on its hub page, then log in with"),
    "unknown": (
        refusal(RepositoryNotFoundError, 404),
        "is not on the hub, or is private: check hub_id, or log in.",
    ),
    "no network": (
        LocalEntryNotFoundError("long story"),
        "cannot be fetched from here (LocalEntryNotFoundError)",
    ),
    "time out": (
        TimeoutError("long story"),
        "cannot be fetched from here (TimeoutError): run this on a machine",
    ),
}


@pytest.mark.parametrize("error, sentence", FETCHING.values(), ids=FETCHING)
def test_a_model_that_is_not_to_be_had_is_named_with_what_to_do(tmp_path, monkeypatch, error, sentence):
    def download(*_, local_dir, **__):
        (local_dir / "model-00001-of-00002.safetensors").write_bytes(b"half")
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model = ModelConfig("big", Source.checkpoint, str(tmp_path / "models/big"), "org/big", "0123abc")
    with pytest.raises(ModelError) as caught:
        prepare(model, tmp_path / "models/big.json")
    assert str(caught.value).startswith(f"model big (org/big at 0123abc) {sentence}")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_full_disk_is_not_told_as_a_lack_of_network(tmp_path, monkeypatch):
    def download(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model = ModelConfig("big", Source.checkpoint, str(tmp_path / "models/big"), "org/big", "0123abc")
    with pytest.raises(OSError, match="No space left on device"):  # prepare_model.py makes a sentence of it
        prepare(model, tmp_path / "models/big.json")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_fetched_model_is_its_pinned_revision_and_holds_no_code(tmp_path, monkeypatch):
    asked = {}

    def download(hub_id, *, revision, local_dir, allow_patterns):
        asked.update(hub_id=hub_id, revision=revision, patterns=allow_patterns)
        (local_dir / "config.json").write_text("{}")
        save_file({"a": torch.zeros(3)}, local_dir / "model.safetensors")
        (local_dir / ".cache").mkdir()

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model = ModelConfig("big", Source.checkpoint, str(tmp_path / "models/big"), "org/big", "0123abc")
    record = prepare(model, tmp_path / "models/big.json")
    assert (asked["hub_id"], asked["revision"], record["revision"]) == ("org/big", "0123abc", "0123abc")
    assert not {"*.bin", "*.pt", "*.py", "*"} & set(asked["patterns"])
    assert sorted(path.name for path in (tmp_path / "models/big").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
