"""What reading every token costs captured steps, in sentences computed from the measurements.

A stream reads each token before the next step is launched. How long that launch takes is the host's, and no
property of a precision or of an attention backend.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from inferbench.analysis import statistics
from inferbench.analysis.summarise import summarised_rows
from inferbench.presentation.cell_means import row_label
from inferbench.presentation.words import change, counted, model_label, number, split_axes
from inferbench.report.host_and_captured import CAPTURED
from inferbench.report.verdicts import of_pair

READ, UNREAD = "tpot_ms", "tpot_unread_ms"
AXES = ["execution", "attention", "precision", "workload", "batch_size"]
#: A wait under this share of a step changes no choice.
MIN_SHARE = 0.05
MOST_LISTED = 4


def wait_sentences(measurements: pd.DataFrame, summary: pd.DataFrame) -> Iterator[str]:
    """Per device and model where the wait is over MIN_SHARE of a step: which cells wait most, and how their
    attention backends compare without it. summary: `with_cards`."""
    timed = _times(measurements, summary)
    timed = timed.assign(wait=timed[READ] / timed[UNREAD])
    for (_, model), own in timed.groupby(["device_name", "model"], sort=False):
        waiting = own[own["wait"] > 1 + MIN_SHARE].sort_values("wait", ascending=False, kind="stable")
        if waiting.empty:
            continue
        varying = split_axes(own, AXES)[1] or ["precision"]
        most = [
            f"{row_label(row, varying)} {change(row['wait'])} ({number(row[READ])} against {number(row[UNREAD])} ms)"
            for _, row in waiting.head(MOST_LISTED).iterrows()
        ]
        more = f"; and {len(waiting) - len(most)} more" if len(waiting) > len(most) else ""
        label = model_label(model, own["model_source"].iloc[0])
        yield (
            f"{label}: over {100 * MIN_SHARE:.0f}% longer a token in {len(waiting)} of"
            f" {counted(len(own), 'captured combination')}: {'; '.join(most)}{more}."
        )
        yield from (f"{label}: {sentence}" for sentence in _without_it(own, waiting.index))


def _times(measurements: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """The captured cells of the summary whose unread steps were timed, with the centres of both times in ms over
    their valid replicates."""
    cells = summary[summary["valid"] & summary["execution"].isin(CAPTURED)]
    rows = summarised_rows(measurements[measurements[UNREAD].notna()], cells)
    cells = cells[cells["cell"].isin(rows["cell"])].reset_index(drop=True)
    code = pd.Index(cells["cell"]).get_indexer(rows["cell"])
    return cells.assign(
        **{
            time: statistics.centre(statistics.stack(rows[time].to_numpy(float), code, len(cells)))
            for time in (READ, UNREAD)
        }
    )


def _without_it(own: pd.DataFrame, waiting: pd.Index) -> Iterator[str]:
    """Pairs of attention backends of which one waits: their ratio with and without the wait."""
    reference = own["attention"].iloc[0]
    alike = [axis for axis in AXES if axis != "attention"]
    own = own.assign(waits=own.index.isin(waiting))
    pairs = own.merge(own[own["attention"] == reference], on=alike, suffixes=("", "_base"))
    pairs = pairs[(pairs["attention"] != reference) & (pairs["waits"] | pairs["waits_base"])]
    for attention, these in pairs.groupby("attention", sort=False):
        varying = split_axes(these, alike)[1]
        told = []
        for _, row in these.iterrows():
            unread, read = (change(row[f"{time}_base"] / row[time]) for time in (UNREAD, READ))
            words = of_pair(row, UNREAD).words
            told.append(f"{row_label(row, varying)} {unread} ({words}; read: {read})".lstrip())
        yield f"attention {attention} instead of {reference}, decode speed of unread tokens: {'; '.join(told)}."
