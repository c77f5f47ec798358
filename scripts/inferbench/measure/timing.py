"""When warm-up ends, and when enough has been timed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import mean, median, stdev

from inferbench.engines.protocol import Timeline
from inferbench.settings.job import MeasureConfig

#: Drift between the halves of the timed runs above which a process is noted as unstable, where warm-up drifted too.
UNSTABLE = 0.2
#: The slowest of the timed runs over the fastest above which it is, whatever warm-up was.
APART = 1.5


def warm_up(run: Callable[[], Timeline], settings: MeasureConfig) -> bool:
    """Run at the full shape until the running median is steady; whether it became so in the time and
    count that it may take."""
    seconds: list[float] = []
    while len(seconds) < settings.warmup_max_iterations and (
        sum(seconds) < settings.max_seconds or len(seconds) < settings.warmup_min_iterations
    ):
        timeline = run()
        seconds.append(timeline.duration_s)
        if len(seconds) >= settings.warmup_min_iterations and is_steady(seconds, settings.steady_tolerance):
            return True
    return False


def is_steady(seconds: list[float], tolerance: float) -> bool:
    """Whether the last two run times differ by less than `tolerance`, as do the medians of the last
    four when there are that many: one lucky pair does not end a long warm-up."""
    recent = seconds[-4:]
    half = len(recent) // 2
    return half > 0 and half_difference(recent) < tolerance


def half_difference(values: list[float]) -> float:
    """|median of the second half / median of the first half - 1|: drift inside one process."""
    half = len(values) // 2
    return abs(median(values[-half:]) / median(values[:half]) - 1) if half else 0.0


def came_to_rest(medians: list[float], steady: bool) -> bool:
    """Whether what a process timed was steady. medians: of the steps of each timed run, since one interrupted
    step is noise, not drift; steady: whether warm-up became so."""
    drifted = not steady and half_difference(medians) > UNSTABLE
    return not drifted and max(medians) <= APART * min(medians)


def timed(run: Callable[[], Timeline], settings: MeasureConfig) -> list[Timeline]:
    """Timed runs, until the minimum count and time are reached and the mean is known well enough,
    or the maximum of either."""
    timelines: list[Timeline] = []
    started = time.perf_counter()
    while len(timelines) < settings.max_iterations:
        timelines.append(run())
        elapsed = time.perf_counter() - started
        if elapsed >= settings.max_seconds and len(timelines) >= settings.min_iterations:
            break
        enough = len(timelines) >= settings.min_iterations and elapsed >= settings.min_seconds
        if (
            enough
            and relative_interval([timeline.duration_s for timeline in timelines])
            <= settings.target_relative_interval
        ):
            break
    return timelines


def relative_interval(values: list[float]) -> float:
    """Half width of the 95% interval of the mean as a share of it, by the normal approximation; it
    decides when to stop and is never reported: iterations of one process are not independent."""
    if len(values) < 2:
        return math.inf
    return 1.96 * stdev(values) / math.sqrt(len(values)) / mean(values)
