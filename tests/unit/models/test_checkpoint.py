"""A checkpoint that cannot be loaded is refused before a job, in one sentence that names the file."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from inferbench.models import checkpoint
from inferbench.models.checkpoint import ModelError, require_checkpoint
from inferbench.settings.job import ModelConfig, Source
from tiny_models import tiny_llama

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 3000000000\n"
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


@pytest.fixture
def local(tmp_path):
    """A local checkpoint's folder, with a config and nothing else, and its model."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder, ModelConfig(name="own", source=Source.checkpoint, path=str(folder))


@pytest.fixture
def sharded(tmp_path):
    """The folder of a checkpoint in two shards, and its model."""
    tiny_llama().save_pretrained(tmp_path, max_shard_size="1MB")
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == SHARDS
    return tmp_path, ModelConfig(name="own", source=Source.checkpoint, path=str(tmp_path))


def refusal(model):
    with pytest.raises(ModelError) as caught:
        require_checkpoint(model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_whole_shards_are_the_weights(sharded):
    folder, model = sharded
    save_file({"other": torch.zeros(1)}, folder / "consolidated.safetensors")  # as beside many a Mistral
    assert [path.name for path in require_checkpoint(model)] == SHARDS


def test_an_absent_shard(sharded):
    folder, model = sharded
    (folder / SHARDS[1]).unlink()
    assert refusal(model) == (
        f"model own: {folder}/{SHARDS[1]} is not there, and model.safetensors.index.json names it; complete the download."
    )


def test_a_truncated_shard(sharded):
    folder, model = sharded
    whole = (folder / SHARDS[0]).read_bytes()
    for left in (0, 5, 100, len(whole) - 1):
        (folder / SHARDS[0]).write_bytes(whole[:left])
        assert refusal(model).startswith(f"model own: {folder}/{SHARDS[0]} is not whole (")
    (folder / SHARDS[0]).write_bytes(whole)
    assert require_checkpoint(model)


def test_a_shard_of_another_checkpoint(sharded):
    folder, model = sharded
    save_file({"lm_head.weight": torch.zeros(2, 2)}, folder / SHARDS[0])
    assert refusal(model).startswith(f"model own: {folder}/{SHARDS[0]} does not hold ")


@pytest.mark.parametrize("name", [SHARDS[1], "model.safetensors.index.json", "config.json", "tokenizer.json"])
def test_a_git_lfs_pointer(sharded, name):
    folder, model = sharded
    (folder / name).write_text(POINTER)
    assert refusal(model) == (
        f"model own: {folder}/{name} is a Git LFS pointer and not the file: run git lfs pull there, or fetch it anew."
    )


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "config.json"])
@pytest.mark.parametrize("text", ['{"weight_map": {"a": "model-', "[]", "{}"])
def test_a_json_file_that_is_not_what_it_should_be(sharded, name, text):
    folder, model = sharded
    (folder / name).write_text(text)
    if (name, text) == ("config.json", "{}"):
        return  # what it lacks is for transformers to say
    assert refusal(model).startswith(f"model own: {folder}/{name} ")


@pytest.mark.parametrize("with_config", [True, False])
@pytest.mark.parametrize(
    "names", [["adapter_config.json", "adapter_model.safetensors"], ["adapter_model.safetensors"]]
)
def test_an_adapter_without_its_base(local, names, with_config):
    folder, model = local
    for name in names:
        (folder / name).write_text("{}")
    if not with_config:
        (folder / "config.json").unlink()
    assert f"{folder} holds an adapter ({names[0]}) and not the model that it changes: merge it" in refusal(
        model
    )


@pytest.mark.parametrize("with_config", [True, False])
def test_weights_in_the_form_of_mistrals_own_code(local, with_config):
    folder, model = local
    save_file({"layers.0.attention.wq.weight": torch.zeros(2, 2)}, folder / "consolidated.safetensors")
    (folder / "params.json").write_text("{}")
    if not with_config:
        (folder / "config.json").unlink()
    assert f"{folder} holds its weights only as consolidated.safetensors, the form of Mistral's" in refusal(
        model
    )


def test_shards_without_an_index(sharded):
    folder, model = sharded
    (folder / "model.safetensors.index.json").unlink()
    assert f"{folder} holds {SHARDS[0]} and no model.safetensors.index.json" in refusal(model)


def test_a_folder_without_weights(local):
    folder, model = local
    assert refusal(model) == f"model own: {folder} holds no weights (*.safetensors); complete the download."


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth"])
def test_pickles_are_refused_and_never_mind_beside_safetensors(local, name):
    folder, model = local
    (folder / name).touch()
    assert f"only as pickles ({name}), which can run code; convert them" in refusal(model)
    save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    assert [path.name for path in require_checkpoint(model)] == ["model.safetensors"]


def test_no_folder_says_how_to_make_it_where_it_can_be_made(local):
    folder, model = local
    (folder / "config.json").unlink()
    where = f"model own: there is no checkpoint in {folder}; "
    assert refusal(model) == (
        f"{where}put one there (config.json and *.safetensors), or name a hub_id in its Hydra file."
    )
    fetched = replace(model, hub_id="own/own")
    assert refusal(fetched) == f"{where}make it with: python scripts/prepare_model.py model=own"


def test_a_file_that_cannot_be_read_is_named(sharded, monkeypatch):
    folder, model = sharded

    def gone(file, framework):
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(checkpoint, "safe_open", gone)
    assert refusal(model) == f"model own: {folder}/{SHARDS[0]}: Permission denied"


def test_headers_alone_are_read(sharded, tmp_path):
    """What a file says of itself must cover it; its gigabytes are not looked at."""
    folder, model = sharded
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**28], "data_offsets": [0, 2**30]}}).encode()
    index = {"weight_map": {"a": SHARDS[0]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with (folder / SHARDS[0]).open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 2**30)  # a hole that takes no room
    assert [path.name for path in require_checkpoint(model)] == [SHARDS[0]]
    assert (folder / SHARDS[0]).stat().st_blocks < 100
