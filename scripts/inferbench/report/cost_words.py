"""What the report says of costs: the cheapest cells, and those with the most tokens per joule."""

from __future__ import annotations

import pandas as pd

from inferbench.analysis.costs import SUBJECT, THRIFT
from inferbench.presentation.words import cell_words, counted, model_label, number
from inferbench.report.advice import by_intervals


def cost_sentences(table: pd.DataFrame, price_per_hour: float | None) -> list[str]:
    """What the table is of; per device, model and workload the cheapest cell, and the most tokens per joule by batch
    size."""
    if table.empty:
        return []
    named = [axis for axis in ("workload", "device_name") if table[axis].nunique() > 1]
    sentences = []
    if table["cost"].notna().any():
        sentences.append(
            f"At {number(price_per_hour)} per GPU hour, of decoding alone: prefill, loading and waiting come on"
            " top, and a model on several GPUs costs that many times as much."
        )
        for _, own in table[table["cost"].notna()].groupby(SUBJECT, sort=False, dropna=False):
            best = own.loc[own["cost"].idxmin()]
            sentences.append(
                f"Least for a million output tokens of {_subject(best, named)}, by its centre:"
                f" {number(best['cost'])} ({cell_words(best)})."
            )
    for _, own in table[table["joules"].notna()].groupby(SUBJECT, sort=False, dropna=False):
        sentences += [
            f"Most tokens per joule of {_subject(own.iloc[0], named)} at batch size {batch}, by its centre:"
            f" {_thriftiest(cells)}."
            for batch, cells in own.groupby("batch_size")
        ]
    if table["joules"].notna().any():
        generate = (table["joules"].notna() & (table["execution"] == "generate")).any()
        whole = "; that of generate, which cannot be taken apart, has its prefill in it" if generate else ""
        sentences.append(
            f"Energy is of decoding, without the prefill{whole}. Its differences are not tested."
        )
    return sentences


def _thriftiest(cells: pd.DataFrame) -> str:
    """The cell with the most tokens per joule, and which others have as many or lack an interval."""
    cells = cells.sort_values(THRIFT, ascending=False, kind="stable")
    best, others = cells.iloc[0], cells.iloc[1:]
    standing = by_intervals(best, others, THRIFT)
    words = f"{number(best[THRIFT])} tokens/J ({cell_words(best)})"
    if len(near := others[standing == "same"]):
        words += f", not told apart from {' or '.join(cell_words(row) for _, row in near.iterrows())}"
    if unknown := int((standing == "unknown").sum()):
        words += f", no intervals against {counted(unknown, 'other cell')}"
    return words


def _subject(row: pd.Series, named: list[str]) -> str:
    label = model_label(row["model"], row["model_source"])
    label += f" under workload {row['workload']}" if "workload" in named else ""
    return label + (f" on {row['device_name']}" if "device_name" in named else "")
