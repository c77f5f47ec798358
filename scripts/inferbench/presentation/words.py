"""What figures and report share: orders, words, rounding, the setting at which precisions compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

#: Widest first. A precision that is not named here comes after these, by name.
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8-threshold0", "nf4", "nf4-double", "fp4")
STATUS_WORDS = {
    "oom": "out of memory",
    "unsupported": "unsupported",
    "timeout": "timed out",
    "failed": "failed",
    "skipped": "skipped",
    "missing": "missing",
}


def precision_order(names: Iterable[str]) -> list[str]:
    """The distinct names in the order in which every figure and table lists them."""
    known = {name: place for place, name in enumerate(PRECISIONS)}
    return sorted(set(names), key=lambda name: (known.get(name, len(known)), name))


def significant(value: float, digits: int = 6) -> float:
    """`value` to that many significant digits: what differs in the last bit comes out the same."""
    return float(f"{value:.{digits}g}")


def number(value: float, digits: int = 3) -> str:
    """A number for readers: significant digits, thousands apart, never an exponent. '-' when null, and no 0 that is
    none."""
    if pd.isna(value):
        return "-"
    if 0 < value < 5e-7:
        return "<0.000001"
    value = significant(float(value), digits)
    decimals = 0 if value == 0 else max(0, digits - 1 - int(f"{value:e}".split("e")[1]))
    return f"{value:,.{min(decimals, 6)}f}"


def duration(seconds: float) -> str:
    """'41.2 s', '12.4 min' or '3.25 h'."""
    unit, per_unit = ("s", 1) if seconds < 100 else ("min", 60) if seconds < 7200 else ("h", 3600)
    return f"{number(seconds / per_unit)} {unit}"


def byte_unit(largest: float) -> tuple[str, float]:
    """Name and bytes of the decimal unit that suits sizes up to `largest` bytes."""
    return ("GB", 1e9) if pd.notna(largest) and largest >= 1e9 else ("MB", 1e6)


def model_label(model: str, source: str | None) -> str:
    """The model's name, marked when its weights are random and it does not say so itself."""
    told = "synthetic" in model or pd.isna(source) or source != "synthetic"
    return model if told else f"{model} (synthetic)"


def weights_source(table: pd.DataFrame) -> str | None:
    """Where the weights of a model's cells are from, if any cell says so."""
    return next(iter(table["model_source"].dropna()), None)


def cell_words(row: pd.Series) -> str:
    """'bf16, sdpa, loop, batch 4': a cell of a known model and workload, for sentences."""
    return f"{row['precision']}, {row['attention']}, {row['execution']}, batch {row['batch_size']}"


def change(ratio: float, *among: float) -> str:
    """'+22.6%', or '×3.39' where the ratio, or one of those it stands among, is twofold."""
    twofold = any(not 0.5 < one < 2 for one in (ratio, *among))
    return f"×{number(ratio)}" if twofold else f"{100 * (ratio - 1):+.1f}%"


def also_differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """', different cards, flagged replicates left out', as far as that holds of two rows of a summary `with_cards`."""
    notes = ""
    if one["cards"] != other["cards"]:
        notes = ", different cards"
    elif one["shares"] != other["shares"]:
        notes = ", other shares of the same cards"
    return notes + left_out(one, other)


def left_out(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """', flagged replicates left out', where that holds of either row of a summary `with_cards`."""
    return ", flagged replicates left out" if one["flagged"] or other["flagged"] else ""


def interval_words(low: float, high: float) -> str:
    """'95% interval 1.82 to 1.89', or that there is none."""
    return "no interval" if pd.isna(low) else f"95% interval {number(low)} to {number(high)}"


def ends(low: float, high: float) -> str:
    """' (1.82 to 1.89)', or nothing where there is no interval."""
    return "" if pd.isna(low) else f" ({number(low)} to {number(high)})"


def counted(count: int, what: str) -> str:
    """'1 cell', '2 cells'."""
    return f"{count} {what}" + ("" if count == 1 else "s")


def split_axes(table: pd.DataFrame, axes: list[str]) -> tuple[str, list[str]]:
    """The axes that have one value in `table`, in words, and the names of those that have several.

    A device that is common is not among the words: it stands beside the title."""
    varying = [axis for axis in axes if table[axis].nunique() > 1]
    common, first = [axis for axis in axes if axis not in varying], table.iloc[0]
    if "model" in common:
        # A cell that has not run does not know where its weights are from.
        first = first.copy()
        first["model_source"] = weights_source(table)
    return axes_words(first, [axis for axis in common if axis != "device_name"]), varying


def axes_words(row: pd.Series, axes: list[str]) -> str:
    """'tiny (synthetic), execution loop': the axes of a table's row, its model marked if synthetic."""
    words = {axis: f"{axis.replace('_', ' ')} {row[axis]}" for axis in axes}
    if "model" in words:
        words["model"] = model_label(row["model"], row["model_source"])
    if "device_name" in words:
        words["device_name"] = str(row["device_name"])
    return ", ".join(words.values())


def setting_words(setting: dict[str, object]) -> str:
    """'attention sdpa, execution loop, workload short, batch size 1'."""
    return ", ".join(f"{axis.replace('_', ' ')} {value}" for axis, value in setting.items())
