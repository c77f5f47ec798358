"""The same cells as `generate()` runs them and as a captured step: what the first hides.

`generate()` launches every kernel of a step from the host. Where that takes longer than the kernels, all
precisions look alike or stand in the order of their kernel counts, whatever the GPU could do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from inferbench.presentation.cell_means import row_label
from inferbench.presentation.page_tables import Table, table_of, with_interval
from inferbench.presentation.words import number, precision_order, split_axes
from inferbench.report.verdicts import OPPOSITE, READ, TESTED, verdict
from inferbench.tables import terms

SPEED = "decode_tokens_per_s"
HOST, CAPTURED = "generate", list(terms.CAPTURED)
AXES = ["device_name", "model", "workload", "batch_size", "attention", "precision"]
#: Axes of which both ways say which value is the faster.
JUDGED = ("precision", "attention")


def both_ways(summary: pd.DataFrame) -> pd.DataFrame:
    """Cells that may be ranked, were run by `generate()` and captured: indexed by AXES, a column per execution and
    quantity. Compared with each other are cells of one kind of device. summary: `with_cards`."""
    ranked = summary[summary["valid"] & summary[SPEED].notna() & summary["execution"].isin([HOST, *CAPTURED])]
    ranked = ranked.assign(device_name=ranked["device_name"].fillna("unknown device"))
    columns = [
        SPEED,
        f"{SPEED}_low",
        f"{SPEED}_high",
        "replicates_valid",
        "replicates_ok",
        "gpu_busy_fraction",
        "decode_mbu",
        "model_source",
        *READ,
    ]
    wide = ranked.pivot(index=AXES, columns="execution", values=columns)
    declared = pd.MultiIndex.from_frame(ranked[AXES].drop_duplicates())
    wide = wide.reindex(declared, columns=pd.MultiIndex.from_product([columns, [HOST, *CAPTURED]]))
    there = wide[SPEED].notna()
    return wide[there[HOST] & there[CAPTURED].any(axis=1)]


def side_by_side_table(wide: pd.DataFrame) -> Table:
    """A row per precision that was run both ways."""
    if wide.empty:
        return Table([], set(), [])
    cells = _cells(wide)
    # One column for all that varies: as many as there are axes leave no room for the numbers.
    common, varying = split_axes(cells, AXES)
    texts: dict[str, Iterable[str]] = {}
    if varying:
        name = ", ".join(axis.replace("_", " ") for axis in varying)
        texts[name] = [row_label(cell, varying) for _, cell in cells.iterrows()]
    words = set(texts)
    texts["generate(): GPU busy, %"] = _per_cent(wide["gpu_busy_fraction"][HOST])
    for mode in (HOST, *CAPTURED):
        ends = (wide[SPEED + end][mode].astype("Float64") for end in ("", "_low", "_high"))
        rates = zip(
            with_interval(*ends), wide["replicates_valid"][mode], wide["replicates_ok"][mode], strict=True
        )
        texts[f"{mode}, tokens/s"] = [
            f"{rate} ({valid} of {ran} processes)" if valid < ran else rate for rate, valid, ran in rates
        ]
    captured = wide[SPEED][CAPTURED].astype("Float64")
    texts["fastest captured ÷ generate()"] = (captured.max(axis=1) / wide[SPEED][HOST].astype("Float64")).map(
        number
    )
    texts["generate(): copy bandwidth, %"] = _per_cent(wide["decode_mbu"][HOST])
    fastest = captured.eq(captured.max(axis=1), axis=0).fillna(False)
    texts["fastest captured: copy bandwidth, %"] = _per_cent(
        wide["decode_mbu"][CAPTURED].astype("Float64").where(fastest).max(axis=1)
    )
    return replace(table_of(texts, words), common=common)


def _cells(wide: pd.DataFrame) -> pd.DataFrame:
    """The axes of the rows, and where their models' weights are from."""
    return wide.index.to_frame(index=False).assign(
        model_source=wide["model_source"].bfill(axis=1).iloc[:, 0].to_numpy()
    )


def _per_cent(shares: pd.Series) -> list[str]:
    return [number(100 * share) for share in shares.astype("Float64")]


def reversals(wide: pd.DataFrame, baseline: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each pair of precisions, and of attention backends, that `generate()` puts in another order than
    captured steps, or that only one of the two ways tells apart. baseline: what to compare with, where it is there."""
    cells = _cells(wide)
    for axis in JUDGED if len(cells) else ():
        same = [other for other in AXES if other != axis]
        _, varying = split_axes(cells, same)
        named = cells.groupby(same, sort=False)
        for key, own in wide.groupby(same, sort=False):
            where = [row_label(named.get_group(key).iloc[0], varying)] if varying else []
            own = own.droplevel(same)
            names = precision_order(own.index) if axis == "precision" else list(own.index)
            base = baseline[axis] if baseline.get(axis) in names else names[0]
            for name in names:
                both = own.loc[[name, base]]
                mode = next((mode for mode in CAPTURED if both[SPEED][mode].notna().all()), None)
                if name == base or mode is None:
                    continue
                (by_host, told), (by_gpu, also_told) = _against(both, HOST), _against(both, mode)
                if by_host != by_gpu:
                    yield (
                        f"{', '.join([*where, f'{name} against {base}'])}: by generate() {told},"
                        f" captured ({mode}) {also_told}."
                    )


def _against(both: pd.DataFrame, execution: str) -> tuple[int, str]:
    """(1 where the first of two cells is faster, -1 slower, 0 where the table's test does not tell; the same in words)."""
    ran = both.xs(execution, axis=1, level=1)
    one, other = ran[SPEED]
    found = verdict(*ran.to_dict("records"))
    rates = f"({number(one)} and {number(other)} tokens/s, {found.words})"
    if found.finding in OPPOSITE:
        size = f"{number(100 * abs(found.ratio - 1))}% {found.finding}"
        return (1 if found.finding == "faster" else -1), f"{size} {rates}"
    return 0, f"{'not told apart' if found.finding in TESTED else 'no order can be told'} {rates}"
