"""From a cell file to its row of `measurements`: every derived number, in one place.

Needs no GPU and no torch, so a better formula reaches old measurements by aggregating again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import fsum
from statistics import mean, median, stdev
from typing import Any

import numpy as np

from inferbench.tables.terms import INVALIDATING_FLAGS

#: Columns copied from the record of an ok cell.
MEASURED = (
    "prompt_tokens", "prompt_tokens_mean", "new_tokens", "compile_cache", "tpot_unread_ms",
    "kv_cache_bytes", "kv_cache_formula_bytes", "peak_allocated_bytes", "peak_reserved_bytes",
    "process_gpu_bytes", "peak_rss_bytes", "joules_per_token", "joules_per_token_above_idle", "power_w",
    "idle_power_w", "sample_text",
)  # fmt: skip
#: Columns copied whatever the status, where the cell got that far.
FOUND = (
    "status", "reason", "parameters", "weight_bytes", "decode_weight_bytes", "predicted_bytes", "device_memory_bytes",
    "copy_bandwidth_gb_s", "read_bandwidth_gb_s", "matmul_tflop_s", "datasheet_bandwidth_gb_s",
    "datasheet_tflop_s", "effective_attention", "effective_dtype", "quantised_share", "neutralised",
    "compiled_graphs", "check_max_error", "device_name", "device_uuid", "driver",
)  # fmt: skip
STAGES = ("startup", "ceilings", "load", "compile", "check", "warmup", "measure", "profile", "energy")
PROVENANCE = ("fingerprint", "code", "git_commit", "host", "slurm_job_id", "started_at")


def measurement(
    provenance: dict[str, Any], record: dict[str, Any], iterations: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """One row, without the columns that the campaign knows (axes, mixed_code).

    iterations: dicts with `ttft_ms`, `itl_ms` (list) and `new_tokens`. What the cell did not get to is absent;
    raises KeyError for a record that another version of this code wrote.
    """
    stages = record.get("stages_s", {})
    ok = record["status"] == "ok"
    row = {key: record.get(key) for key in (*FOUND, *(MEASURED if ok else ()))}
    row |= {key: provenance.get(key) for key in PROVENANCE}
    row |= {f"{stage}_s": stages.get(stage) for stage in STAGES}
    row["model_source"] = provenance["config"]["model"]["source"]
    # A clock that was set back must not cost the table.
    row["seconds"] = max(0.0, seconds_between(provenance["started_at"], provenance["ended_at"]))
    row |= validity(record)
    row["not_known"] = json.dumps(record["not_known"]) if record.get("not_known") else None
    if ok:
        row |= speeds(record, iterations, provenance["config"]["batch_size"])
        row |= utilisation(record, row, provenance["config"]["batch_size"])
    return row


def validity(record: dict[str, Any]) -> dict[str, Any]:
    """What the flags of a job are, and whether its numbers may be ranked: flags say what a cause outside did to it."""
    flags = record.get("flags") or []
    valid = record["status"] == "ok" and not set(flags) & set(INVALIDATING_FLAGS)
    return {"flags": ",".join(flags), "valid": valid}


def speeds(record: dict[str, Any], iterations: Sequence[dict[str, Any]], batch_size: int) -> dict[str, Any]:
    """Latencies in ms and rates in tokens/s; medians over the process's iterations."""
    ttft = median(iteration["ttft_ms"] for iteration in iterations)
    tpots = [fsum(iteration["itl_ms"]) / (iteration["new_tokens"] - 1) for iteration in iterations]
    tpot = median(tpots)
    p50, p99 = np.percentile(np.concatenate([iteration["itl_ms"] for iteration in iterations]), [50, 99])
    return {
        "iterations": len(iterations),
        "ttft_ms": ttft,
        "tpot_ms": tpot,
        "itl_p50_ms": float(p50),
        "itl_p99_ms": float(p99),
        "prefill_tokens_per_s": 1000 * batch_size * record["prompt_tokens_mean"] / ttft,
        "decode_tokens_per_s": 1000 * batch_size / tpot,
        "within_process_cv": stdev(tpots) / mean(tpots) if len(tpots) > 1 else None,
    }


def utilisation(record: dict[str, Any], row: dict[str, Any], batch_size: int) -> dict[str, Any]:
    """Shares of the ceilings that the process measured, and where a profiled step spent its time."""
    not_known, shares = record.get("not_known", {}), {}
    if "decode_mbu" not in not_known:
        achieved = decode_bytes(record, batch_size) / (row["tpot_ms"] / 1e3)
        shares["decode_mbu"] = achieved / (record["copy_bandwidth_gb_s"] * 1e9)
    if "prefill_mfu" not in not_known:
        achieved = prefill_flop(record, batch_size) / (row["ttft_ms"] / 1e3)
        shares["prefill_mfu"] = achieved / (record["matmul_tflop_s"] * 1e12)
    busy = record.get("step_busy_ms")
    if busy is None:
        return shares
    step = row.get("tpot_unread_ms") or row["tpot_ms"]
    classes = {f"step_{name}_ms": spent for name, spent in record["step_class_ms"].items()}
    return {**shares, **classes, "gpu_busy_fraction": busy / step, "step_gap_ms": max(0.0, step - busy)}


def decode_bytes(record: dict[str, Any], batch_size: int) -> float:
    """Least bytes that a decode step moves: its weights, and what the cache keeps of the mean context, which was
    counted where no number of bytes a token gives it."""
    per_token = record["kv_bytes_per_token"]
    if per_token is None:
        return record["decode_weight_bytes"] + record["cache_read_bytes"]
    context = record["prompt_tokens_mean"] + record["new_tokens"] / 2
    return record["decode_weight_bytes"] + batch_size * context * per_token


def prefill_flop(record: dict[str, Any], batch_size: int) -> float:
    """2 N B S for the matrices inside the layers (experts that a token uses), 2 layers heads head_dim B S^2
    for causal attention, and the head for one token per sequence."""
    shape, tokens = record["shape"], record["prompt_tokens_mean"]
    weights = shape["layer_weights"] + shape["active_experts"] * shape["expert_weights"]
    head = shape["head_weights"] or shape["embedding_weights"]
    attention = 2 * shape["layers"] * shape["heads"] * shape["head_dim"] * batch_size * tokens**2
    return 2 * weights * batch_size * tokens + attention + 2 * head * batch_size


def seconds_between(start: str, end: str) -> float:
    """From one ISO 8601 time to another; negative where a clock was set back."""
    return float((np.datetime64(end[:23]) - np.datetime64(start[:23])) / np.timedelta64(1, "ms")) / 1000
