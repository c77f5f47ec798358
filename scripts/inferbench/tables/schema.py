"""The tables of a campaign. One pandera schema each: it validates, and it documents the columns.

`measurements` has a row per cell and replicate (a replicate is one fresh process), whatever became
of it; `summary` has a row per cell, across its replicates. Units are in the names. A column is null
where the machine or the status has no such number (GPU columns on a CPU, speeds of a failed cell).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from inferbench.tables.terms import METRICS, SIZES, STATUSES


class SchemaError(ValueError):
    """A table does not have the columns, types or values that its schema asks for."""


def column(dtype: str, description: str, **options: Any) -> pa.Column:
    """A column of a pandas dtype, nullable unless said otherwise; the description documents it."""
    options.setdefault("nullable", True)
    return pa.Column(dtype, description=description, coerce=True, **options)


def text(description: str, **options: Any) -> pa.Column:
    """A column of strings."""
    return column("string", description, **options)


def number(description: str, minimum: float | None = 0.0, **options: Any) -> pa.Column:
    """A column of finite numbers, from `minimum` (None: any)."""
    checks = [pa.Check(lambda values: np.isfinite(values.astype(float)), error="finite")]
    checks += [] if minimum is None else [pa.Check.ge(minimum)]
    return column("Float64", description, checks=checks, **options)


def integer(description: str, **options: Any) -> pa.Column:
    """A column of whole numbers from 0."""
    return column("Int64", description, checks=[pa.Check.ge(0)], **options)


#: Of an experiment's job: what its steps were.
HOST_BOUND = column("boolean", "steps were ordinary calls on a GPU, whose kernels the host launches")

CELL = {
    "cell": text("the cell's name: its axes, joined", nullable=False),
    "model": text("name of the model's Hydra file", nullable=False),
    "precision": text("name of the precision's Hydra file", nullable=False),
    "attention": text("attention backend asked for, as transformers names it", nullable=False),
    "execution": text("generate, loop, cuda_graph or compiled", nullable=False),
    "workload": text("name of the workload's Hydra file", nullable=False),
    "batch_size": integer("sequences decoded together", nullable=False),
}

measurements = pa.DataFrameSchema(
    {
        "campaign": text("the campaign that declared the cell", nullable=False),
        **CELL,
        "replicate": integer("which fresh process, from 1", nullable=False),
        "status": text("what became of it", nullable=False, checks=[pa.Check.isin(STATUSES)]),
        "reason": text("why it is not ok; null when it is"),
        "flags": text("validity flags and notes, comma-separated; empty when there are none"),
        "not_known": text(
            "JSON, columns that are null since they cannot be had of this model, and why; null when none is"
        ),
        "valid": column("boolean", "ok and carrying no flag that forbids ranking", nullable=False),
        "model_source": text("checkpoint, bundled or synthetic"),
        "parameters": integer("parameters of the model, tied ones once"),
        "prompt_tokens": integer("length the prompts are padded to"),
        "prompt_tokens_mean": number("mean length of the prompts without padding"),
        "new_tokens": integer("tokens generated per sequence, counted"),
        "iterations": integer("timed iterations in this process"),
        "load_s": number(
            "reading the weights into memory, quantising included; a cell that compiled anew does so twice"
        ),
        "compile_s": number("compiling and capturing the decode step, by every process that the cell took"),
        "compile_cache": text("cold or warm: whether compiled kernels were on disk before"),
        "ttft_ms": number("time to first token: prefill and its token on the host; median of iterations"),
        "tpot_ms": number("mean time per output token after the first; median of iterations"),
        "tpot_unread_ms": number("the same, tokens left on the device until the end"),
        "itl_p50_ms": number("inter-token latency, median over all steps of all iterations"),
        "itl_p99_ms": number("inter-token latency, 99th percentile"),
        "prefill_tokens_per_s": number("prompt tokens of the batch (padding not counted) / ttft"),
        "decode_tokens_per_s": number("batch size / tpot"),
        "within_process_cv": number("standard deviation / mean of the iterations' tpot"),
        "weight_bytes": integer("weights counted from their storages, quantisation state included"),
        "decode_weight_bytes": integer("weights that one decode step must read"),
        "kv_cache_bytes": integer(
            "keys, values and recurrent states held at the end of an iteration, from the cache"
        ),
        "kv_cache_formula_bytes": integer(
            "the same by 2 x layers x kv heads x head dim x bytes x tokens; null where the model's cache is not that"
        ),
        "peak_allocated_bytes": integer("GPU memory allocated by torch, peak; of several GPUs the sum"),
        "peak_reserved_bytes": integer("GPU memory reserved by torch, peak; of several GPUs the sum"),
        "process_gpu_bytes": integer("GPU memory of the process, from NVML; of several GPUs the sum"),
        "peak_rss_bytes": integer("resident memory of the process, peak"),
        "predicted_bytes": integer("memory predicted before the run"),
        "device_memory_bytes": integer("memory of the GPUs, or what this machine lets a process have"),
        "copy_bandwidth_gb_s": number("device copy, bytes read and written; best of the card"),
        "read_bandwidth_gb_s": number("bf16 matrix-vector product, bytes read; best of the card"),
        "matmul_tflop_s": number("bf16 matrix product; best of the card"),
        "datasheet_bandwidth_gb_s": number("the manufacturer's figure"),
        "datasheet_tflop_s": number("the manufacturer's dense bf16 figure"),
        "decode_mbu": number("bytes a step must read / tpot, as a share of the copy bandwidth"),
        "prefill_mfu": number("FLOP of prefill / ttft, as a share of the matrix rate"),
        "gpu_busy_fraction": number(
            "union of kernel times of a profiled step / tpot_unread_ms, for generate() / tpot_ms"
        ),
        "step_matmul_ms": number("matrix products in a profiled decode step"),
        "step_dequantise_ms": number("dequantisation in a profiled decode step"),
        "step_attention_ms": number("attention in a profiled decode step"),
        "step_other_ms": number("every other kernel in a profiled decode step"),
        "step_gap_ms": number("unprofiled step time in which no kernel runs"),
        "joules_per_token": number(
            "energy counter over repeated decoding / tokens; for generate() prefill is in it"
        ),
        "joules_per_token_above_idle": number("the same less the idle power with the model loaded", None),
        "power_w": number("mean power while decoding; of several GPUs the sum"),
        "idle_power_w": number("mean power with the model loaded and settled"),
        "effective_attention": text("attention kernels that ran, from a profile"),
        "effective_dtype": text("dtype that the linear layers compute in"),
        "quantised_share": number("share of linear weights really quantised"),
        "neutralised": text(
            "settings of the checkpoint's generation config that were left out, comma-separated"
        ),
        "compiled_graphs": integer("graphs that torch.compile made"),
        "check_max_error": number("largest RMS error of a step's teacher-forced logits / their deviation"),
        "startup_s": number("process start and imports"),
        "ceilings_s": number("measuring the ceilings"),
        "check_s": number("checks of correctness and effective configuration"),
        "warmup_s": number("warm-up"),
        "measure_s": number("timed iterations, and steps without reading tokens back"),
        "profile_s": number("finding which attention ran, and profiling a step"),
        "energy_s": number("measuring energy"),
        "sample_text": text("what the first sequence of the batch said"),
        "started_at": text("UTC, ISO 8601"),
        "seconds": number("wall time of the whole cell process"),
        "device_name": text("GPU or CPU model"),
        "device_uuid": text("GPU UUID, several with + between them; null on a CPU"),
        "driver": text("driver version; null on a CPU"),
        "host": text("node that ran it"),
        "slurm_job_id": text("Slurm job, if any"),
        "code": text("hash of the measuring code that ran"),
        "mixed_code": column(
            "boolean",
            "by other code than the newest jobs of its engine and library",
        ),
        "fingerprint": text("hash of what the cell means"),
        "git_commit": text("commit of the checkout that ran it, '-dirty' when changed"),
    },
    strict=True,
    unique=["cell", "replicate"],
)


def _interval(metric: str) -> dict[str, pa.Column]:
    return {
        metric: number("centre across replicates: exp of the mean log of the process medians"),
        f"{metric}_low": number(
            "lower end of the 95% interval; null under 3 replicates, and of compiled cells, whose replicates share one "
            "compilation"
        ),
        f"{metric}_high": number("upper end"),
    }


summary = pa.DataFrameSchema(
    {
        "campaign": text("the campaign", nullable=False),
        **CELL,
        "status": text("ok if any replicate is, else what most became", nullable=False),
        "reason": text("of the first replicate that is not ok"),
        "flags": text("union of the replicates' flags"),
        "valid": column("boolean", "at least one replicate may be ranked", nullable=False),
        "replicates_declared": integer("how many were asked for", nullable=False),
        "replicates_ok": integer("how many ended ok", nullable=False),
        "replicates_valid": integer("how many may be ranked: these are summarised", nullable=False),
        "model_source": text("checkpoint, bundled or synthetic"),
        "device_name": text("device that ran it"),
        **{key: column for metric in METRICS for key, column in _interval(metric).items()},
        **{size: integer("largest of the replicates") for size in SIZES},
        "is_baseline": column("boolean", "the campaign's baseline cell", nullable=False),
        "baseline_cell": text(
            "the cell that this one is compared with; null of a baseline, and where there is none"
        ),
        "ratio": number("decode tokens/s over the baseline cell's, same card"),
        "ratio_low": number("lower end of its 95% interval"),
        "ratio_high": number("upper end"),
        "p_adjusted": number(
            "t on logs, of replicates on one card or of the differences on several; Benjamini-Hochberg over the campaign"
        ),
        "finding": text("faster, slower, same, or why nothing can be said", nullable=False),
    },
    strict=True,
    unique=["cell"],
)


def read_table(path: Path, schema: pa.DataFrameSchema | None = None) -> pd.DataFrame:
    """The table in a Parquet file, with a schema as `validate` gives it. Raises SchemaError, which names the file."""
    if not path.is_file():
        raise SchemaError(f"there is no file {path}")
    try:
        table = pd.read_parquet(path)
        return table if schema is None else validate(table, schema)
    except (OSError, ValueError) as error:
        raise SchemaError(f"{path} cannot be used: {' '.join(str(error).split())}") from error


def validate(table: pd.DataFrame, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """The table with the schema's columns in the schema's order and types, absent ones null.

    Raises SchemaError with the column and the first offending values.
    """
    if "valid" in schema.columns:
        table = with_validity(table)
    missing = {name: pd.NA for name in schema.columns if name not in table}
    table = table.assign(**missing)
    unknown = [name for name in table.columns if name not in schema.columns]
    if unknown:
        raise SchemaError(f"the table has columns that its schema does not know: {', '.join(unknown)}")
    try:
        return schema.validate(table[list(schema.columns)])
    except pa.errors.SchemaError as error:
        raise SchemaError(" ".join(str(error).split())) from error


def with_validity(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `flags` and `valid`. Experiments of versions before 2.0.0 looked for no flags, so that their tables
    lack both: what ended ok is valid."""
    if "valid" in table or "status" not in table:
        return table
    return table.assign(flags="", valid=table["status"] == "ok")
