"""Run one cell of a decoding experiment in a fresh process and write its Parquet file.

    python scripts/run_experiment.py experiment=kv_cache experiment.cache=off model=smollm2-135m \\
        precision=bf16 output=x.parquet

Every key of config/hydra/run_experiment.yaml can be set. A cell that cannot run, fails, runs out of
memory or time is a result: its file says so, and this script succeeds.
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from inferbench.run.compose import register
from inferbench.run.job import main_of

register()


@hydra.main(version_base="1.3", config_path="../config/hydra", config_name="run_experiment")
def main(config: DictConfig) -> None:
    main_of(config, primary="run_experiment")


if __name__ == "__main__":
    main()
