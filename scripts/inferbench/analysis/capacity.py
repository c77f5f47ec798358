"""The largest batch that fits, by precision and context, from what the cells of a campaign measured."""

from __future__ import annotations

import math

import pandas as pd

GROUP = ["device_name", "model", "model_source", "precision", "attention", "workload"]
DEVICE = "device_memory_bytes"
HELD, FORMULA = "kv_cache_bytes", "kv_cache_formula_bytes"
#: What is read of a row. pandas copies every column of a table into each group.
READ = [
    *GROUP,
    "status",
    "batch_size",
    "prompt_tokens",
    "new_tokens",
    "weight_bytes",
    HELD,
    FORMULA,
    "predicted_bytes",
    DEVICE,
]


def largest_batches(measurements: pd.DataFrame) -> pd.DataFrame:
    """A row per device, model, precision, attention and workload with a device size and a cell that is ok or oom.

    Columns: GROUP; `context` in tokens; `by_cache`, the batch whose weights and cache alone (by the formula, else as
    it was held) fill the device, which no run can exceed, null where none ran or its cache is not known;
    `by_prediction`, the batch at which the prediction made before a run reaches the device's memory, null where fewer
    than two batches were predicted; and what was tried: `largest_ok` and `smallest_oom`.
    Empty where the table does not say how much memory the devices have.
    """
    columns = [*GROUP, "context", "by_cache", "by_prediction", "largest_ok", "smallest_oom"]
    if DEVICE not in measurements or measurements[DEVICE].isna().all():
        return pd.DataFrame(columns=columns)
    rows = measurements[READ].assign(context=measurements["prompt_tokens"] + measurements["new_tokens"])
    # What never ran has no length of its own.
    lengths = rows.groupby(["model", "workload"])["context"].max()
    found = []
    for keys, own in rows.groupby(GROUP, sort=False, dropna=False):
        ok = own[own["status"] == "ok"].dropna(subset=[DEVICE, "weight_bytes"])
        oom = own.loc[own["status"] == "oom", "batch_size"]
        if own[DEVICE].isna().all() or (ok.empty and oom.empty):
            continue
        available, weights = float(own[DEVICE].min()), float(own["weight_bytes"].max())
        per_sequence = (ok[FORMULA].fillna(ok[HELD]) / ok["batch_size"]).max()
        group = dict(zip(GROUP, keys, strict=True))
        found.append(
            group
            | {
                "context": lengths[group["model"], group["workload"]] if ok.empty else ok["context"].max(),
                "by_cache": None
                if pd.isna(per_sequence)
                else fitting(available, weights, float(per_sequence)),
                "by_prediction": _by_prediction(own, available),
                "largest_ok": ok["batch_size"].max(),
                "smallest_oom": oom.min(),
            }
        )
    return pd.DataFrame(found, columns=columns).astype(dict.fromkeys(columns[len(GROUP) :], "Int64"))


def fitting(available: float, fixed: float, per_sequence: float) -> int:
    """Sequences that fit into `available` bytes beside `fixed` ones."""
    return max(0, math.floor((available - fixed) / per_sequence))


def _by_prediction(own: pd.DataFrame, available: float) -> int | None:
    """Predictions grow linearly with the batch; a single one does not say how much of it is one sequence's."""
    predicted = own.dropna(subset="predicted_bytes").drop_duplicates("batch_size").sort_values("batch_size")
    batches = predicted["batch_size"].astype(float).tolist()
    sizes = predicted["predicted_bytes"].astype(float).tolist()
    if len(batches) < 2 or sizes[-1] <= sizes[0]:
        return None
    slope = (sizes[-1] - sizes[0]) / (batches[-1] - batches[0])
    return fitting(available, sizes[0] - slope * batches[0], slope)
