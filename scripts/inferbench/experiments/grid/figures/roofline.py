"""Draw how close each cell comes to what its device can do, and whether the host was in the way.

A row per setting, a mark per precision. Decoding is bound by memory, so it is drawn as bytes that a
step must move per second, against the copy and read bandwidths that the same processes measured;
prefill is bound by arithmetic and drawn as FLOP/s against the measured matrix rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from inferbench.presentation.cell_means import (
    IDENTITY,
    ROW_AXES,
    cell_means,
    in_row_order,
    nothing_to_draw,
    row_label,
)
from inferbench.presentation.not_known import left_out_notes
from inferbench.presentation.style import (
    INK,
    QUIET,
    Style,
    heading,
    only_words,
    precision_styles,
    with_commas,
)
from inferbench.presentation.words import significant, split_axes

#: Below this share of a step with a kernel running, the host's launches set the speed.
HOST_BOUND = 0.8
BUSY = "gpu_busy_fraction"
SHARES = ("decode_mbu", "prefill_mfu")
MAX_ROWS = 60
COLUMNS = [*IDENTITY, "host_bound", "quantity", "value"]


@dataclass(frozen=True)
class Panel:
    """A quantity, its axis label, and the ceilings to draw: column -> (name, line style)."""

    quantity: str
    label: str
    ceilings: dict[str, tuple[str, str]]
    #: a logarithmic scale where values differ by much; how close to a ceiling shows on a linear one only
    may_be_log: bool = False


PANELS = (
    Panel(
        "decode_gb_s",
        "decode: bytes a step must move (GB/s)",
        {
            "copy_bandwidth_gb_s": ("copy, measured", "-"),
            "read_bandwidth_gb_s": ("read or matrix rate, measured", "--"),
            "datasheet_bandwidth_gb_s": ("datasheet", ":"),
        },
    ),
    Panel(
        "prefill_tflop_s",
        "prefill (TFLOP/s)",
        {
            "matmul_tflop_s": ("read or matrix rate, measured", "--"),
            "datasheet_tflop_s": ("datasheet", ":"),
        },
        may_be_log=True,
    ),
    Panel(BUSY, "GPU busy (share of a step)", {}),
)


def host_bound(busy: pd.Series) -> pd.Series:
    """Whether the host was in the way; null where no step was profiled."""
    return (busy < HOST_BOUND).astype("boolean").mask(busy.isna())


def achieved(measurements: pd.DataFrame) -> pd.DataFrame:
    """A row per ok cell and quantity: what it achieved, and the ceilings of its card.

    Achieved GB/s is decode_mbu times the copy bandwidth, achieved TFLOP/s prefill_mfu times the matrix
    rate: both shares were taken of these ceilings.
    """
    rates = {
        "decode_gb_s": ("decode_mbu", "copy_bandwidth_gb_s"),
        "prefill_tflop_s": ("prefill_mfu", "matmul_tflop_s"),
    }
    rows = measurements.assign(**{name: measurements[a] * measurements[b] for name, (a, b) in rates.items()})
    # A processor computes the product that reads in bf16 more slowly than it reads: that rate bounds nothing there.
    rows["read_bandwidth_gb_s"] = rows["read_bandwidth_gb_s"].where(rows["device_uuid"].notna())
    quantities = [name for panel in PANELS for name in (panel.quantity, *panel.ceilings)]
    means = cell_means(rows, quantities)
    means["host_bound"] = host_bound(means[BUSY])
    data = means.melt([*IDENTITY, "host_bound"], quantities, "quantity", "value")
    drawn = means["cell"][means[[panel.quantity for panel in PANELS]].notna().any(axis=1)]
    data = data[data["value"].notna() & data["cell"].isin(drawn)]
    return in_row_order(data)[COLUMNS]


def draw(measurements: pd.DataFrame, summary: pd.DataFrame) -> tuple[plt.Figure, pd.DataFrame]:
    """The figure and its data."""
    title = "How close each cell comes to its device"
    data = achieved(measurements)
    if data.empty:
        words = " ".join(["No cell has its device's ceilings.", *left_out_notes(measurements, SHARES)])
        return only_words(title, nothing_to_draw(measurements, words)), data
    common, varying = split_axes(data, ROW_AXES)
    rows = data[ROW_AXES].drop_duplicates().reset_index(drop=True)
    shown = rows.head(MAX_ROWS)
    placed = data.merge(shown.assign(row=shown.index), on=ROW_AXES)
    panels = [panel for panel in PANELS if (placed["quantity"] == panel.quantity).any()]
    styles = precision_styles(placed["precision"])
    size = (4.6 + 2.9 * (len(panels) - 1) + 2, 1.3 + max(0.34, 0.17 * len(styles)) * len(shown))
    figure, grid = plt.subplots(
        1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained",
        width_ratios=[1.5, 1, 1][: len(panels)],
    )  # fmt: skip
    for axes, panel in zip(grid[0], panels, strict=True):
        _draw_panel(axes, panel, placed, styles, len(shown))
    first = placed.drop_duplicates("row").sort_values("row")
    labels = [row_label(row, varying) for _, row in first.iterrows()]
    grid[0, 0].set_yticks(shown.index, labels if varying else [""])
    grid[0, 0].set_ylim(len(shown) - 0.5, -0.5)
    _legend(figure, styles, placed)
    too_many = f"The first {len(shown)} of {len(rows)} settings are drawn." if len(shown) < len(rows) else ""
    heading(figure, title, common, host_sentence(data), too_many, *left_out_notes(measurements, SHARES))
    return figure, data


def host_sentence(data: pd.DataFrame) -> str:
    """How many cells are host-bound; their marks say which."""
    cells = data.drop_duplicates(["cell", "device_name"])
    known = cells[cells["host_bound"].notna()]
    if known.empty:
        return "No kernels were profiled on this device: whether the host was in the way is not known."
    bound = known[known["host_bound"].astype(bool)]
    counted = f"GPU busy under {HOST_BOUND:.0%} of a step (host-bound): {len(bound)} of {len(known)} cells"
    return (
        f"{counted}, crossed. Their order says how many kernels they launch." if len(bound) else f"{counted}."
    )


def _draw_panel(
    axes: plt.Axes, panel: Panel, data: pd.DataFrame, styles: dict[str, Style], count: int
) -> None:
    here = data[data["quantity"] == panel.quantity]
    offsets = np.linspace(-0.3, 0.3, len(styles)) if len(styles) > 1 else [0.0]
    offset = dict(zip(styles, offsets, strict=True))
    for row in here.itertuples():
        style, y = styles[row.precision], row.row + offset[row.precision]
        look = {"facecolor": style.colour if row.valid else "white", "edgecolor": style.colour}
        axes.scatter(row.value, y, s=34, marker=style.marker, linewidth=1, zorder=3, **look)
        if pd.notna(row.host_bound) and row.host_bound:
            axes.scatter(row.value, y, s=110, marker="x", color=INK, linewidth=1.1, zorder=2)
    highest, lowest = here["value"].max(), here["value"].min()
    for column, (_, line) in panel.ceilings.items():
        # A device has one value of a ceiling: the median of what its processes measured.
        ceilings = data[data["quantity"] == column]
        devices = ceilings.groupby("device_name")["value"].median().map(significant)
        for row, device in ceilings.drop_duplicates("row")[["row", "device_name"]].itertuples(index=False):
            at = devices[device]
            highest = max(highest, at)
            axes.vlines(at, row - 0.5, row + 0.5, color=QUIET, lw=1.2, ls=line, zorder=1)
    for edge in np.arange(0.5, count - 1):
        axes.axhline(edge, color="#E3E3E3", lw=0.8, zorder=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(panel.label)
    if panel.quantity == BUSY:
        highest = max(1.0, highest)
        axes.axvline(HOST_BOUND, color=INK, lw=0.9, ls="--", zorder=1)
    if panel.may_be_log and lowest > 0 and highest > 30 * lowest:
        axes.set_xscale("log")
        axes.set_xlim(lowest / 1.5, 1.3 * highest)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(f"{panel.label}, log scale")
    else:
        axes.set_xlim(0, 1.05 * highest)
        _share_axis(axes, panel, data)
    axes.xaxis.set_major_formatter(with_commas)


def _share_axis(axes: plt.Axes, panel: Panel, data: pd.DataFrame) -> None:
    """The same as per cent of the measured ceiling, above the panel, where there is one device."""
    ceiling = next(iter(panel.ceilings), None)
    if ceiling is None or data["device_name"].nunique() > 1:
        return
    values = data.loc[data["quantity"] == ceiling, "value"]
    if values.empty:
        return
    one = values.median()
    above = axes.secondary_xaxis(
        "top", functions=(lambda value: 100 * value / one, lambda share: share * one / 100)
    )
    above.set_xlabel(f"% of the {panel.ceilings[ceiling][0].split(',')[0].split(' or ')[-1]} ceiling")
    above.tick_params(length=2)


def _legend(figure: plt.Figure, styles: dict[str, Style], data: pd.DataFrame) -> None:
    handles = {
        name: Line2D([], [], ls="", color=look.colour, marker=look.marker) for name, look in styles.items()
    }
    for panel in PANELS:
        for column, (name, line) in panel.ceilings.items():
            if (data["quantity"] == column).any():
                handles[name] = Line2D([], [], color=QUIET, ls=line, lw=1.2)
    if data["host_bound"].fillna(False).any():
        handles["host-bound"] = Line2D([], [], ls="", marker="x", color=INK, ms=7)
    if not data["valid"].all():
        handles["flagged, not ranked"] = Line2D([], [], ls="", marker="o", mfc="white", color=QUIET)
    columns = max(1, min(len(handles), int(figure.get_size_inches()[0] // 1.55)))
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower left", ncols=columns, frameon=False
    )
