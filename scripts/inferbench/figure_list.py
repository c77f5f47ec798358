"""The figures of a campaign, in the order of the report. The one list: rules, report and reviewer use it."""

from __future__ import annotations

from collections.abc import Iterable
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
        "ranking",
        "plot_ranking",
        "Every combination, fastest first",
        "Decode tokens per second of the whole batch, for the smallest and the largest batch size of each model and "
        "workload. Large marks are centres across replicates, small ones below them the replicates (fresh processes); "
        "bars are 95% intervals, where there are 3 replicates or more; of compiled cells, whose replicates share one "
        "compilation, there are none. Hollow marks carry a flag that forbids ranking.",
        "Answer",
    ),
    Figure(
        "precision",
        "plot_precision",
        "Memory and decode speed by precision",
        "What a precision costs in memory and gives in speed, all else held at the baseline's setting; where that is not "
        "captured and several precisions ran captured, these are below it on the same scale. Points are replicates "
        "(fresh processes); whiskers, where there are 3 replicates or more, are 95% intervals, which compiled cells do not "
        "have. Hollow bars and points carry a flag that forbids ranking them.",
        "Precision",
    ),
    Figure(
        "throughput",
        "plot_throughput",
        "Decode throughput against batch size",
        "Tokens per second of the whole batch while decoding. Large marks are centres across replicates, "
        "small ones the replicates, whiskers 95% intervals, which compiled cells do not have; hollow marks carry a flag "
        "that forbids ranking.",
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
        "context",
        "plot_context",
        "Prefill and decode speed by context",
        "What longer prompts cost: left, tokens of the prompt per second until the first token; right, tokens per "
        "second after it, when every step reads the keys and values of all tokens before. Of the whole batch; "
        "marks are centres across replicates, whiskers 95% intervals, hollow marks carry a flag that forbids ranking.",
        "Context",
    ),
    Figure(
        "grid",
        "plot_grid",
        "The whole grid",
        "Decode tokens per second of every declared cell. Grey, hatched cells did not end ok and say what "
        "became of them; white, framed cells carry a flag that forbids ranking; blank ones are not declared.",
        "Grid",
    ),
    Figure(
        "roofline",
        "plot_roofline",
        "How close each cell comes to its device",
        "Decoding is bound by memory: bytes that a step must move (weights, keys and values of the mean context) per "
        "second, against the best copy and read bandwidths that processes measured on the same card. Prefill of a long "
        "prompt is bound by arithmetic and stands against the measured matrix rate; of a short one the host sets the "
        "time, which launches its kernels one by one in every mode. A cross marks cells in which no "
        "kernel runs for over a fifth of a step: there the host, and not the precision, sets the speed. At "
        "large batches a step computes more, and the share of the bandwidth falls for that reason.",
        "Hardware",
    ),
    Figure(
        "breakdown",
        "plot_breakdown",
        "Where a decode step spends its time",
        "Kernel times of one profiled step by class; gaps are the part of an unprofiled step in which no "
        "kernel runs; the wait is what a token takes beyond that step when it is read before the next is "
        "started, as a stream is. Eager attention is matrix products and other kernels. Profiling itself is outside "
        "the timed region and slows kernels a little: they can come to more than 100% of the unprofiled step.",
        "Hardware",
    ),
    Figure(
        "memory",
        "plot_memory",
        "Memory: predicted, and measured",
        "Left, each cell's memory as predicted from shapes before the run, against that of its process. Right, "
        "each figure of memory by itself, at the setting named: weights counted from their storages, the KV "
        "cache as held and by formula, what torch allocated and reserved, and the driver's figure of the "
        "process; on a CPU the resident memory of the process.",
        "Memory",
    ),
    Figure(
        "spending",
        "plot_spending",
        "How the device's time was spent",
        "Seconds of the measuring processes by stage: all replicates of the campaign together, and the mean "
        "replicate of each execution and precision.",
        "Time",
    ),
)

#: Files of another campaign that this one can stand beside.
OF_ANOTHER = ("measurements.parquet", "provenance.json")
#: Drawn where a campaign names others to stand beside, from its measurements and theirs.
BESIDE = Figure(
    "beside",
    "plot_beside",
    "Decode speed beside other campaigns",
    "Geometric mean of a cell's replicates here over that in the other campaign, with its 95% interval where both have "
    "3 replicates or more; logarithmic axis. Inside the grey band (1%) nothing is a finding.",
    "Other campaigns",
)

#: Drawn from an experiment's table and samples, and the campaign's summary.
EXPERIMENT_FIGURES: dict[str, tuple[Figure, ...]] = {
    "quality": (
        Figure(
            "quality",
            "plot_quality",
            "Quality, speed and memory: which precisions are worth having",
            "Each precision's mean KL divergence from the reference over a fixed text, against its decode speed and "
            "its memory at the baseline's setting. A precision is dominated (grey) when another is at least as good "
            "in all three and better in one, speeds within 1% taken as equal. Below a dotted line, where there is one: "
            "no divergence at all. Whiskers are 95% intervals, of the divergence over windows of the text.",
            "Quality",
        ),
    ),
    "sampling": (
        Figure(
            "sampling",
            "plot_sampling",
            "Diversity against likelihood, by sampling strategy",
            "Left, the share of pairs of neighbouring tokens that are distinct, over all texts of a strategy; right, the "
            "BLEU of a text against the other seeds of its prompt (100: all the same). Both against the mean "
            "negative log-probability of the texts' tokens under the model itself, without temperature or filters; "
            "logarithmic axis.",
            "Sampling",
        ),
    ),
    "batching": (
        Figure(
            "batching",
            "plot_batching",
            "One by one, and as a batch",
            "Left, tokens per second of all prompts together, prefill included, against what one user sees after the "
            "first token: hollow marks are prompts served one by one, filled ones batches, with their sizes. Right, how "
            "many times as fast the batch is as the same prompts one by one; whiskers, where there are 3 replicates "
            "or more, are 95% intervals.",
            "Batching",
        ),
    ),
    "kv_cache": (
        Figure(
            "kv_cache",
            "plot_kv_cache",
            "What the cache of keys and values is worth",
            "Left, the time of a decode step against the tokens it attends to: points are medians of a replicate's "
            "steps, lines the straight lines fitted to them, whose slopes, with 95% intervals, stand above. Without a "
            "cache every step runs the whole sequence again. Right, bytes of the cache as held (points) and by formula "
            "(lines).",
            "KV cache",
        ),
    ),
    "streaming": (
        Figure(
            "streaming",
            "plot_streaming",
            "What the reader of a stream sees",
            "Times between tokens as the reader of a stream, another thread, sees them, and in the same run without "
            "streaming as the decoding thread does. Left, over the sequence: lines are medians of all rounds and "
            "replicates, bands reach from the smallest to the largest; the longest are named where they leave the "
            "panel. Right, their distribution: the latency within which a share of the tokens came.",
            "Streaming",
        ),
    ),
    "speculative": (
        Figure(
            "speculative",
            "plot_speculative",
            "What speculative decoding is worth",
            "Left, speed over plain decoding of the same model in the same process, measured and as expected from "
            "acceptance and costs. Right, what a proposal and its check cost in plain steps against the share of "
            "examined tokens that is accepted; a curve is what a pass gives at a "
            "draft length (k), so a point below its own curve is worth its cost.",
            "Speculative decoding",
        ),
    ),
}


def drawn_from(experiments: Iterable[str]) -> list[tuple[Figure, dict[str, str]]]:
    """Every figure of a campaign that declares these experiments, with the tables that it is drawn from: file
    names by the option of its script."""
    grid = {"measurements": "measurements.parquet", "summary": "summary.parquet"}
    found = [(figure, grid) for figure in FIGURES]
    for name in experiments:
        own = {
            "table": f"{name}.parquet",
            "samples": f"{name}-samples.parquet",
            "summary": "summary.parquet",
        }
        found += [(figure, own) for figure in EXPERIMENT_FIGURES[name]]
    return found


def figure_files(figures: Iterable[Figure]) -> list[str]:
    """The files of these figures, as a campaign's folder holds them."""
    return [f"figures/{figure.name}{suffix}" for figure in figures for suffix in SUFFIXES]
