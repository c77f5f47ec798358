"""The figures of a campaign, in the order of the report. The one list: rules, report and reviewer use it."""

from __future__ import annotations

from dataclasses import dataclass

#: Every figure is three files: the two pictures, and the data that were drawn.
SUFFIXES = (".svg", ".png", ".csv")


@dataclass(frozen=True)
class Figure:
    """A figure: `scripts/<script>.py` draws `figures/<name>.{svg,png,csv}`."""

    name: str
    script: str
    title: str
    caption: str
    category: str


FIGURES = (
    Figure(
        "precision",
        "plot_precision",
        "Memory and decode speed by precision",
        "What a precision costs in memory and gives in speed, all else held at the baseline's setting. "
        "Points are replicates (fresh processes); whiskers, where there are 3 replicates or more, are 95% "
        "intervals. Hollow bars and points carry a flag that forbids ranking them.",
        "Precision",
    ),
    Figure(
        "throughput",
        "plot_throughput",
        "Decode throughput against batch size",
        "Tokens per second of the whole batch while decoding. Large marks are centres across replicates, "
        "small ones the replicates, whiskers 95% intervals; hollow marks carry a flag that forbids ranking.",
        "Batch size",
    ),
    Figure(
        "latency",
        "plot_latency",
        "Time to first token and time per output token",
        "What one user waits: the time to first token (TTFT, prefill included) and the mean time per output "
        "token after it (TPOT). Marks as in the throughput figure.",
        "Batch size",
    ),
    Figure(
        "grid",
        "plot_grid",
        "The whole grid",
        "Decode tokens per second of every declared cell. Grey, hatched cells did not end ok and say what "
        "became of them; white, framed cells carry a flag that forbids ranking; blank ones are not declared.",
        "Grid",
    ),
)
