"""Hashes change with what they stand for, and with nothing else."""

import json
import os
import shutil

import pytest

from inferbench.plan import fingerprint
from inferbench.plan.fingerprint import (
    brought_files,
    cell_fingerprint,
    code_hash,
    manifest_name,
    measuring_code,
    named_code,
)

CELL = ["model=tiny", "precision=nf4", "attention=sdpa", "execution=loop", "workload=short", "device=cpu"]


def forget():
    """Hashes are remembered while a workflow is planned; here files change in between."""
    for function in vars(fingerprint).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


@pytest.fixture(autouse=True)
def forgotten():
    yield
    forget()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of its own: this one's configuration, and three small modules."""
    for folder in ("config", "envs"):
        shutil.copytree(fingerprint.REPOSITORY / folder, tmp_path / folder)
    package = tmp_path / "scripts" / "inferbench"
    (package / "run").mkdir(parents=True)
    (package / "experiments" / "grid").mkdir(parents=True)
    (package / "run" / "worker.py").write_text(
        '"""Measures."""\nimport os\nfrom inferbench import clock\n\n'
        'def measure():\n    """Seconds."""\n    from inferbench.lazy import load  # only now\n    return load()\n'
    )
    (package / "clock.py").write_text("RESOLUTION = 1\n")
    (package / "lazy.py").write_text("def load():\n    return 1\n")
    (package / "experiments" / "grid" / "measure.py").write_text("CELL = 1\n")
    (package / "other.py").write_text("UNUSED = 1\n")
    monkeypatch.setattr(fingerprint, "REPOSITORY", tmp_path)
    monkeypatch.setattr(fingerprint, "HYDRA_DIR", tmp_path / "config" / "hydra")
    monkeypatch.setattr(fingerprint, "SCRIPTS", tmp_path / "scripts")
    return tmp_path


def of(*overrides: str) -> str:
    """The fingerprint of CELL with these overrides, from the files as they are now."""
    forget()
    return cell_fingerprint([*CELL, *overrides])


def hash_now() -> str:
    forget()
    return code_hash("inferbench/run/worker.py", "inferbench/experiments/grid/measure.py")


def test_the_order_of_overrides_and_where_things_lie_do_not_count():
    same = {
        cell_fingerprint(CELL[::-1]),
        of(
            "output=elsewhere/x.parquet",
            "replicate=3",
            "campaign=c",
            "cell=d",
            "fingerprint=e",
            "models_dir=m",
        ),
    }
    assert same == {of()}


def test_every_axis_and_setting_counts():
    changes = (
        "model=smollm2-135m",
        "precision=fp4",
        "attention=eager",
        "execution=generate",
        "workload=tiny",
    )
    changes += (
        "batch_size=2",
        "device=cuda",
        "seed=1",
        "cpu_threads=4",
        "measure.max_seconds=3",
        "timeout_s=5",
    )
    assert len({of(), *map(of, changes)}) == 1 + len(changes)


def test_what_is_left_out_is_what_the_defaults_say():
    assert cell_fingerprint([]) == cell_fingerprint(
        ["model=smollm2-135m", "precision=bf16", "workload=short"]
    )


@pytest.mark.parametrize(
    "file, concerned",
    [
        ("config/hydra/precision/nf4.yaml", {"nf4"}),
        ("config/hydra/precision/base_4bit.yaml", {"nf4", "nf4-double", "fp4"}),
        ("config/hydra/workload/base.yaml", {"nf4", "nf4-double", "fp4", "bf16"}),
        ("config/prompts.yaml", {"nf4", "nf4-double", "fp4", "bf16"}),
        ("config/hydra/benchmark.yaml", {"nf4", "nf4-double", "fp4", "bf16"}),
        ("envs/benchmark-cpu.txt", {"nf4", "nf4-double", "fp4", "bf16"}),
        ("config/hydra/model/smollm2-135m.yaml", set()),
        ("config/hydra/prepare_model.yaml", set()),
        ("envs/benchmark-gpu.txt", set()),
        ("envs/figures.txt", set()),
    ],
)
def test_a_file_concerns_the_cells_that_compose_it(repository, file, concerned):
    precisions = ("nf4", "nf4-double", "fp4", "bf16")
    before = {name: of(f"precision={name}") for name in precisions}
    path = repository / file
    path.write_text("# A comment.\n" + path.read_text() + "\n# Another one.\n")
    assert {name: of(f"precision={name}") for name in precisions} == before
    path.write_text(path.read_text() + ("- added\n" if file == "config/prompts.yaml" else "added: 1\n"))
    assert {name for name in precisions if of(f"precision={name}") != before[name]} == concerned


def test_a_gpu_cell_depends_on_its_own_lock(repository):
    before = of("device=cuda")
    lock = repository / "envs" / "benchmark-gpu.txt"
    lock.write_text(lock.read_text() + "added==1\n")
    assert of("device=cuda") != before


@pytest.mark.parametrize(
    "file, old, new, changes",
    [
        ("run/worker.py", '"""Seconds."""', '"""Wall seconds,\n    of all."""', False),
        ("run/worker.py", "# only now", "# later", False),
        ("run/worker.py", "return load()", "return (\n        load()\n    )", False),
        ("run/worker.py", "return load()", "return 2 * load()", True),
        ("run/worker.py", "import os\n", "import os, sys\n", True),
        ("clock.py", "RESOLUTION = 1", "RESOLUTION = 2", True),
        ("clock.py", "1", "1.0", True),
        ("lazy.py", "return 1", "return 3", True),
        ("other.py", "UNUSED = 1", "UNUSED = 2", False),
    ],
)
def test_code_counts_and_what_is_written_about_it_does_not(repository, file, old, new, changes):
    before = hash_now()
    path = repository / "scripts" / "inferbench" / file
    path.write_text(path.read_text().replace(old, new))
    assert (hash_now() != before) == changes


def test_a_text_that_is_no_docstring_counts(repository):
    lazy = repository / "scripts" / "inferbench" / "lazy.py"
    lazy.write_text('def load():\n    name = "a"\n    return name\n')
    before = hash_now()
    lazy.write_text('def load():\n    name = "b"\n    return name\n')
    assert hash_now() != before


def test_modules_that_import_each_other_are_hashed_once(repository):
    (repository / "scripts" / "inferbench" / "clock.py").write_text("from inferbench import worker\n")
    assert len(hash_now()) == 16


@pytest.mark.parametrize(
    "line, changes",
    {
        "import inferbench.found": True,
        "import inferbench.found as known": True,
        "from .. import found": True,
        "from ..found import FOUND": True,
        "def late():\n    import inferbench.found": True,
        "from inferbench.deep import below": True,  # whose parent imports it
        "if TYPE_CHECKING:\n    from inferbench import found": False,
        "if typing.TYPE_CHECKING:\n    pass\nelse:\n    from inferbench import found": True,
    }.items(),
)
def test_every_form_of_import_is_followed(repository, line, changes):
    package = repository / "scripts" / "inferbench"
    (package / "deep").mkdir()
    (package / "deep" / "__init__.py").write_text("from inferbench import found\n")
    (package / "deep" / "below.py").write_text("BELOW = 1\n")
    (package / "found.py").write_text("FOUND = 1\n")
    with (package / "run" / "worker.py").open("a") as file:
        file.write(f"\n{line}\n")
    before = hash_now()
    (package / "found.py").write_text("FOUND = 2\n")
    assert (hash_now() != before) is changes


QUALITY = ["experiment=quality", "model=tiny", "precision@experiment.reference=fp32", "device=cpu"]
SAMPLING = ["experiment=sampling", "model=tiny", "sampling@experiment.strategy=top-k", "device=cpu"]


def test_a_fingerprint_does_not_depend_on_what_was_hashed_before():
    forget()
    alone = cell_fingerprint(QUALITY, "run_experiment")
    forget()
    cell_fingerprint(SAMPLING, "run_experiment")
    assert cell_fingerprint(QUALITY, "run_experiment") == alone


def test_a_text_that_a_setting_names_counts(repository):
    def hashed(*overrides):
        forget()
        return cell_fingerprint([*QUALITY, *overrides], "run_experiment")

    other = repository / "config" / "other.txt"
    other.write_text("one")
    before, default = hashed("experiment.text=config/other.txt"), hashed()
    other.write_text("two")
    assert hashed("experiment.text=config/other.txt") != before
    assert hashed() == default
    (repository / "config" / "quality.txt").write_text("another text")
    assert hashed() != default


LOOP, GENERATE, NF4 = ("loop", ("plain",)), ("generate", ("plain",)), ("loop", ("bitsandbytes",))


@pytest.mark.parametrize(
    ("added_to", "changed"),
    [
        ("experiments/kv_cache/settings", {("kv_cache", *LOOP)}),
        ("experiments/kv_cache/measure", {("kv_cache", *LOOP)}),
        ("experiments/kv_cache/section", set()),
        ("engines/generate", {("grid", *GENERATE)}),
        ("precision/bitsandbytes", {("grid", *NF4)}),
        ("run/worker", {("grid", *LOOP), ("grid", *GENERATE), ("grid", *NF4), ("kv_cache", *LOOP)}),
    ],
)
def test_code_is_that_of_an_experiment_an_engine_and_a_library(tmp_path, monkeypatch, added_to, changed):
    jobs = [("grid", *LOOP), ("grid", *GENERATE), ("grid", *NF4), ("kv_cache", *LOOP)]
    before = [code_hash(*measuring_code(*job)) for job in jobs]
    assert len(set(before)) == len(jobs)
    scripts = tmp_path / "scripts"
    shutil.copytree(fingerprint.SCRIPTS, scripts)
    with (scripts / f"inferbench/{added_to}.py").open("a") as file:
        file.write("\nADDED = 1\n")
    monkeypatch.setattr(fingerprint, "SCRIPTS", scripts)
    forget()
    after = [code_hash(*measuring_code(*job)) for job in jobs]
    assert [job for job, old, new in zip(jobs, before, after) if old != new] == [
        job for job in jobs if job in changed
    ]


def test_a_jobs_config_names_the_libraries_of_every_precision_in_it():
    fp32, nf4 = {"library": "plain"}, {"library": "bitsandbytes"}
    config = {"model": {}, "precision": fp32, "execution": {"module": "captured"}}
    assert named_code(config) == ("captured", ("plain",))
    for experiment in ({"draft": {"precision": nf4}}, {"reference": nf4}):
        assert named_code({**config, "experiment": experiment}) == ("captured", ("bitsandbytes", "plain"))
    assert named_code({**config, "experiment": {"draft": {"precision": None}}}) == ("captured", ("plain",))


# --- checkpoints that a user brings


def brought(repository, path="weights", where="weights", **pinned):
    """The folder of the checkpoint `own`, whose Hydra file names `path`."""
    described = {"name": "own", "source": "checkpoint", "path": path, **pinned}
    (repository / "config/hydra/model/own.yaml").write_text(json.dumps(described))
    folder = repository / where
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "notes.md"):
        (folder / name).write_text("{}")
        os.utime(folder / name, (1000, 1000))
    return folder


def test_replaced_files_of_a_checkpoint_that_a_user_brings_make_another_model(repository):
    folder = brought(repository)
    others, before, named = of(), of("model=own"), manifest_name("own", "models")

    def now():
        return of("model=own"), manifest_name("own", "models")

    os.utime(folder / "model.safetensors", (1000, 2000))
    replaced = now()
    assert replaced[0] != before and replaced[1] != named
    os.utime(folder / "model.safetensors", (1000, 1000))
    assert now() == (before, named)
    (folder / "model.safetensors").write_text("{ }")
    os.utime(folder / "model.safetensors", (1000, 1000))
    assert now()[0] not in (before, replaced[0])
    (folder / "model.safetensors").write_text("{}")
    os.utime(folder / "model.safetensors", (1000, 1000))
    (folder / "tokenizer.json").write_text("{}")
    assert now()[0] != before
    (folder / "tokenizer.json").unlink()
    (folder / "notes.md").write_text("of no concern")
    assert now() == (before, named)
    assert of() == others


def test_a_draft_that_a_user_brings_counts_too(repository):
    folder = brought(repository)
    draft = repository / "config/hydra/draft/own-draft.yaml"
    draft.write_text("defaults: [{/model@model: own}]\nname: own-draft\n")

    def now():
        forget()
        return cell_fingerprint(
            ["experiment=speculative", "draft@experiment.draft=own-draft"], "run_experiment"
        )

    before = now()
    os.utime(folder / "model.safetensors", (1000, 2000))
    assert now() != before


def test_what_a_revision_pins_is_not_looked_at(repository):
    folder = brought(repository, hub_id="organisation/own", revision="0123")
    before = of("model=own")
    os.utime(folder / "model.safetensors", (1000, 2000))
    assert of("model=own") == before


def test_a_folder_below_the_models_folder_is_found_where_that_is(repository):
    folder = brought(repository, "${models_dir}/own", "my models/own")

    def now(models_dir):
        forget()
        return cell_fingerprint([*CELL, "model=own"], models_dir=models_dir)

    here, elsewhere = now("my models"), now("models")
    os.utime(folder / "model.safetensors", (1000, 2000))
    assert now("my models") != here
    assert now("models") == elsewhere


def test_a_checkpoint_whose_folder_is_gone_is_the_one_that_its_manifest_was_of(repository):
    folder = brought(repository)
    before, name = of("model=own"), manifest_name("own", "models")
    (repository / "models").mkdir()
    (repository / "models" / name).write_text(json.dumps({"brought_files": brought_files(folder)}))
    (folder / "model.safetensors").unlink()
    assert (of("model=own"), manifest_name("own", "models")) == (before, name)
    shutil.rmtree(folder)
    assert (of("model=own"), manifest_name("own", "models")) == (before, name)
    (repository / "models" / name).unlink()
    assert of("model=own") != before
