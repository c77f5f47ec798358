"""Draw where a decode step spends its time: matrix products, dequantisation, attention, other, gaps, the wait.

A panel per model, workload and batch size; a bar per execution, attention and precision. Kernel times
come from one profiled step, gaps are the part of an unprofiled step in which no kernel runs. The wait is what
a token takes beyond that step, whose tokens stay on the device, when each is read before the next is started.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from inferbench.presentation.cell_means import cell_means, in_row_order, nothing_to_draw, row_label
from inferbench.presentation.stacked_bars import Look, draw_stacks, label_ends, stack_legend
from inferbench.presentation.style import heading, only_words
from inferbench.presentation.words import axes_words, number, precision_order, significant, split_axes

STEP_PARTS = {
    "step_matmul_ms": Look("matrix products", "#332288"),
    "step_dequantise_ms": Look("dequantisation", "#DDCC77", "//"),
    "step_attention_ms": Look("attention", "#44AA99", "\\\\"),
    "step_other_ms": Look("other kernels", "#AA4499", ".."),
    "step_gap_ms": Look("gaps: no kernel runs", "white", "///"),
}
PARTS = STEP_PARTS | {"wait_ms": Look("wait: launch, read", "#88CCEE", "oo")}
STEP = ["tpot_unread_ms", "tpot_ms", "gpu_busy_fraction"]
PANEL = ["model", "workload", "batch_size"]
ROW = ["execution", "attention", "precision"]
MAX_BARS = 80


def step_times(measurements: pd.DataFrame) -> pd.DataFrame:
    """A row per profiled cell: the parts of a token in ms, the step (`step_ms`), its busy share, and TPOT.

    The step is the unprofiled one that reads no token back, where that was measured.
    """
    data = cell_means(measurements, [*STEP_PARTS, *STEP])
    data = data[data["step_gap_ms"].notna()]
    data["step_ms"] = data["tpot_unread_ms"].fillna(data["tpot_ms"])
    # Below zero where the host was slower while the unread steps were timed than in the timed run.
    data["wait_ms"] = (data["tpot_ms"] - data["step_ms"]).clip(lower=0).map(significant)
    data = data.drop(columns="tpot_unread_ms")
    ranks = {name: place for place, name in enumerate(precision_order(data["precision"]))}
    by_precision = data.sort_values("precision", key=lambda names: names.map(ranks), kind="stable")
    return in_row_order(by_precision).sort_values(
        PANEL, kind="stable", key=lambda values: values.map({name: n for n, name in enumerate(dict.fromkeys(values))})
    ).reset_index(drop=True)  # fmt: skip


def draw(measurements: pd.DataFrame, summary: pd.DataFrame) -> tuple[plt.Figure, pd.DataFrame]:
    """The figure and its data, in milliseconds."""
    title = "Where a decode step spends its time"
    data = step_times(measurements)
    if data.empty:
        return only_words(title, nothing_to_draw(measurements, _absent(measurements))), tidy(data)
    shown = data.head(MAX_BARS)
    common, varying = split_axes(data, [*PANEL, *ROW])
    panels = list(shown.groupby(PANEL, sort=False))
    heights = [len(own) for _, own in panels]
    figure, grid = plt.subplots(
        len(panels), 1, figsize=(9.2, 0.6 + 0.27 * sum(heights) + 0.65 * len(panels)),
        height_ratios=heights, squeeze=False, layout="constrained",
    )  # fmt: skip
    for axes, (_, own) in zip(grid[:, 0], panels, strict=True):
        draw_stacks(axes, own, PARTS)
        bars = [axis for axis in ROW if axis in varying] or ["precision"]
        axes.set_yticks(range(len(own)), [row_label(row, bars) for _, row in own.iterrows()])
        label_ends(axes, own[list(PARTS)].sum(axis=1), [_label(row) for row in own.itertuples()])
        if panel_axes := [axis for axis in PANEL if axis in varying]:
            axes.set_title(axes_words(own.iloc[0], panel_axes), loc="left")
    grid[-1, 0].set_xlabel("time per output token (ms)")
    stack_legend(figure, [look for part, look in PARTS.items() if shown[part].any()])
    left_out = f"The first {len(shown)} of {len(data)} cells are drawn." if len(shown) < len(data) else ""
    overlap = "Arithmetic means of the replicates, so that parts add up; kernels that overlap are counted in each class."
    flagged = "" if shown["valid"].all() else "Cells in [brackets] carry a flag: not to be ranked."
    heading(figure, title, common, overlap, flagged, left_out)
    return figure, tidy(data)


def tidy(data: pd.DataFrame) -> pd.DataFrame:
    """The same, a row per cell and quantity."""
    quantities = [*PARTS, "step_ms", "tpot_ms", "gpu_busy_fraction"]
    return data.melt([name for name in data if name not in quantities], quantities, "quantity", "value")


def _label(row) -> str:
    words = f"TPOT {number(row.tpot_ms)} ms, GPU busy {100 * row.gpu_busy_fraction:.0f}% of a step"
    return words if row.valid else f"[{words}]"


def _absent(measurements: pd.DataFrame) -> str:
    ok = measurements[measurements["status"] == "ok"]
    if ok["device_uuid"].isna().all():
        return "These cells ran on a CPU, where kernels are not profiled: there is no breakdown of a step."
    return "No cell has a profiled step: there is no breakdown."
