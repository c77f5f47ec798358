"""Intervals, comparisons and findings from replicates: pure functions on arrays of numbers.

One number per replicate, the median of its iterations: iterations inside one process share its
memory layout, clocks and caches, so only processes are independent samples (Georges, Buytaert and
Eeckhout, "Statistically rigorous Java performance evaluation", OOPSLA 2007; Kalibera and Jones,
"Rigorous benchmarking in reasonable time", ISMM 2013). Everything is computed on logs: speeds and
times are positive, vary by percentages, and a ratio of two cells is a difference of logs.

A *table of replicates* is an array (rows, replicates), one row per cell, NaN where a replicate is
absent. A row with a value of zero or less has no log, so it has no centre either.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
#: Below this many processes there is no interval and no comparison, only the points.
MIN_REPLICATES = 3
#: From this many on the interval comes from a bootstrap, which asks for no normal distribution.
MIN_BOOTSTRAP = 6
#: A difference smaller than this share is never a finding, however small its p-value.
MIN_DIFFERENCE = 0.01

TOO_FEW = "too few replicates"
#: Of cells whose replicates share a compilation: three compilations of one cell gave 152, 157 and 163 tokens/s, where
#: the replicates of each lay within 1%. They are one draw of what varies, however many there are.
SHARED_COMPILATION = "shared compilation"

_RESAMPLES = 3999  # both ends are order statistics then: 0.025 x (3999 + 1) = the 100th
_SEED = 20240229
_CHUNK = 256  # rows bootstrapped at a time, 8 MB of resamples
#: Resamples may repeat one value nearly n times. Their spread is taken as at least this share of the
#: sample's, else one outlier among equal values gives an interval without end. Coverage is the same.
_SPREAD_FLOOR = 0.2


class Interval(NamedTuple):
    """Mean of each row and its 95% interval, in the unit of the values."""

    centre: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Comparison(NamedTuple):
    """Ratio of two cells' geometric means, its 95% interval, and the two-sided p-value of no difference."""

    ratio: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray


class Drift(NamedTuple):
    """Trend of a metric with start time, each cell compared with itself only."""

    tau: float  #: pairs that rise less pairs that fall, as a share of all pairs: -1 to 1
    percent_per_hour: float
    p: float
    pairs: int  #: pairs of replicates of one cell
    longest_h: float  #: between the starts of the furthest pair


def stack(values: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """The table of replicates (count, most replicates) of values (n,) that belong to rows (n,)."""
    order = np.argsort(rows, kind="stable")
    sizes = np.bincount(rows, minlength=count)
    first = np.cumsum(sizes) - sizes
    table = np.full((count, sizes.max(initial=0)), np.nan)
    table[rows[order], np.arange(len(rows)) - first[rows[order]]] = np.asarray(values, float)[order]
    return table


def centre(values: np.ndarray) -> np.ndarray:
    """Geometric mean of each row of a table of replicates (rows, replicates), in the unit of the values."""
    return np.exp(_moments(_logs(values))[1])


def interval(values: np.ndarray) -> Interval:
    """Centre and 95% interval of each row of a table of replicates (rows, replicates).

    From 3 to 5 replicates Student's t on the logs, from 6 on a studentised bootstrap of them; the
    ends are NaN under 3.
    """
    return Interval(*(np.exp(part) for part in mean_interval(_logs(values))))


def mean_interval(values: np.ndarray) -> Interval:
    """As `interval`, of the arithmetic mean of each row: for numbers that may be 0 or negative."""
    n, mean, variance = _moments(values)
    low, high = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        half = stdtrit(n - 1, 0.5 + CONFIDENCE / 2) * np.sqrt(variance / n)
    by_t = (n >= MIN_REPLICATES) & (n < MIN_BOOTSTRAP)
    low[by_t], high[by_t] = (mean - half)[by_t], (mean + half)[by_t]
    packed = np.sort(values, axis=1)  # NaN last, and the order of replicates cannot matter
    for size in np.unique(n[n >= MIN_BOOTSTRAP]):
        rows = np.flatnonzero(n == size)
        shares = np.random.default_rng(_SEED).multinomial(size, [1 / size] * size, size=_RESAMPLES) / size
        for part in np.split(rows, range(_CHUNK, len(rows), _CHUNK)):
            low[part], high[part] = _bootstrap(packed[part, :size], shares)
    return Interval(mean, low, high)


def compare(values: np.ndarray, baseline: np.ndarray) -> Comparison:
    """Each row of one table of replicates over the same row of another: (rows, any), (rows, any).

    Welch's t test on the logs: B. L. Welch, "The generalization of 'Student's' problem when several
    different population variances are involved", Biometrika 34 (1947), with Satterthwaite's degrees
    of freedom. Interval and p are NaN where either side has under 3 replicates; the ratio stands.
    """
    n_a, mean_a, variance_a = _moments(_logs(values))
    n_b, mean_b, variance_b = _moments(_logs(baseline))
    difference = mean_a - mean_b
    with np.errstate(invalid="ignore", divide="ignore"):
        part_a, part_b = variance_a / n_a, variance_b / n_b
        error = np.sqrt(part_a + part_b)
        freedom = (part_a + part_b) ** 2 / (part_a**2 / (n_a - 1) + part_b**2 / (n_b - 1))
    return _comparison(difference, error, freedom, np.minimum(n_a, n_b) < MIN_REPLICATES)


def compare_over_cards(values: np.ndarray, baseline: np.ndarray, rows: np.ndarray, count: int) -> Comparison:
    """As `compare`, for `count` cells whose replicates ran on several cards, each with the baseline's.

    values, baseline: (pairs, any), what one cell and its baseline gave on one card; rows: (pairs,), the cell.
    The analysis of variance of two treatments in blocks of unequal size, a card being a block: only
    differences within a card count, weighted by how many replicates they rest on, so that how fast the cards
    are does not matter. With one replicate of both on each card it is the paired t test. G. W. Snedecor and
    W. G. Cochran, "Statistical Methods", 8th ed. (1989), chapters 14 and 20. Interval and p are NaN where a
    side has under 3 replicates or one degree of freedom is left.
    """
    n_a, mean_a, variance_a = _moments(_logs(values))
    n_b, mean_b, variance_b = _moments(_logs(baseline))

    def total(numbers: np.ndarray) -> np.ndarray:
        return np.bincount(rows, np.nan_to_num(numbers), minlength=count)

    difference, weight = mean_a - mean_b, n_a * n_b / (n_a + n_b)
    freedom = total(n_a + n_b) - np.bincount(rows, minlength=count) - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total(weight * difference) / total(weight)
        within = total((n_a - 1) * variance_a) + total((n_b - 1) * variance_b)
        between = total(weight * (difference - mean[rows]) ** 2)
        error = np.sqrt((within + between) / freedom / total(weight))
    too_few = (np.minimum(total(n_a), total(n_b)) < MIN_REPLICATES) | (freedom < 2)
    return _comparison(mean, error, freedom, too_few)


def _comparison(
    difference: np.ndarray, error: np.ndarray, freedom: np.ndarray, too_few: np.ndarray
) -> Comparison:
    """From differences of logs, their standard errors and degrees of freedom, all (n,)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * stdtr(freedom, -np.abs(difference) / error)
        half = stdtrit(freedom, 0.5 + CONFIDENCE / 2) * error
    exact = error == 0  # no replicate differs from another: the ratio is known, 0 / 0 is not
    p[exact], half[exact] = (difference[exact] == 0).astype(float), 0.0
    p[too_few] = half[too_few] = np.nan
    return Comparison(np.exp(difference), np.exp(difference - half), np.exp(difference + half), p)


def adjust(p: np.ndarray) -> np.ndarray:
    """P-values (n,) adjusted for the false discovery rate; a NaN is no test and stays NaN.

    Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate", J. R. Stat. Soc. B 57 (1995).
    """
    adjusted = np.full(len(p), np.nan)
    tests = np.flatnonzero(~np.isnan(p))
    falling = tests[np.argsort(-p[tests], kind="stable")]
    ranks = np.arange(len(falling), 0, -1)
    adjusted[falling] = np.minimum(1.0, np.minimum.accumulate(p[falling] * len(falling) / ranks))
    return adjusted


def classify(comparison: Comparison, p_adjusted: np.ndarray, better: str | np.ndarray) -> np.ndarray:
    """What each comparison (n,) says: faster, slower, same, unclear, or too few replicates.

    A finding (faster, slower) needs an adjusted p of 5% and a ratio at least 1% from 1; `same` needs
    the whole interval within 1%, so that a noisy null result is `unclear` and not `same`.
    `better` is 'higher' or 'lower', one for all or one each.
    """
    ratio, low, high, _ = comparison
    found = (p_adjusted <= SIGNIFICANCE) & (np.abs(ratio - 1) >= MIN_DIFFERENCE)
    same = (low >= 1 - MIN_DIFFERENCE) & (high <= 1 + MIN_DIFFERENCE)
    faster = (ratio > 1) == (np.asarray(better) == "higher")
    choices = [np.isnan(p_adjusted), found & faster, found, same]
    return np.select(choices, [TOO_FEW, "faster", "slower", "same"], "unclear").astype(object)


def drift(values: np.ndarray, cells: np.ndarray, hours: np.ndarray) -> Drift:
    """Whether values (n,) trend with their start times in hours (n,), within each of cells (n,).

    The seasonal Kendall test with the cell as season, so cells may differ in level and in noise:
    R. M. Hirsch, J. R. Slack and R. A. Smith, "Techniques of trend analysis for monthly water quality
    data", Water Resources Research 18 (1982). It sums Kendall's rank statistic over the cells; the
    slope is the median over pairs within cells. Ties count for neither side and do not lower the
    variance, which makes the p-value larger. NaN where no cell has two replicates.
    """
    _, rows = np.unique(cells, return_inverse=True)
    count = rows.max(initial=-1) + 1
    timed = np.where(np.isnan(hours), np.nan, values)
    logs, times = _logs(stack(timed, rows, count)), stack(hours, rows, count)
    n = (~np.isnan(logs)).sum(axis=1)
    sizes = np.bincount(rows, minlength=count)
    rise, later = _between_pairs(logs, sizes), _between_pairs(times, sizes)
    rise, later = rise[~np.isnan(rise)], later[~np.isnan(rise)]
    pairs = len(rise)
    if pairs == 0:
        return Drift(np.nan, np.nan, np.nan, 0, np.nan)
    score = np.sum(np.sign(rise) * np.sign(later))
    variance = np.sum(n * (n - 1) * (2 * n + 5)) / 18
    z = max(abs(score) - 1, 0) / np.sqrt(variance)  # 1: the continuity correction
    apart = later != 0
    slope = np.median(rise[apart] / later[apart]) if apart.any() else np.nan
    longest = float(np.abs(later).max())
    return Drift(float(score / pairs), float(100 * np.expm1(slope)), float(2 * ndtr(-z)), pairs, longest)


def _between_pairs(table: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The second less the first of each pair in the first `sizes` columns of each row, all in one: (pairs,)."""
    parts = [np.zeros(0)]
    # Rows of one size together: one row of many replicates must not widen the pairs of all.
    for size in np.unique(sizes):
        first, second = np.triu_indices(size, k=1)
        own = table[sizes == size]
        parts.append((own[:, second] - own[:, first]).ravel())
    return np.concatenate(parts)


def _logs(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    positive = ~(values <= 0).any(axis=1, keepdims=True)
    return np.log(np.where(positive, values, np.nan))


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean and variance (n - 1) of each row; NaN where the count is too small for it."""
    n = (~np.isnan(values)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(values, axis=1) / n
        variance = np.nansum((values - mean[:, None]) ** 2, axis=1) / (n - 1)
    variance[n < 2] = np.nan
    return n, mean, variance


def _bootstrap(values: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the studentised bootstrap interval of each row's mean: (rows, n) -> (rows,), (rows,).

    `shares` (resamples, n) is how much of each resample is each of the n values.

    B. Efron and R. J. Tibshirani, "An introduction to the bootstrap" (1993), section 12.5. Chosen by
    simulation, 20 000 samples of 6 logs: where they are normal it covers in 95%, the expanded percentile
    bootstrap in 93%, BCa and percentile in 86%; where they are exponential in 93%, 89%, 83% and 81%, and
    Student's t in 89%. The seed is fixed: the same values give the same interval.
    """
    n = values.shape[1]
    mean, spread = values.mean(axis=1, keepdims=True), values.std(axis=1, ddof=1, keepdims=True)
    scores = (values - mean) / np.where(spread > 0, spread, 1.0)
    means = scores @ shares.T
    variances = (scores**2 @ shares.T - means**2) * n / (n - 1)
    t = means / np.sqrt(np.maximum(variances, _SPREAD_FLOOR**2))
    tail = round((_RESAMPLES + 1) * (1 - CONFIDENCE) / 2)
    t.partition([tail - 1, _RESAMPLES - tail], axis=1)
    low = mean[:, 0] - t[:, _RESAMPLES - tail] * spread[:, 0]
    high = mean[:, 0] - t[:, tail - 1] * spread[:, 0]
    return low, high
