"""From the files of a decoding experiment to its table: every declared cell and replicate has a row.

The columns of a job stand here, those of an experiment in `inferbench/experiments/<name>/table.py`, whose module is
handed down.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pyarrow

from inferbench.analysis.aggregate import Combinations, derived_from, job_files, mark_mixed_code
from inferbench.plan.fingerprint import named_code
from inferbench.plan.specs import experiment_names
from inferbench.tables.derive import seconds_between, validity
from inferbench.tables.schema import measurements, read_table, text, validate, with_validity

#: Columns that mean here what they mean in `measurements`.
COMMON = (
    "campaign", "model", "precision", "attention", "replicate", "status", "reason", "flags", "valid", "model_source",
    "parameters", "weight_bytes", "effective_dtype", "quantised_share", "neutralised", "load_s", "startup_s", "warmup_s",
    "measure_s", "started_at", "seconds", "device_name", "device_uuid", "driver", "host", "slurm_job_id", "code",
    "mixed_code", "fingerprint", "git_commit",
)  # fmt: skip


def table_schema(module: ModuleType) -> pa.DataFrameSchema:
    """The schema of an experiment's table; its columns' descriptions are their documentation."""
    columns = {
        "experiment": text("the experiment", nullable=False),
        "cell": text("the cell's name: its axes, joined", nullable=False),
        **{name: measurements.columns[name] for name in COMMON},
        **module.COLUMNS,
    }
    return pa.DataFrameSchema(columns, strict=True, unique=list(module.KEY))


def collect_experiment(
    campaign: dict[str, Any],
    experiment: str,
    module: ModuleType,
    folder: Path,
    partial: bool,
    models_dir: str = "models",
) -> tuple[pd.DataFrame, pyarrow.Table]:
    """(table, samples of the jobs that ended ok) of one experiment. Arguments and errors as `job_files` has them."""
    rows: list[dict[str, Any]] = []
    samples = []
    combinations: Combinations = defaultdict(list)
    for declared, path, content in job_files(campaign, experiment, folder, partial, models_dir):
        row = {"experiment": experiment, **declared}
        if not content:
            rows.append(row)
            continue
        provenance, record, table = content
        with derived_from(path):
            row |= _job(provenance, record)
            found = [row]
            if record["status"] == "ok":
                found = [row | own for own in module.rows(provenance["config"], record, table.to_pylist())]
                samples.append(table.replace_schema_metadata(None))
            combinations[named_code(provenance["config"])] += found
        rows += found
    mark_mixed_code(combinations)
    together = pyarrow.concat_tables(samples, promote_options="permissive") if samples else pyarrow.table({})
    return validate(pd.DataFrame(rows), table_schema(module)), together


def _job(provenance: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """The columns of a job that its file knows."""
    known = {**provenance, **record}
    stages = record.get("stages_s", {})
    job = {name: known[name] for name in COMMON if name in known}
    job |= {f"{stage}_s": stages.get(stage) for stage in ("startup", "load", "warmup", "measure")}
    job |= validity(record)
    job["model_source"] = provenance["config"]["model"]["source"]
    job["seconds"] = max(0.0, seconds_between(provenance["started_at"], provenance["ended_at"]))
    return job


@dataclass(frozen=True)
class Experiment:
    """declared: its part of the campaign file, defaults included. table and samples as `collect_experiment`
    gives them."""

    declared: dict[str, Any]
    table: pd.DataFrame
    samples: pd.DataFrame


def read_experiments(declared: Path) -> dict[str, Experiment]:
    """The experiments that the file experiments.json declares, whose tables lie beside it, by name."""
    folder = declared.parent
    campaign = json.loads(declared.read_text(encoding="utf-8"))
    return {
        name: Experiment(
            campaign[name],
            with_validity(read_table(folder / f"{name}.parquet")),
            read_table(folder / f"{name}-samples.parquet"),
        )
        for name in experiment_names()
        if name in campaign
    }
