"""Bad input is one clear sentence and a non-zero exit, and nothing half-written stays behind."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml

from checkouts import cell_file

CELL = "tiny--bf16--sdpa--loop--tiny--b1/1"
CAMPAIGNS = {
    "unknown key": ({"replicas": 3}, "unknown key replicas; the keys here are accept_code, also, axes, "),
    "wrong type": ({"replicates": "three"}, 'replicates: "three" does not fit'),
    "empty axis": ({"axes": {"precision": []}}, "axes.precision: the list is empty"),
    "everything excluded": ({"exclude": [{"model": "tiny"}]}, "campaign tiny: exclude leaves no cell"),
    "batch 0": ({"axes": {"batch_size": [1, 0]}}, "axes.batch_size.1: 0 does not fit"),
    "unknown name": (
        {"axes": {"precision": ["bf16", "fp8"]}},
        "precision fp8 has no file config/hydra/precision/fp8.yaml; there are bf16, fp16, fp32, fp4, int8,",
    ),
    "drawn without being published": (
        {"source": "published"},
        "source: published draws from results/published/tiny/, which holds no published campaign",
    ),
}


@pytest.mark.parametrize("changes, sentence", CAMPAIGNS.values(), ids=CAMPAIGNS)
def test_a_campaign_that_cannot_be(fresh, changes, sentence):
    before = files(fresh)
    fresh.campaign(**changes)
    done = fresh.snakemake()
    assert done.code != 0
    assert sentence in done.output
    assert "Traceback" not in done.output
    # Beside the word of its profile, Snakemake says where; the rest is the sentence.
    lines = [
        line for line in done.output.strip().splitlines() if "Using workflow specific profile" not in line
    ]
    assert len(lines) <= 3, done.output
    assert files(fresh) == before


def test_an_unknown_key_of_a_hydra_file_is_told_where_the_run_ends(fresh):
    text = fresh.path("config/hydra/workload/tiny.yaml").read_text()
    fresh.path("config/hydra/workload/slip.yaml").write_text(
        text.replace("name: tiny", "name: slip").replace("new_tokens:", "new_token:")
    )
    fresh.campaign(axes={"workload": ["slip"]})
    done = fresh.snakemake("cells")
    assert done.code != 0
    end = done.output.partition("A job failed; its log is ")[2]
    assert "config/hydra/workload/slip.yaml: Key 'new_token' not in 'WorkloadConfig'" in end


SHORT = "{model_type: gpt2, n_positions: 16, n_layer: 1, n_embd: 16, n_head: 2, vocab_size: 64}"
TOO_LONG = "the model has 16 positions, and 18 are asked for (prompt and new tokens); leave the one or the other out."


@pytest.mark.parametrize("where", ["the Hydra file", "the checkpoint"])
def test_a_workload_with_more_tokens_than_the_model_has_positions(fresh, where):
    hydra_file = fresh.path("config/hydra/model/short.yaml")
    if where == "the Hydra file":
        hydra_file.write_text(f"name: short\nsource: synthetic\npath: models/short\narchitecture: {SHORT}\n")
    else:
        hydra_file.write_text("name: short\nsource: checkpoint\npath: ${models_dir}/short\n")
        fresh.path("models/short").mkdir(parents=True)
        fresh.path("models/short/config.json").write_text(json.dumps(yaml.safe_load(SHORT)))
    fresh.campaign(axes={"model": ["tiny", "short"]})
    before = files(fresh)
    done = fresh.snakemake()
    assert done.code != 0 and "Traceback" not in done.output
    assert f"model short, workload tiny: {TOO_LONG}" in done.output.splitlines()
    assert files(fresh) == before


def files(checkout):
    """Names of all files but Snakemake's own."""
    names = {str(path.relative_to(checkout.folder)) for path in checkout.folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith(".snakemake/") and "__pycache__" not in name}


@pytest.fixture
def local_model(fresh):
    """A checkout whose campaign measures the local checkpoint `own`: a config and no weights so far."""
    fresh.path("config/hydra/model/own.yaml").write_text("name: own\nsource: checkpoint\npath: weights\n")
    fresh.campaign(axes={"model": ["own"]})
    fresh.path("weights").mkdir()
    fresh.path("weights/config.json").write_text(json.dumps({"model_type": "llama"}))
    return fresh


def refused_model(checkout, sentence):
    before = files(checkout)
    done = checkout.snakemake()
    assert done.code != 0
    # ... in the last lines, after all that Snakemake says
    assert sentence in done.output.partition("A job failed; its log is ")[2]
    assert "Traceback" not in done.output
    left = {name for name in files(checkout) - before if not name.endswith(".log")}
    assert left <= {"results/tiny/experiments.json"}  # a copy of what the campaign declares


def test_a_model_folder_without_weights(local_model):
    folder = local_model.path("weights")
    refused_model(local_model, f"model own: {folder} holds no weights (*.safetensors)")


def test_a_model_folder_that_is_not_there(local_model):
    shutil.rmtree(local_model.path("weights"))
    refused_model(local_model, f"model own: there is no checkpoint in {local_model.path('weights')}")


def test_a_checkpoint_of_pickles(local_model):
    local_model.path("weights/pytorch_model.bin").write_bytes(b"\x80\x02.")
    refused_model(local_model, "holds its weights only as pickles (pytorch_model.bin), which can run code")


def test_a_model_to_fetch_without_network(fresh):
    fresh.campaign(axes={"model": ["qwen2.5-7b-instruct-1m"]})
    # As on a machine without network, but at once.
    fresh.environment["HF_HUB_OFFLINE"] = "1"
    refused_model(fresh, "model qwen2.5-7b-instruct-1m (Qwen/Qwen2.5-7B-Instruct-1M at e28526f7bb80")


BY_HAND = {
    "unknown key": ("batch=4", "batch"),
    "wrong type": ("batch_size=many", "batch_size"),
    "batch 0": ("batch_size=0", "batch_size is 0: give a number of at least 1."),
    "fewer at most than at least": (
        "measure.max_iterations=1",
        "measure.max_iterations is 1: give at least measure.min_iterations, 3.",
    ),
    "one new token": ("workload.new_tokens=1", "workload.new_tokens is 1: give a number of at least 2."),
    "unknown name": ("precision=fp8", "fp8"),
}


@pytest.mark.parametrize("override, sentence", BY_HAND.values(), ids=BY_HAND)
def test_a_cell_by_hand_that_cannot_be(clone, tmp_path, override, sentence):
    command = [sys.executable, clone.path("scripts/benchmark.py"), "model=tiny", "output=x.parquet", override]
    done = clone.run(*map(str, command), cwd=tmp_path)
    assert done.code != 0
    assert sentence in done.output
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="session")
def small_disk():
    """A shell prefix under which `mount` gives a folder a disk of its own, for that shell alone."""
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    trial = subprocess.run(
        [*unshare, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True
    )
    if trial.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {trial.stderr.strip()}")
    return shlex.join([*unshare, "bash", "-c"])


def on_full_disk(checkout, small_disk, folder, command, room=0):
    """Run a command while `folder` is on a disk that is full but for so many bytes; what it left there is listed at the
    end."""
    checkout.path(folder).mkdir(parents=True, exist_ok=True)
    script = (
        f"mount -t tmpfs -o size={16384 + room} tmpfs {folder} && head -c 16384 /dev/zero > {folder}/filler;"
        f" {command}; code=$?; echo left: $(ls -A {folder}); exit $code"
    )
    return checkout.run("bash", "-c", f"{small_disk} {shlex.quote(script)}")


def test_a_full_disk_under_a_cell_file(finished, small_disk):
    folder = f"{cell_file(CELL).rsplit('/', 1)[0]}"
    done = on_full_disk(finished, small_disk, folder, f"python -m snakemake --cores 2 {cell_file(CELL)}")
    assert done.code != 0
    assert f"cannot write {cell_file(CELL)}: No space left on device" in done.output
    assert "Traceback" not in done.output
    assert done.output.rstrip().endswith("left: filler")


def test_a_full_disk_under_the_tables(finished, small_disk):
    command = "python scripts/aggregate.py grid --files results/tiny/cells --output full --campaign"
    campaign = json.loads(finished.path("results/tiny/provenance.json").read_text())["campaign"]
    done = on_full_disk(finished, small_disk, "full", f"{command} {shlex.quote(json.dumps(campaign))}")
    assert done.code != 0
    assert "cannot write full/iterations.parquet: No space left on device" in done.output
    assert "Traceback" not in done.output
    assert done.output.rstrip().endswith("left: filler")


@pytest.mark.parametrize("room", [0, 65536])  # for the config and not for the weights
def test_a_full_disk_under_the_models(fresh, small_disk, room):
    command = "python scripts/prepare_model.py model=tiny"
    done = on_full_disk(fresh, small_disk, "models", command, room)
    assert done.code != 0
    assert "model tiny cannot be written to" in done.output and "No space left on device" in done.output
    assert "Traceback" not in done.output
    assert done.output.rstrip().endswith("left: filler")
