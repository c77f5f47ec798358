"""Means of measured columns, a row per cell and kind of device: the data of figures that are not in the summary."""

from __future__ import annotations

import textwrap

import pandas as pd

from inferbench.presentation.words import model_label, significant

CELL = ["cell", "model", "model_source", "precision", "attention", "execution", "workload", "batch_size"]
IDENTITY = [*CELL, "device_name", "flags", "valid"]
#: Axes of a cell but its precision, from the slowest to change in a figure to the fastest.
ROW_AXES = ["model", "workload", "execution", "attention", "batch_size"]
#: In the order in which modes leave the host less to do.
EXECUTIONS = ("generate", "loop", "cuda_graph", "compiled")


def cell_means(measurements: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Arithmetic means of `columns` over the valid replicates of each ok cell, in the order of the table.

    A cell without a valid replicate has the means of its flagged ones and `valid` False. Numbers are
    rounded to 6 significant digits; a column that no replicate has is NaN.
    """
    ok = measurements[measurements["status"] == "ok"]
    ok = ok.assign(device_name=ok["device_name"].astype(object).fillna("unknown device"))
    keys = ["cell", "device_name"]
    any_valid = ok.groupby(keys, sort=False)["valid"].transform("any").astype(bool)
    used = ok[ok["valid"].astype(bool) | ~any_valid]
    values = used[[*keys, *columns]].astype(dict.fromkeys(columns, float))
    means = values.groupby(keys, sort=False)[columns].mean().map(significant, na_action="ignore")
    identity = used.drop_duplicates(keys)[IDENTITY]
    return identity.merge(means.reset_index(), on=keys, how="left").reset_index(drop=True)


def in_row_order(data: pd.DataFrame) -> pd.DataFrame:
    """The rows grouped by ROW_AXES, names in order of appearance, executions and batch sizes ascending."""
    ranks = {}
    for axis in ROW_AXES:
        seen = list(dict.fromkeys(data[axis]))
        if axis == "execution":
            seen.sort(key=lambda name: EXECUTIONS.index(name) if name in EXECUTIONS else len(EXECUTIONS))
        elif axis == "batch_size":
            seen.sort()
        ranks[axis] = data[axis].map({name: place for place, name in enumerate(seen)})
    order = pd.DataFrame(ranks).sort_values(ROW_AXES, kind="stable").index
    return data.loc[order].reset_index(drop=True)


def row_label(row: pd.Series, axes: list[str]) -> str:
    """'cuda_graph, sdpa, batch 8': the values of those axes, a batch size and a synthetic model marked."""
    words = {axis: str(row[axis]) for axis in axes}
    if "batch_size" in words:
        words["batch_size"] = f"batch {row['batch_size']}"
    if "model" in words:
        words["model"] = model_label(row["model"], row["model_source"])
    return ", ".join(words.values())


def nothing_to_draw(measurements: pd.DataFrame, absent: str) -> str:
    """The campaign's models on a line, then why a figure is empty: `absent`, unless no cell ended ok."""
    ok = (measurements["status"] == "ok").any()
    sentence = absent if ok else "No cell ended ok: there is nothing to draw."
    pairs = measurements[["model", "model_source"]].astype(object).where(measurements["model"].notna())
    known = pairs.sort_values("model_source", na_position="last", kind="stable").drop_duplicates("model")
    names = [model_label(model, source) for model, source in known.itertuples(index=False, name=None)]
    return "\n".join([", ".join(names), *textwrap.wrap(sentence, 72)])
