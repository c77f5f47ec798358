"""This workflow as a module of another one: from a folder, under a prefix, and from a git host."""

import subprocess

import pytest
import yaml

from checkouts import Checkout

CAMPAIGN = {
    "campaign": "mine",
    "axes": {
        "model": ["tiny"],
        "precision": ["bf16"],
        "attention": ["sdpa"],
        "execution": ["loop"],
        "workload": ["tiny"],
        "batch_size": [1],
    },
    "replicates": 1,
    "device": "cpu",
    "measure": {"max_iterations": 3, "min_seconds": 0},
}
EXPERIMENTS = {"kv_cache": {"cache": ["dynamic"], "settings": {"lengths": [8, 16], "steps": 2}}}
USER = """
configfile: "config.yaml"

module inferbench:
    snakefile: {snakefile}
    config: config["inferbench"]
    prefix: {prefix}

use rule * from inferbench as inferbench_*

rule copy_table:
    default_target: True
    input: "{folder}results/mine/measurements.parquet"
    output: "copied.parquet"
    shell: "cp {{input}} {{output}}"
"""
CELL = "tiny--bf16--sdpa--loop--tiny--b1"


@pytest.fixture
def user(tmp_path) -> Checkout:
    """The folder of another workflow, with the config of a small campaign."""
    (tmp_path / "user").mkdir()
    (tmp_path / "user/config.yaml").write_text(yaml.safe_dump({"inferbench": CAMPAIGN}))
    return Checkout(tmp_path / "user")


def write_snakefile(user, snakefile, prefix=""):
    text = USER.format(snakefile=snakefile, prefix=repr(prefix or None), folder=prefix and f"{prefix}/")
    user.path("Snakefile").write_text(text)


def content(folder):
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_a_module_from_a_folder_keeps_everything_under_its_prefix(user, clone):
    user.path("config.yaml").write_text(
        yaml.safe_dump({"inferbench": {**CAMPAIGN, "experiments": EXPERIMENTS}})
    )
    write_snakefile(user, repr(str(clone.path("workflow/Snakefile"))), prefix="benchmarks")
    before = content(clone.folder)
    done = user.snakemake("--cores", "2", "copied.parquet", "inferbench_all")
    assert done.code == 0, done.output
    assert user.table("copied.parquet")["status"].tolist() == ["ok"]
    made = {path.name for path in user.folder.iterdir()}
    assert made == {"Snakefile", "config.yaml", ".snakemake", "benchmarks", "copied.parquet"}
    assert {path.name for path in user.path("benchmarks").iterdir()} == {"models", "results"}
    assert content(clone.folder) == before
    assert 'id="kv_cache"' in user.path("benchmarks/results/mine/report.html").read_text()
    assert user.planned("copied.parquet", "inferbench_all") == set()
    # A table on what is there counts the cell that is not.
    user.path(f"benchmarks/results/mine/cells/{CELL}/replicate-1.parquet").unlink()
    done = user.snakemake("--cores", "2", "benchmarks/results/mine/partial/summary.parquet")
    assert done.code == 0, done.output
    table = user.table("benchmarks/results/mine/partial/summary.parquet")
    assert table["status"].tolist() == ["missing"]
    assert f"{CELL}/1" in user.planned("inferbench_all")


def test_a_module_from_a_git_host_measures_with_the_commit_of_its_tag(user, clone, tmp_path):
    """As the workflow catalog's `snakedeploy deploy-workflow` writes it."""
    hosted = clone.copy(tmp_path / "hosted/example/inferbench")
    git = ("git", "-c", "user.name=Example", "-c", "user.email=example@example.org", "-C", str(hosted.folder))
    subprocess.run([*git, "init", "--quiet"], check=True)

    def release(tag):
        subprocess.run([*git, "add", "--all"], check=True)
        subprocess.run([*git, "commit", "--quiet", "--message", tag], check=True)
        subprocess.run([*git, "tag", tag], check=True)
        said = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
        write_snakefile(user, f'github("example/inferbench", path="workflow/Snakefile", tag="{tag}")')
        return said.stdout.strip()

    rewrite = f'[url "{tmp_path}/hosted/"]\n\tinsteadOf = https://github.com/\n'
    (tmp_path / "gitconfig").write_text(rewrite)
    user.environment["GIT_CONFIG_GLOBAL"] = str(tmp_path / "gitconfig")

    commit = release("v1.0.0")
    done = user.snakemake("--cores", "2")
    assert done.code == 0, done.output
    rows = user.table("copied.parquet")
    assert rows["status"].tolist() == ["ok"]
    assert commit.startswith(rows["git_commit"][0])
    # A release measures again what its changes concern.
    hosted.append("scripts/inferbench/experiments/grid/figures/grid.py", "\nADDED = 1\n")
    release("v1.0.1")
    assert user.planned() == set()
    hosted.append("config/hydra/precision/bf16.yaml", "\ndtype: float16\n")
    release("v1.1.0")
    assert user.planned() == {f"{CELL}/1", "inferbench_aggregate_cells", "copy_table"}
