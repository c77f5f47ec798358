"""Measure one cell in a fresh process and write its Parquet file.

    python scripts/benchmark.py model=smollm2-135m precision=nf4 attention=sdpa execution=loop \\
        batch_size=4 output=x.parquet

Every key of config/hydra/benchmark.yaml can be set. A cell that cannot run, fails, runs out of memory
or time is a result: its file says so, and this script succeeds. It fails when it cannot do its own work.
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from inferbench.run.compose import register
from inferbench.run.job import main_of

register()


@hydra.main(version_base="1.3", config_path="../config/hydra", config_name="benchmark")
def main(config: DictConfig) -> None:
    main_of(config, primary="benchmark")


if __name__ == "__main__":
    main()
