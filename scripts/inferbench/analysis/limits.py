"""What a campaign may limit, and how much of it a cell takes.

A quantity that was not measured is null: a cell then neither keeps the limit nor breaks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from inferbench.analysis.experiment_tables import Experiment


@dataclass(frozen=True)
class Quantity:
    """What a key of `limits` is about: its name in sentences, the unit of the limit, and its name in full."""

    name: str
    unit: str
    full_name: str


QUANTITIES = {
    "memory_gb": Quantity("memory", "GB", "memory"),
    "ttft_ms": Quantity("TTFT", "ms", "time to first token (TTFT)"),
    "tpot_ms": Quantity("TPOT", "ms", "time per output token (TPOT)"),
    "kl": Quantity("KL divergence", "nats", "KL divergence"),
}
#: Figures of memory in the order of preference, and what each is.
MEMORY_FIGURES = {
    "process_gpu_bytes": "the GPU memory of the process, as the driver sees it",
    "peak_allocated_bytes": "the peak that torch allocated on the GPU",
    "peak_rss_bytes": "the resident memory of the process at its peak",
    "held_bytes": "weights and KV cache alone, less than a process takes",
}


def measured_bytes(table: pd.DataFrame) -> pd.Series:
    """What a prediction of memory is held against, row by row: the first of the measured figures that is known."""
    figures = [name for name in MEMORY_FIGURES if name in table]
    return table[figures].astype("Float64").bfill(axis=1).iloc[:, 0].astype("float64")


class Divergence(NamedTuple):
    """Mean KL divergence, in nats, of a precision's next-token distributions from the reference's, and the
    upper end of its 95% interval (NaN: there is none)."""

    mean: float
    high: float


#: (model, precision) -> its divergence. What is not in it was not measured.
Divergences = Mapping[tuple[str, str], Divergence]


def measured_divergences(experiments: Mapping[str, Experiment]) -> Divergences | None:
    """Those in the table of the experiment `quality`; None where the campaign has no such experiment.

    Of a precision that was measured with several attentions, or against several references, the largest.
    A reference differs from itself by nothing, measured or not.
    """
    if "quality" not in experiments:
        return None
    table = experiments["quality"].table
    ok = table[table["valid"] & table["kl"].notna()].sort_values("kl", kind="stable")
    ends = ok[["kl", "kl_high"]].astype("float64")
    found = {key: Divergence(0.0, 0.0) for key in zip(ok["model"], ok["reference"])}
    measured = zip(ok["model"], ok["precision"], ends["kl"], ends["kl_high"])
    return found | {(model, precision): Divergence(*own) for model, precision, *own in measured}


def with_quantities(cells: pd.DataFrame, divergences: Divergences) -> tuple[pd.DataFrame, str]:
    """(the summary's rows of cells on one device, with each of QUANTITIES and `<quantity>_high` beside it,
    NaN where not known; the figure of memory that was taken, in words, '' where there is none).

    One figure for all cells, since they are compared: the first that every cell has, else that any has.
    """
    held = cells["weight_bytes"] + cells["kv_cache_bytes"]
    figures = cells.assign(held_bytes=held)[list(MEMORY_FIGURES)].astype("Float64")
    known = figures.notna()
    figure = next((name for name in figures if known[name].all()), known.any().idxmax())
    found = [
        divergences.get(key, Divergence(np.nan, np.nan)) for key in zip(cells["model"], cells["precision"])
    ]
    columns = {
        "memory_gb": figures[figure] / 1e9,
        # The largest of the replicates, not a centre.
        "memory_gb_high": figures[figure] / 1e9,
        "kl": [divergence.mean for divergence in found],
        "kl_high": [divergence.high for divergence in found],
    }
    ends = [f"{quantity}{end}" for quantity in QUANTITIES for end in ("", "_high")]
    cells = cells.assign(**columns)
    return cells.astype(dict.fromkeys(ends, "float64")), MEMORY_FIGURES[figure] if known[figure].any() else ""
