"""A campaign beside others: the same cells on another card or on another day, as the report shows them.

"Here" is the campaign of the report, "there" the other one; a ratio is here ÷ there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from inferbench.analysis.compare import ASKED_OTHERWISE, common_cells, other_meaning
from inferbench.analysis.other_campaigns import AXES, SPEED, Campaign, comparisons
from inferbench.presentation.page_tables import Table, table_of, with_interval
from inferbench.presentation.words import counted, model_label, number, split_axes

#: Packages whose versions stand beside a campaign.
PACKAGES = ("torch", "transformers", "bitsandbytes")


@dataclass(frozen=True)
class Beside:
    """Sentences; where each campaign's numbers come from; the cells that have a counterpart."""

    sentences: list[str]
    campaigns: Table
    cells: Table


def beside(measurements: pd.DataFrame, provenance: dict[str, Any], others: list[Campaign]) -> Beside:
    """What the report says of the campaign of `measurements` beside these others."""
    rows = comparisons(measurements, others)
    here = Campaign("this campaign", measurements, provenance)
    speed = rows[rows["metric"] == SPEED]
    return Beside(
        [sentence for other in others for sentence in _sentences(measurements, other, speed)],
        _campaigns([here, *others]),
        _cells(rows, len(others) > 1),
    )


def _sentences(measurements: pd.DataFrame, other: Campaign, speed: pd.DataFrame) -> list[str]:
    common = len(common_cells(other.measurements, measurements))
    alone = [table["cell"].nunique() - common for table in (measurements, other.measurements)]
    said = [
        f"Beside {other.name}: {counted(common, 'cell')} in both campaigns, {alone[0]} here alone, {alone[1]} there"
        " alone.",
    ]
    if others := other_meaning(other.measurements, measurements):
        was = "was" if others == 1 else "were"
        said.append(
            f"Of the cells in both, {others} {was} asked for otherwise in {other.name}: {ASKED_OTHERWISE}."
        )
    rows = speed[(speed["other"] == other.name) & speed["ratio"].notna()]
    if rows.empty:
        return [*said, f"No cell has a valid replicate both here and in {other.name}."]
    _, varying = split_axes(speed, AXES)
    least, most = rows.loc[rows["ratio"].idxmin()], rows.loc[rows["ratio"].idxmax()]
    counts = ", ".join(f"{count} {finding}" for finding, count in rows["finding"].value_counts().items())
    # A cell on several cards has a ratio per pair of them, and counts once.
    by_cell = np.log(rows["ratio"].astype(float)).groupby(rows["cell"]).mean()
    pairs = ""
    if len(rows) > len(by_cell):
        pairs = f" ({counted(len(rows), 'ratio')}, one per pair of cards that ran a cell)"
    said.append(
        f"Decode speed here is {number(np.exp(by_cell.mean()))} times that of {other.name}"
        f" in the geometric mean of {counted(len(by_cell), 'cell')}{pairs}, from {number(least['ratio'])} times"
        f" ({_words(least, varying)}) to {number(most['ratio'])} times ({_words(most, varying)}): {counts}."
    )
    if count := int(rows["between_cards"].sum()):
        said.append(
            f"{count} of these {counted(len(rows), 'ratio')} {'is' if count == 1 else 'are'} between two cards:"
            f" {'it shows' if count == 1 else 'they show'} what the cards differ by together with whatever else changed."
        )
    return said


def _words(row: pd.Series, axes: list[str]) -> str:
    return ", ".join(
        f"batch {row[axis]}" if axis == "batch_size" else str(row[axis]) for axis in axes or AXES
    )


def _short_uuid(uuid: str) -> str:
    """Enough of it, or of each of several, to tell cards apart."""
    return "+".join(one[:12] for one in uuid.split("+"))


def _campaigns(campaigns: list[Campaign]) -> Table:
    """Card, driver, versions and date of each campaign; what differs inside one is listed."""
    tables = [campaign.measurements for campaign in campaigns]
    texts: dict[str, Iterable[str]] = {
        "campaign": [campaign.name for campaign in campaigns],
        "card": [_listed(table["device_name"]) for table in tables],
        "UUID": [_listed(table["device_uuid"].dropna().map(_short_uuid)) for table in tables],
        "driver": [_listed(table["driver"]) for table in tables],
        "host": [_listed(table["host"]) for table in tables],
        "versions": [_versions(campaign.provenance) for campaign in campaigns],
        "measured (UTC)": [_dates(table["started_at"]) for table in tables],
        "commit": [_listed(table["git_commit"]) for table in tables],
        "valid replicates": [str(int(table["valid"].sum())) for table in tables],
    }
    return table_of(texts, {*texts} - {"valid replicates"})


def _cells(rows: pd.DataFrame, several: bool) -> Table:
    if rows.empty:
        return Table([], set(), [])
    keys = ["cell", "other", "card_a", "card_b"]
    ttft = rows[rows["metric"] == "ttft_ms"].set_index(keys)
    speed = rows[rows["metric"] == SPEED].set_index(keys, drop=False)
    ttft = ttft.loc[speed.index]
    texts: dict[str, Iterable[str]] = {axis.replace("_", " "): speed[axis].astype(str) for axis in AXES}
    texts["model"] = list(map(model_label, speed["model"], speed["model_source"]))
    texts |= {"beside": speed["other"]} if several else {}
    if speed.duplicated(["cell", "other"]).any():
        texts |= {"card there": speed["card_a"].fillna("-"), "card here": speed["card_b"].fillna("-")}
    words = {*texts}
    texts["there, tokens/s"] = with_interval(speed["a"], speed["a_low"], speed["a_high"])
    texts["here, tokens/s"] = with_interval(speed["b"], speed["b_low"], speed["b_high"])
    texts["here ÷ there"] = with_interval(speed["ratio"], speed["low"], speed["high"])
    texts["here is"] = speed["finding"]
    texts["TTFT, here ÷ there"] = with_interval(ttft["ratio"], ttft["low"], ttft["high"])
    return table_of(texts, words)


def _listed(values: pd.Series) -> str:
    return ", ".join(dict.fromkeys(values.dropna())) or "-"


def _versions(provenance: dict[str, Any]) -> str:
    versions = [cell.get("versions") or {} for cell in provenance.get("cells") or []]
    found = {
        package: dict.fromkeys(own[package] for own in versions if package in own) for package in PACKAGES
    }
    return ", ".join(f"{package} {'/'.join(own)}" for package, own in found.items() if own) or "-"


def _dates(started: pd.Series) -> str:
    days = sorted(set(started.dropna().str.slice(0, 10)))
    return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else "-"
