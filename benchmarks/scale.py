"""How planning, aggregation, figures and report grow with the number of cells.

    python benchmarks/scale.py plan 100 1000 10000       # snakemake -n, beside a bare workflow
    python benchmarks/scale.py report 1000 3000 10000    # cell files -> tables -> figures -> report

Everything happens in a temporary copy of the repository. Each step is a process of its own, of which the
wall time and the peak resident memory are printed. Cell files go through the project's own writer; their
numbers are those of one cell that is really measured first, spread by seed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "scripts"), str(REPOSITORY / "tests" / "workflow")]

from checkouts import clone_into
from inferbench.plan.cells import expand, meaning_overrides
from inferbench.plan.figures import grid_drawings
from inferbench.tables.cell_file import read_cell, write_cell

BARE = """
NAMES = [str(number) for number in range({jobs})]
rule all:
    input: expand("bare/{{name}}.txt", name=NAMES)
rule job:
    output: "bare/{{name}}.txt"
    log: "logs/{{name}}.log"
    shell: "touch {{output}} &> {{log}}"
"""
MEASURE = {"max_seconds": 1, "min_seconds": 0, "max_iterations": 10, "min_iterations": 10}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["plan", "report"])
    parser.add_argument("cells", nargs="+", type=int, help="multiples of 100")
    options = parser.parse_args()
    for cells in options.cells:
        with tempfile.TemporaryDirectory() as scratch:
            checkout = clone_into(Path(scratch) / "checkout")
            {"plan": plan, "report": report}[options.what](checkout, cells)


def declare(checkout: Path, cells: int) -> dict:
    """The campaign file of a grid with so many cells: 100 by precision, attention and batch size, 1 000 by
    workload and execution, the rest by model."""
    models = [f"model{place}" for place in range(max(1, cells // 1000))]
    tiny = (checkout / "config/hydra/model/tiny.yaml").read_text()
    for model in models:
        text = tiny.replace("name: tiny", f"name: {model}").replace("/tiny", f"/{model}")
        (checkout / f"config/hydra/model/{model}.yaml").write_text(text)
    wide = cells >= 1000
    campaign = {
        "campaign": "scale",
        "axes": {
            "model": models,
            "precision": ["fp32", "bf16", "fp16", "int8", "nf4"],
            "attention": ["eager", "sdpa", "flash_attention_2", "flex_attention"],
            "execution": ["loop", "generate"] if wide else ["loop"],
            "workload": ["tiny", "short", "p32n128", "p2048n128", "p8192n128"] if wide else ["tiny"],
            "batch_size": [1, 2, 4, 8, 16],
        },
        "replicates": 1,
        "device": "cpu",
        "measure": MEASURE,
    }
    (checkout / "config/config.yaml").write_text(yaml.safe_dump(campaign, sort_keys=False))
    return campaign


def plan(checkout: Path, cells: int) -> None:
    declare(checkout, cells)
    bare = checkout / "bare.smk"
    bare.write_text(BARE.format(jobs=cells))
    snakemake = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "--cores", "2"]
    ours = timed([*snakemake], checkout)
    theirs = timed([*snakemake, "--snakefile", str(bare)], checkout)
    show(f"plan of {cells} cells", ours)
    show(f"bare workflow of {cells} jobs", theirs)
    print(f"{'ratio':34} {ours[0] / theirs[0]:7.2f}   {ours[1] / theirs[1]:7.2f}", flush=True)


def report(checkout: Path, cells: int) -> None:
    sys.path[0] = str(checkout / "scripts")
    campaign = declare(checkout, cells) | {"baseline": {"precision": "bf16"}, "cpu_threads": 2, "seed": 0}
    campaign |= {"also": [], "exclude": [], "timeout_s": 1800, "price_per_gpu_hour": None, "experiments": {}}
    started = time.perf_counter()
    write_cells(checkout, campaign)
    print(f"{f'writing {cells} cell files':34} {time.perf_counter() - started:7.1f} s", flush=True)
    results = checkout / "results/scale"
    tables = [f"--{name}={results / name}.parquet" for name in ("measurements", "summary")]
    steps = {
        "aggregate grid": [
            f"--files={results / 'cells'}",
            f"--output={results}",
            "--campaign",
            json.dumps(campaign),
        ],
        **{
            f"draw_figure {name}": [*tables, f"--output={results / 'figures' / name}"]
            for name in (drawing.figure.name for drawing in grid_drawings())
        },
        "write_report": [
            *tables,
            f"--provenance={results / 'provenance.json'}",
            f"--figures={results / 'figures'}",
            f"--experiments={results / 'experiments.json'}",
            f"--output={results / 'report.html'}",
        ],
    }
    (results / "experiments.json").write_text("{}")
    for step, arguments in steps.items():
        script, *names = step.split()
        show(
            f"{step}, {cells} cells",
            timed([sys.executable, f"scripts/{script}.py", *names, *arguments], checkout),
        )
    size = (results / "report.html").stat().st_size
    print(f"{f'report.html of {cells} cells':34} {size / 1e6:7.1f} MB", flush=True)


def write_cells(checkout: Path, campaign: dict) -> None:
    """A file per cell, each with the numbers of one measured cell times a factor, and an eighth not ok."""
    cells = expand(campaign)
    subprocess.run([sys.executable, "scripts/prepare_model.py", "model=model0"], cwd=checkout, check=True)
    measure = [f"measure.{key}={value}" for key, value in MEASURE.items()]
    command = [
        "scripts/benchmark.py",
        "model=model0",
        "workload=tiny",
        "device=cpu",
        *measure,
        "output=one.parquet",
    ]
    # The locks of devices lie in TMPDIR: what else is measured on this machine shall not hold this up.
    alone = {**os.environ, "TMPDIR": str(checkout)}
    subprocess.run([sys.executable, *command], cwd=checkout, check=True, env=alone)
    provenance, record, table = read_cell(checkout / "one.parquet")
    iterations = table.select(["new_tokens", "ttft_ms", "itl_ms"]).to_pylist()
    chance = random.Random(0)
    fingerprints = fingerprints_of(checkout, campaign)
    for cell in cells:
        factor = chance.lognormvariate(0, 0.3) * cell.batch_size
        own = record | {
            "iterations": [
                {
                    "new_tokens": one["new_tokens"],
                    "ttft_ms": one["ttft_ms"] * factor,
                    "itl_ms": [gap * factor for gap in one["itl_ms"]],
                }
                for one in iterations
            ]
        }
        if chance.random() < 1 / 8:
            own = {"status": "unsupported", "reason": f"{cell.attention} does not run here", "stages_s": {}}
        config = provenance["config"] | {"batch_size": cell.batch_size}
        about = provenance | {"cell": cell.name, "config": config, "fingerprint": fingerprints[cell.name]}
        path = checkout / "results/scale/cells" / cell.name / "replicate-1.parquet"
        write_cell(path, about | {"slurm_job_id": str(chance.randrange(10**6))}, own)


def fingerprints_of(checkout: Path, campaign: dict) -> dict[str, str]:
    """By cell, as the copy's own files have them."""
    overrides = {cell.name: meaning_overrides(campaign, cell) for cell in expand(campaign)}
    code = (
        "import json, sys; sys.path.insert(0, 'scripts'); from inferbench.plan.fingerprint import cell_fingerprint as f;"
        " print(json.dumps({name: f(own) for name, own in json.load(sys.stdin).items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(overrides),
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def timed(command: list[str], folder: Path) -> tuple[float, float, float]:
    """(seconds, seconds of processors, peak resident MB) of a command that must succeed."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            said.seek(0)
            sys.exit(said.read().decode()[-3000:])
    return time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000


def show(what: str, measured: tuple[float, float, float]) -> None:
    seconds, processor, peak = measured
    print(f"{what:34} {seconds:7.1f} s {processor:7.1f} s of processors {peak:7.0f} MB", flush=True)


if __name__ == "__main__":
    main()
