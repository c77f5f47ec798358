"""One job: a fresh process measures what the config says, and its file is written, whatever became of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from inferbench.device.lease import LeaseError, leased_devices
from inferbench.models.checkpoint import require_checkpoint
from inferbench.plan.fingerprint import cell_fingerprint, measuring_code, named_code
from inferbench.plan.specs import GRID
from inferbench.run.compose import resolve
from inferbench.run.supervise import run_worker
from inferbench.settings import job as configs
from inferbench.tables import provenance
from inferbench.tables.cell_file import CellFileError, write_cell
from inferbench.tables.derive import speeds


def main_of(config: DictConfig, primary: str) -> None:
    """Run the job that `config` is and print one line that says how it ended.

    primary: the Hydra file that composed it. Exits with one sentence where the job cannot do its own work.
    """
    try:
        print(_run(config, primary))
    except (configs.ConfigError, configs.Fault, CellFileError, LeaseError, OSError) as error:
        sys.exit(str(error))


def _run(config: DictConfig, primary: str) -> str:
    resolved: configs.RunConfig = resolve(config)
    plain = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    # A model that is not there says nothing about the cell: that is no result.
    weights = _weights(plain)
    fingerprint = cell_fingerprint(HydraConfig.get().overrides.task, primary, resolved.models_dir)
    if resolved.fingerprint not in ("", fingerprint):
        raise configs.ConfigError(
            f"cell {resolved.cell}: its configuration or its model's files changed after this job was planned; run"
            " snakemake again."
        )
    experiment = plain["experiment"]["name"] if "experiment" in plain else GRID
    code = measuring_code(experiment, *named_code(plain))
    about = provenance.describe_run(plain, fingerprint, code)
    with leased_devices(resolved.device.value, resolved.model.gpus) as devices:
        about["started_at"] = provenance.now()
        try:
            record = run_worker(plain, devices, resolved.timeout_s)
        except configs.Fault as fault:
            _weights(plain)  # a file that is no longer what it was is named
            raise configs.Fault(
                f"cell {resolved.cell}: {fault}. That says nothing about the cell, so nothing is stored: put it right, and"
                " the same command measures it."
            ) from fault
    about["ended_at"] = provenance.now()
    if _weights(plain) != weights:
        raise configs.Fault(
            f"cell {resolved.cell}: its model's files changed while it was measured; run the same command again."
        )
    output = Path(resolved.output)
    write_cell(output, about, record)
    return f"{record['status']}: {record.get('reason') or _told(plain, record) + str(output)}"


def _told(plain: dict[str, Any], record: dict[str, Any]) -> str:
    """What a person who runs a cell of the grid by hand wants to know of it, before the name of its file."""
    if "iterations" not in record:
        return ""
    own = speeds(record, record["iterations"], plain["batch_size"])
    flags = f", {','.join(record['flags'])}" if record["flags"] else ""
    prompts = ", random token ids for prompts: the model has no tokenizer" if record["random_prompts"] else ""
    return (
        f"decode {own['decode_tokens_per_s']:,.1f} tokens/s, time to first token {own['ttft_ms']:,.1f} ms, weights"
        f" {record['weight_bytes'] / 1e9:.3f} GB{flags}{prompts}, in "
    )


def _weights(plain: dict[str, Any]) -> list[tuple[Path, int, int]]:
    """(path, bytes, time of change) of each file of weights. Raises ModelError where one cannot be used."""
    files = [file for model in _models(plain) for file in require_checkpoint(model)]
    return [(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _models(plain: dict[str, Any]) -> list[configs.ModelConfig]:
    """The main model, and the draft's where it has one of its own."""
    draft = (plain.get("experiment") or {}).get("draft") or {}
    return [configs.ModelConfig(**model) for model in (plain["model"], draft.get("model")) if model]
