"""Many cells through a real Slurm on this host: seconds per cell, and memory of the submitting process.

    python benchmarks/slurm_cells.py 200

Starts the Slurm of tests/slurm (needs root and its packages), runs a campaign of cells that are unsupported
on a processor, which is soon found, through `snakemake --profile slurm`, and stops it again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / name) for name in ("scripts", "tests/workflow", "tests/slurm")]

import psutil

from checkouts import clone_into
from cluster import Cluster, installed
from faulty import ClusterCheckout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cells", type=int)
    cells = parser.parse_args().cells
    if not installed():
        sys.exit("this needs root and the packages slurm-wlm, slurm-client and munge")
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "slurm").mkdir()
        cluster = Cluster(Path(scratch) / "slurm", "any")
        try:
            cluster.start()
            run(ClusterCheckout(clone_into(Path(scratch) / "checkout")), cells)
        finally:
            cluster.stop()


def run(checkout: ClusterCheckout, cells: int) -> None:
    checkout.set_up()
    checkout.campaign(
        axes={
            "precision": ["fp32"],
            "attention": ["flash_attention_2"],
            "batch_size": list(range(1, cells + 1)),
        },
    )
    checkout.run(sys.executable, "scripts/prepare_model.py", "model=tiny")
    started = time.perf_counter()
    submitting = checkout.submit("cells")
    process, peak = psutil.Process(submitting.process.pid), 0
    while submitting.process.poll() is None:
        peak = max(peak, process.memory_info().rss)
        time.sleep(1)
    seconds = time.perf_counter() - started
    done = len(checkout.cell_files())
    if submitting.process.returncode or done != cells:
        sys.exit(submitting.output[-3000:])
    print(f"{done} cells in {seconds:.0f} s, {seconds / done:.2f} s per cell; snakemake: {peak / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
