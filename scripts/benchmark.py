"""Measure one cell in a fresh process and write its Parquet file.

    python scripts/benchmark.py model=smollm2-135m precision=nf4 attention=sdpa execution=loop \\
        batch_size=4 output=x.parquet

Every key of config/hydra/benchmark.yaml can be set. A cell that cannot run, fails, runs out of memory
or time is a result: its file says so, and this script succeeds. It fails when it cannot do its own work.
"""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from inferbench import config as configs
from inferbench import provenance
from inferbench.cell_file import CellFileError, write_cell
from inferbench.fingerprint import cell_fingerprint
from inferbench.lease import LeaseError, leased_devices
from inferbench.prepare import ModelError, require_checkpoint
from inferbench.supervise import run_worker

configs.register()


@hydra.main(version_base="1.3", config_path="../config/hydra", config_name="benchmark")
def main(config: DictConfig) -> None:
    try:
        print(measure(config))
    except (configs.ConfigError, CellFileError, LeaseError, ModelError) as error:
        sys.exit(str(error))


def measure(config: DictConfig) -> str:
    """Measure the cell that `config` is and write its file; return one line that says how it ended."""
    resolved: configs.BenchmarkConfig = configs.resolve(config)
    fingerprint = cell_fingerprint(HydraConfig.get().overrides.task)
    if resolved.fingerprint not in ("", fingerprint):
        raise configs.ConfigError(
            f"cell {resolved.cell}: its configuration changed after this job was planned; run snakemake again."
        )
    # A model that is not there says nothing about the cell: that is no result.
    require_checkpoint(resolved.model)
    plain = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    about = provenance.describe_run(plain, fingerprint)
    with leased_devices(resolved.device.value, resolved.model.gpus) as devices:
        about["started_at"] = provenance.now()
        record = run_worker(plain, devices, resolved.timeout_s)
    about["ended_at"] = provenance.now()
    output = Path(resolved.output)
    write_cell(output, about, record)
    return f"{record['status']}: {record.get('reason') or output}"


if __name__ == "__main__":
    main()
