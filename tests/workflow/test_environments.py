"""An environment of each lock alone, as `--sdm conda` makes them, has what the scripts that run in it import."""

import re
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
import yaml
from packaging.utils import canonicalize_name

from checkouts import REPOSITORY
from inferbench.plan.fingerprint import measuring_code

#: Of scripts/, what runs where models are; all others are of the environment `figures`.
MEASURING = {"benchmark", "run_experiment", "prepare_model", "check_node", "stream_text"}
EXPERIMENTS = sorted(path.stem for path in (REPOSITORY / "config/hydra/experiment").glob("*.yaml"))
ENGINES = ("generate", "loop", "captured")
#: Gigabytes: torch comes from the environment that runs the tests, and CUDA with it if it needs that.
CUDA = re.compile("torch|triton|cuda-.*|nvidia-(?!ml-py).*")
IMPORT_ALL = "import sys, importlib; [importlib.import_module(name) for name in sys.argv[1:]]"


@pytest.fixture
def python_of(made_once):
    """`python_of(role)`: the Python of an environment that has the packages of the role's lock and no others."""
    return lambda role: made_once(f"environment-{role}", lambda folder: fill(folder, role)) / "bin/python"


def fill(folder: Path, role: str) -> None:
    """Packages that the environment of the tests has in that version are links to it, others are installed."""
    venv.create(folder, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    *_, by_pip = yaml.safe_load((REPOSITORY / "envs" / f"{role}.yaml").read_text())["dependencies"]
    here = {canonicalize_name(found.name): found for found in distributions()}
    others = []
    for name, version in (pin.split("==") for pin in by_pip["pip"]):
        if name == "torch" or (name in here and here[name].version == version):
            link(here[name], packages)
        elif not CUDA.fullmatch(name):
            others.append(f"{name}=={version}")
    if others:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", packages]
        done = subprocess.run([*pip, *others], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def link(found: Distribution, packages: Path) -> None:
    for top in {file.parts[0] for file in found.files} - {"..", "__pycache__"}:
        if not (packages / top).exists():
            (packages / top).symlink_to(found.locate_file(top))


def test_tables_figures_and_report_need_no_more_than_their_lock(python_of, clone):
    names = {path.stem for path in (REPOSITORY / "scripts").glob("*.py")} - MEASURING
    done = clone.run(str(python_of("figures")), "-c", IMPORT_ALL, *sorted(names), cwd=clone.path("scripts"))
    assert done.code == 0, done.output


def test_a_workflow_is_planned_with_no_more_than_its_lock(python_of, fresh):
    done = fresh.run(str(python_of("workflow")), "-m", "snakemake", "--dry-run")
    assert done.code == 0 and "measure_cell" in done.output, done.output


@pytest.mark.parametrize("role", ["benchmark-cpu", "benchmark-gpu"])
def test_a_model_is_made_and_measured_with_no_more_than_its_lock(python_of, clone, tmp_path, role):
    python, models = str(python_of(role)), f"models_dir={tmp_path}"
    modules = [
        file.removesuffix(".py").replace("/", ".")
        for name in EXPERIMENTS
        for engine in ENGINES
        for file in measuring_code(name, engine, ["plain", "bitsandbytes"])
    ]
    done = clone.run(python, "-c", IMPORT_ALL, *sorted(MEASURING), *modules, cwd=clone.path("scripts"))
    assert done.code == 0, done.output
    done = clone.run(python, "scripts/prepare_model.py", "model=tiny", models)
    assert done.code == 0, done.output
    # nf4, so that bitsandbytes too has to be there.
    settings = ["model=tiny", "precision=nf4", "device=cpu", models, f"output={tmp_path / 'x.parquet'}"]
    done = clone.run(python, "scripts/benchmark.py", *settings, "workload=tiny", "measure.max_seconds=1")
    assert done.output.splitlines()[-1].startswith("ok: "), done.output
