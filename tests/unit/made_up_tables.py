"""Made-up tables of a demo campaign, with numbers that are easy to follow by hand.

Decode tokens/s of replicate 1 with eager attention and batch 1: fp32 20, bf16 40, int8 10, nf4 25.
sdpa gives 1.1 times that, batch 4 gives 3 times, and replicate 2 gives 1.02 times replicate 1.
"""

from __future__ import annotations

import math
from itertools import product

import pandas as pd

from inferbench.analysis.summarise import summarise, with_cards
from inferbench.tables import schema, terms

SPEED = {"fp32": 20.0, "bf16": 40.0, "int8": 10.0, "nf4": 25.0}
WEIGHT_BYTES = {"fp32": 538_060_800, "bf16": 269_030_400, "int8": 162_900_000, "nf4": 119_000_000}
NO_FLASH = "flash_attention_2 needs a GPU and the package flash-attn; neither is here"
DEVICE = "Intel Xeon Platinum 8481C"
GPU = "NVIDIA H100 80GB HBM3"


def demo_measurements(model: str = "smollm2-135m", source: str = "bundled", **axes: tuple) -> pd.DataFrame:
    """A row per cell and replicate of the demo grid; `axes` replaces values of an axis, or replicates."""
    precisions = axes.get("precision", tuple(SPEED))
    attentions = axes.get("attention", ("eager", "sdpa", "flash_attention_2"))
    cells = product(precisions, attentions, axes.get("batch_size", (1, 4)), axes.get("replicate", (1, 2)))
    rows = [_row(model, source, *cell) for cell in cells]
    return schema.validate(pd.DataFrame(rows), schema.measurements)


def demo_summary(measurements: pd.DataFrame) -> pd.DataFrame:
    """A row per cell: geometric means of valid replicates; bf16, sdpa, batch 1 is the baseline."""
    rows = []
    for _, own in measurements.groupby("cell", sort=False):
        first, ok, valid = own.iloc[0], own[own["status"] == "ok"], own[own["valid"]]
        row = {name: first[name] for name in ("campaign", *schema.CELL, "model_source", "device_name")}
        row |= {
            "status": "ok" if len(ok) else first["status"],
            "reason": own["reason"].dropna().iloc[0] if own["reason"].notna().any() else pd.NA,
            "flags": ",".join(dict.fromkeys(own["flags"].replace("", pd.NA).dropna())),
            "valid": len(valid) > 0,
            "replicates_declared": len(own),
            "replicates_ok": len(ok),
            "replicates_valid": len(valid),
            "is_baseline": first["cell"].endswith("bf16--sdpa--loop--short--b1"),
            "finding": "2 replicates: no interval" if len(valid) else "no valid replicate",
        }
        row |= {name: _geometric_mean(valid[name]) for name in terms.METRICS}
        row |= {name: ok[name].max() if len(ok) else pd.NA for name in terms.SIZES}
        rows.append(row)
    return schema.validate(pd.DataFrame(rows), schema.summary)


def demo_cells(measurements: pd.DataFrame) -> pd.DataFrame:
    """The summary as sentences are told from it."""
    return with_cards(demo_summary(measurements), measurements)


def spread(measurements: pd.DataFrame, rates: list[float], share: float) -> pd.DataFrame:
    """Three replicates of each cell that decode at its rate of these, and at that share less and more."""
    each = [rate * (1 + by) for rate in rates for by in (-share, 0.0, share)]
    return measurements.assign(decode_tokens_per_s=pd.array(each, dtype="Float64"))


def judged_cells(measurements: pd.DataFrame, baseline: dict) -> pd.DataFrame:
    """The summary as the workflow makes it, with its tests, as sentences are told from it."""
    return with_cards(summarise(measurements, baseline), measurements)


def demo_provenance(measurements: pd.DataFrame) -> dict:
    """What the workflow writes beside the tables."""
    axes = ("model", "precision", "attention", "execution", "workload", "batch_size")
    campaign = {
        "campaign": "demo",
        "axes": {axis: [*dict.fromkeys(measurements[axis].tolist())] for axis in axes},
        "exclude": [],
        "replicates": 2,
        "baseline": {"precision": "bf16", "attention": "sdpa"},
        "device": "cpu",
    }
    cells = [
        {
            "cell": row.cell,
            "replicate": int(row.replicate),
            "versions": {"torch": "2.9.1", "transformers": "4.57.3"},
            "device_name": DEVICE,
            "driver": None,
            "host": "node-a",
            "slurm_job_id": None,
            "git_commit": "0123abc",
            "started_at": "2026-01-05T10:00:00+00:00",
            "ended_at": "2026-01-05T10:00:12+00:00",
        }
        for row in measurements.itertuples()
    ]
    return {"campaign": campaign, "cells": cells, "environment": {"python": "3.11.2"}}


def _row(model: str, source: str, precision: str, attention: str, batch_size: int, replicate: int) -> dict:
    row = {
        "campaign": "demo",
        "cell": f"{model}--{precision}--{attention}--loop--short--b{batch_size}",
        "model": model,
        "precision": precision,
        "attention": attention,
        "execution": "loop",
        "workload": "short",
        "batch_size": batch_size,
        "replicate": replicate,
        "model_source": source,
        "flags": "",
        "started_at": f"2026-01-05T10:0{replicate}:00+00:00",
        "host": "node-a",
        "git_commit": "0123abc",
        "mixed_code": False,
    }
    if attention == "flash_attention_2":
        return {**row, "status": "unsupported", "reason": NO_FLASH, "valid": False}
    speed = SPEED[precision] * (1.1 if attention == "sdpa" else 1) * (3 if batch_size == 4 else 1)
    speed *= 1.02 if replicate == 2 else 1
    return {
        **row,
        "status": "ok",
        "valid": True,
        "decode_tokens_per_s": speed,
        "tpot_ms": 1000 * batch_size / speed,
        "itl_p99_ms": 1300 * batch_size / speed,
        "ttft_ms": 4000 * batch_size / speed,
        "prefill_tokens_per_s": 8 * speed,
        "weight_bytes": WEIGHT_BYTES[precision],
        "kv_cache_bytes": 1_290_240 * batch_size,
        "peak_rss_bytes": 900_000_000 + WEIGHT_BYTES[precision],
        "sample_text": f"The capital of France is Paris, says {precision}.",
        "device_name": DEVICE,
    }


def _geometric_mean(values: pd.Series) -> float | None:
    values = values.dropna().astype(float)
    return math.exp(values.map(math.log).mean()) if len(values) else None


def gpu_row(execution="cuda_graph", precision="bf16", batch_size=1, replicate=1, **values):
    """A cell on a made-up GPU: 100 tokens/s, half of a copy bandwidth of 3 000 GB/s, busy for 9 of 10 ms."""
    name = "synthetic-llama-3.1-8b"
    row = {
        "campaign": "gpu",
        "cell": f"{name}--{precision}--sdpa--{execution}--p32n128--b{batch_size}",
        "model": name,
        "model_source": "synthetic",
        "precision": precision,
        "attention": "sdpa",
        "execution": execution,
        "workload": "p32n128",
        "batch_size": batch_size,
        "replicate": replicate,
        "status": "ok",
        "flags": "",
        "valid": True,
        "tpot_ms": 10.0,
        "ttft_ms": 20.0,
        "decode_tokens_per_s": 100.0,
        "copy_bandwidth_gb_s": 3000.0,
        "read_bandwidth_gb_s": 2600.0,
        "datasheet_bandwidth_gb_s": 3350.0,
        "matmul_tflop_s": 800.0,
        "datasheet_tflop_s": 989.0,
        "decode_mbu": 0.5,
        "prefill_mfu": 0.25,
        "gpu_busy_fraction": 0.9,
        "step_matmul_ms": 6.0,
        "step_dequantise_ms": 0.0,
        "step_attention_ms": 2.0,
        "step_other_ms": 1.0,
        "step_gap_ms": 1.0,
        "weight_bytes": 16_000_000_000,
        "kv_cache_bytes": 20_000_000 * batch_size,
        "kv_cache_formula_bytes": 20_000_000 * batch_size,
        "peak_allocated_bytes": 17_000_000_000,
        "peak_reserved_bytes": 18_000_000_000,
        "process_gpu_bytes": 18_600_000_000,
        "peak_rss_bytes": 3_000_000_000,
        "predicted_bytes": 17_500_000_000,
        "prompt_tokens": 32,
        "new_tokens": 128,
        "device_name": GPU,
        "device_uuid": "GPU-1",
        "driver": "570.0",
        "host": "node-a",
        "started_at": f"2026-01-05T10:0{replicate}:00+00:00",
        "seconds": 20.0,
        "measure_s": 12.0,
        "load_s": 4.0,
    }
    return {**row, **values}


def gpu_table(*rows):
    return schema.validate(pd.DataFrame(list(rows)), schema.measurements)
