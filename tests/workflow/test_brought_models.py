"""Checkpoints that a user brings, and folders of models under any name: measured by the real workflow."""

import shutil

import pytest

from checkouts import cell_file
from inferbench.tables.cell_file import read_cell
from tiny_models import tiny_llama

CELL = "own--bf16--sdpa--loop--tiny--b1/1"
ONE = {"precision": ["bf16"], "attention": ["sdpa"], "batch_size": [1]}


def bring(folder, **changes):
    """Weights in two shards, as a user puts them there."""
    model = tiny_llama()
    model.model.embed_tokens.weight.data += changes.get("added", 0)
    model.save_pretrained(folder, max_shard_size="1MB")
    return folder / "model-00002-of-00002.safetensors"


@pytest.fixture
def own(fresh):
    """A checkout whose campaign has one cell, of the checkpoint `own` that a user brought."""
    fresh.path("config/hydra/model/own.yaml").write_text("name: own\nsource: checkpoint\npath: weights\n")
    fresh.campaign(axes={"model": ["own"], **ONE}, measure={"max_seconds": 1, "max_iterations": 3})
    bring(fresh.path("weights"))
    return fresh


def test_a_replaced_checkpoint_is_measured_again_and_a_broken_one_is_a_failed_job(own):
    done = own.snakemake("cells")
    assert done.code == 0, done.output
    assert own.planned("cells") == set()
    first, record, _ = read_cell(own.path(cell_file(CELL)))
    assert record["status"] == "ok"

    # Deleted for its size: what was measured stays done.
    own.path("weights").rename(own.path("aside"))
    assert own.planned("cells") == set()

    # Others are put there, of which one is missing.
    shard = bring(own.path("weights"), added=0.5)
    assert own.planned("cells") == {CELL, "prepare_model", "cells"}
    shard.rename(own.path("late"))
    done = own.snakemake("cells")
    assert done.code != 0
    sentence = (
        f"model own: {shard} is not there, and model.safetensors.index.json names it; complete the download."
    )
    assert sentence in done.output.partition("A job failed; its log is ")[2].splitlines()
    assert "Traceback" not in done.output

    # The same command measures it after the repair.
    own.path("late").rename(shard)
    done = own.snakemake("cells")
    assert done.code == 0, done.output
    again, record, _ = read_cell(own.path(cell_file(CELL)))
    assert record["status"] == "ok" and again["fingerprint"] != first["fingerprint"]
    assert own.planned("cells") == set()
    # ... and its table takes it for what was asked for
    done = own.snakemake("results/tiny/measurements.parquet")
    assert done.code == 0, done.output
    assert own.table("results/tiny/measurements.parquet")["status"].tolist() == ["ok"]


def test_a_shard_that_goes_after_the_checkpoint_was_prepared(own):
    done = own.snakemake("--until", "prepare_model", "--", "cells")
    assert done.code == 0, done.output
    [manifest] = own.path("models").glob("own-*.json")
    before = cell_file(CELL)
    shard = own.path("weights/model-00002-of-00002.safetensors")
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    done = own.snakemake("cells")
    assert done.code != 0
    assert f"model own: {shard} is not whole (" in done.output.partition("A job failed; its log is ")[2]
    assert not own.path(before).exists()
    assert manifest.exists() is False  # another checkpoint than the one that was prepared


@pytest.mark.parametrize("folder", ["my models", 'it\'s "mine"'])
def test_a_folder_of_models_may_have_any_name(fresh, folder):
    fresh.campaign(axes=ONE, models_dir=folder, measure={"max_seconds": 1, "max_iterations": 3})
    done = fresh.snakemake("results/tiny/measurements.parquet")
    assert done.code == 0, done.output
    assert fresh.path(f"{folder}/tiny/model.safetensors").exists()
    assert not fresh.path("models").exists()
    assert fresh.table("results/tiny/measurements.parquet")["status"].tolist() == ["ok"]
    assert fresh.planned("cells") == set()
    shutil.rmtree(fresh.path(folder))
    assert fresh.planned("cells") == set()
