"""From the files of a decoding experiment to its table: every declared cell and replicate has a row.

The columns of a job stand here, those of an experiment in `inferbench/experiments/<name>/table.py`, whose module is
handed down.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pyarrow

from inferbench.analysis.aggregate import derived_from, mark_mixed_code, require_asked_for
from inferbench.plan.experiment_cells import ExperimentCell, experiment_jobs, experiment_meaning
from inferbench.plan.fingerprint import cell_fingerprint
from inferbench.plan.specs import experiment_names
from inferbench.tables.cell_file import read_cell
from inferbench.tables.derive import seconds_between
from inferbench.tables.schema import measurements, read_table, text, validate

#: Columns that mean here what they mean in `measurements`.
COMMON = (
    "campaign", "model", "precision", "attention", "replicate", "status", "reason", "model_source", "parameters",
    "weight_bytes", "effective_dtype", "quantised_share", "neutralised", "load_s", "startup_s", "warmup_s", "measure_s",
    "started_at", "seconds", "device_name", "device_uuid", "driver", "host", "slurm_job_id", "code", "mixed_code",
    "fingerprint", "git_commit",
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
    """(table, samples of the jobs that ended ok) of one experiment.

    A job without a file is a row `missing` when `partial`, else an error. Raises CellFileError for a file
    that is broken, or that another configuration wrote.
    """
    rows: list[dict[str, Any]] = []
    samples = []
    for cell, replicate in experiment_jobs(campaign, experiment):
        declared = {
            "campaign": campaign["campaign"],
            "experiment": experiment,
            "cell": cell.name,
            **dict(cell.axes),
            "replicate": replicate,
        }
        path = folder / cell.name / f"replicate-{replicate}.parquet"
        if partial and not path.exists():
            rows.append(declared | {"status": "missing", "reason": "no file"})
            continue
        with derived_from(path):
            job, record, config, table = _job(campaign, cell, replicate, path, models_dir)
            if job["status"] != "ok":
                rows.append(declared | job)
                continue
            rows += [declared | job | row for row in module.rows(config, record, table.to_pylist())]
        samples.append(table.replace_schema_metadata(None))
    mark_mixed_code(rows)
    together = pyarrow.concat_tables(samples, promote_options="permissive") if samples else pyarrow.table({})
    return validate(pd.DataFrame(rows), table_schema(module)), together


def _job(
    campaign: dict[str, Any], cell: ExperimentCell, replicate: int, path: Path, models_dir: str
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], pyarrow.Table]:
    """(columns of the job, record, config, samples) of one file."""
    provenance, record, table = read_cell(path)
    fingerprint = cell_fingerprint(experiment_meaning(campaign, cell), "run_experiment", models_dir)
    require_asked_for(path, provenance, cell.name, replicate, fingerprint)
    known = {**provenance, **record}
    stages = record.get("stages_s", {})
    job = {name: known[name] for name in COMMON if name in known}
    job |= {f"{stage}_s": stages.get(stage) for stage in ("startup", "load", "warmup", "measure")}
    job["model_source"] = provenance["config"]["model"]["source"]
    job["seconds"] = max(0.0, seconds_between(provenance["started_at"], provenance["ended_at"]))
    return job, record, provenance["config"], table


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
            campaign[name], *(read_table(folder / f"{name}{part}.parquet") for part in ("", "-samples"))
        )
        for name in experiment_names()
        if name in campaign
    }
