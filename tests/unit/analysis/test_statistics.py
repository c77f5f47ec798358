"""The statistics against hand-worked numbers, against scipy, and against simulations with known truth."""

import numpy as np
import pytest
from scipy import stats

from inferbench.analysis import statistics

TRUTH = 100.0


def simulated(rng, cells, replicates, process_noise, centre=TRUTH, skewed=False):
    """Median of 15 iterations per process; processes differ by `process_noise`, iterations by twice that."""
    shape = (cells, replicates)
    offset = rng.exponential(size=shape) - 1 if skewed else rng.normal(size=shape)
    iterations = rng.normal(size=(*shape, 15)) * 2 * process_noise
    return centre * np.exp(process_noise * offset + np.median(iterations, axis=2))


def coverage(values):
    _, low, high = statistics.interval(values)
    return np.mean((low <= TRUTH) & (high >= TRUTH))


def findings(values, baseline, better="higher"):
    comparison = statistics.compare(values, baseline)
    return statistics.classify(comparison, statistics.adjust(comparison.p), better)


# --- worked by hand


def test_t_interval_of_three_processes():
    # logs -0.01, 0, 0.01 about log 100: mean 0, s = 0.01, t(2 df, 97.5%) = 4.302653,
    # half width 4.302653 x 0.01 / sqrt(3) = 0.0248414: exp(-+) = 0.9754646 and 1.0251525
    centre, low, high = statistics.interval(100 * np.exp([[-0.01, 0.0, 0.01]]))
    assert centre[0] == pytest.approx(100)
    assert low[0] == pytest.approx(97.54646, rel=1e-6)
    assert high[0] == pytest.approx(102.51525, rel=1e-6)


def test_the_interval_of_a_mean_takes_zeros_and_negative_numbers():
    # -1, 0, 4 about 1: s = sqrt((4 + 1 + 9) / 2), t(2 df, 97.5%) = 4.302653
    centre, low, high = statistics.mean_interval(np.array([[-1.0, 0.0, 4.0], [0.0, 0.0, 0.0]]))
    half = 4.302653 * np.sqrt(7 / 3)
    assert centre.tolist() == [1, 0]
    assert [low[0], high[0]] == pytest.approx([1 - half, 1 + half], rel=1e-6)
    assert (low[1], high[1]) == (0, 0)


def test_no_interval_under_three_replicates():
    centre, low, high = statistics.interval(np.array([[90.0, 40.0], [50.0, np.nan], [np.nan, np.nan]]))
    assert centre[:2] == pytest.approx([60.0, 50.0])  # sqrt(90 x 40)
    assert np.isnan(centre[2]) and np.isnan(low).all() and np.isnan(high).all()


def test_absent_replicates_do_not_count_and_a_zero_has_no_log():
    padded = statistics.interval(np.array([[10.0, np.nan, 11.0, 12.0], [10.0, 0.0, 11.0, 12.0]]))
    alone = statistics.interval(np.array([[10.0, 11.0, 12.0]]))
    assert [column[0] for column in padded] == pytest.approx([column[0] for column in alone])
    assert all(np.isnan(column[1]) for column in padded)


def test_stack_puts_values_in_the_rows_they_belong_to():
    table = statistics.stack(np.array([1.0, 2.0, 3.0]), np.array([2, 0, 2]), 3)
    np.testing.assert_array_equal(table, [[2, np.nan], [np.nan, np.nan], [1, 3]])


def test_bootstrap_is_deterministic_and_blind_to_order():
    values = 100 * np.exp([[0.01, -0.02, 0.005, 0.03, -0.01, 0.0]])
    once, again = statistics.interval(values), statistics.interval(values[:, ::-1])
    np.testing.assert_array_equal(once, again)
    assert once.low[0] < 100.2 < once.high[0]


def test_one_outlier_among_equal_processes_keeps_a_finite_interval():
    _, low, high = statistics.interval(np.array([[100.0] * 5 + [90.0], [100.0] * 6]))
    assert 80 < low[0] < 98 and 100 < high[0] < 120
    assert low[1] == high[1] == pytest.approx(100)


def test_welch_equals_scipy():
    rng = np.random.default_rng(1)
    a, b = rng.lognormal(3, 0.1, size=(20, 4)), rng.lognormal(3.1, 0.02, size=(20, 3))
    ours = statistics.compare(a, b)
    theirs = stats.ttest_ind(np.log(a), np.log(b), axis=1, equal_var=False)
    low, high = theirs.confidence_interval(0.95)
    np.testing.assert_allclose(ours.p, theirs.pvalue)
    np.testing.assert_allclose(ours.ratio, stats.gmean(a, axis=1) / stats.gmean(b, axis=1))
    np.testing.assert_allclose([ours.low, ours.high], np.exp([low, high]))


def test_a_comparison_needs_three_replicates_on_both_sides():
    three, two = np.array([[10.0, 10.1, 10.2]]), np.array([[5.0, 5.1, np.nan]])
    for comparison in (statistics.compare(three, two), statistics.compare(two, three)):
        assert np.isfinite(comparison.ratio[0])
        assert np.isnan([comparison.low[0], comparison.high[0], comparison.p[0]]).all()
    assert findings(three, two) == ["too few replicates"]


def test_over_cards_equals_least_squares_with_a_term_for_each_card():
    """Independent of the formulas: the design matrix written out, unequal numbers of replicates."""
    rng = np.random.default_rng(5)
    sizes = [(2, 1), (1, 3), (1, 1)]  # of the cell and its baseline on three cards
    sides = [[rng.lognormal(size=size) for size in pair] for pair in sizes]
    table = [[np.pad(side, (0, 3 - len(side)), constant_values=np.nan) for side in pair] for pair in sides]
    values, baseline = np.array([pair[0] for pair in table]), np.array([pair[1] for pair in table])
    found = statistics.compare_over_cards(values, baseline, np.zeros(3, int), 1)

    design, response = [], []
    for card, pair in enumerate(sides):
        for treated, side in zip((1.0, 0.0), pair, strict=True):
            for value in side:
                design.append([treated, *(float(card == other) for other in range(3))])
                response.append(np.log(value))
    design, response = np.array(design), np.array(response)
    inverse = np.linalg.inv(design.T @ design)
    coefficient = inverse @ design.T @ response
    freedom = len(response) - 4
    error = np.sqrt(np.sum((response - design @ coefficient) ** 2) / freedom * inverse[0, 0])
    half = stats.t.ppf(0.975, freedom) * error
    expected = np.exp(coefficient[0] + np.array([0, -half, half]))
    assert [found.ratio[0], found.low[0], found.high[0]] == pytest.approx(list(expected))
    assert found.p[0] == pytest.approx(2 * stats.t.sf(abs(coefficient[0]) / error, freedom))


def test_over_cards_keeps_cells_apart_and_needs_three_replicates_of_both():
    enough, few = [100.0, 100.0, 100.0], [100.0, 100.0]
    values = np.array([[80.0], [81.0], [79.0], [50.0], [51.0]])
    baseline = np.array([[rate] for rate in enough + few])
    found = statistics.compare_over_cards(values, baseline, np.array([0, 0, 0, 1, 1]), 2)
    assert found.ratio == pytest.approx([0.8, 0.505], rel=1e-3)
    assert found.p[0] < 0.01 and np.isnan(found.p[1]) and np.isnan(found.low[1])


def test_replicates_that_do_not_differ_at_all():
    comparison = statistics.compare(np.full((1, 3), 20.0), np.array([[10.0] * 3]))
    assert [column[0] for column in comparison] == pytest.approx([2.0, 2.0, 2.0, 0.0])
    assert statistics.compare(np.full((1, 3), 10.0), np.full((1, 3), 10.0)).p == [1.0]


def test_benjamini_hochberg_on_the_example_of_their_paper():
    # Benjamini and Hochberg (1995), section 4.1: 15 p-values, of which 5% FDR rejects the first four.
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    p = np.array([*p, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0])
    adjusted = statistics.adjust(p)
    assert (adjusted <= 0.05).tolist() == [True] * 4 + [False] * 11
    # by hand: 0.0001 x 15 / 1, 0.0004 x 15 / 2, 0.0019 x 15 / 3, 0.0095 x 15 / 4
    assert adjusted[:4] == pytest.approx([0.0015, 0.003, 0.0095, 0.035625])
    np.testing.assert_allclose(adjusted, stats.false_discovery_control(p))


def test_what_was_not_tested_does_not_count_as_a_test():
    adjusted = statistics.adjust(np.array([0.04, np.nan, 0.01]))
    assert adjusted[[0, 2]] == pytest.approx([0.04, 0.02]) and np.isnan(adjusted[1])


def test_a_difference_under_one_percent_is_never_a_finding():
    exact = 100 * np.exp(1e-6 * np.array([[-1.0, 0.0, 1.0]]))
    ratios = np.array([0.985, 0.9899, 0.9905, 1.0, 1.0095, 1.0101, 1.015])
    values = ratios[:, None] * exact
    expected = ["slower", "slower", "same", "same", "same", "faster", "faster"]
    assert findings(values, exact.repeat(7, axis=0)).tolist() == expected


def test_for_a_time_lower_is_faster():
    exact = 100 * np.exp(1e-6 * np.array([[-1.0, 0.0, 1.0]]))
    assert findings(exact * 0.9, exact, "lower") == ["faster"]
    assert findings(exact * 0.9, exact, "higher") == ["slower"]


def test_a_noisy_null_result_is_unclear_and_not_the_same():
    assert findings(np.array([[95.0, 100.0, 105.0]]), np.array([[95.0, 100.0, 105.0]])) == ["unclear"]


def test_drift_by_hand():
    # Cell 0 rises 3 of 3 pairs, cell 1 of 2 rises 1 of 1: S = 4 of 4 pairs.
    # Variance 3 x 2 x 11 / 18 + 2 x 1 x 9 / 18 = 4.6667, z = (4 - 1) / 2.1602 = 1.3887, p = 0.16491
    hours = np.array([0.0, 1.0, 2.0, 0.5, 1.5])
    values = np.array([10.0, 10.1, 10.201, 500.0, 505.0])  # each 1% per hour
    tau, slope, p, pairs, longest = statistics.drift(values, np.array([0, 0, 0, 1, 1]), hours)
    assert (tau, pairs, longest) == (1.0, 4, 2.0)
    assert slope == pytest.approx(1.0)
    assert p == pytest.approx(0.16491, abs=1e-4)


def test_drift_of_one_cell_is_kendalls_tau():
    rng = np.random.default_rng(2)
    values, hours = rng.lognormal(size=40), rng.random(40)
    assert statistics.drift(values, np.zeros(40), hours).tau == pytest.approx(
        stats.kendalltau(values, hours)[0]
    )


def test_drift_without_two_replicates_of_a_cell_is_not_tested():
    assert np.isnan(statistics.drift(np.array([1.0, 2.0]), np.array([0, 1]), np.array([0.0, 1.0])).p)
    assert statistics.drift(np.array([1.0, 2.0]), np.array([0, 0]), np.array([0.0, np.nan])).pairs == 0


# --- simulated


@pytest.mark.parametrize("replicates", [3, 4, 5, 6, 8, 10])
def test_the_interval_covers_the_truth_in_95_percent(replicates):
    values = simulated(np.random.default_rng(replicates), 4000, replicates, process_noise=0.005)
    assert 0.93 <= coverage(values) <= 0.97


def test_the_bootstrap_holds_where_processes_are_skewed():
    # Some processes are slow and none is fast: Student's t covers 89%, a percentile bootstrap 81%.
    values = simulated(np.random.default_rng(7), 4000, 6, process_noise=0.02, skewed=True)
    assert 0.92 <= coverage(values) <= 0.97


@pytest.mark.parametrize("replicates", [3, 5])
def test_a_campaign_without_differences_has_a_finding_in_at_most_5_percent(replicates):
    # 2% noise: differences beyond 1% come up by chance, so it is the p-value that must hold.
    rng = np.random.default_rng(11)
    with_finding = 0
    for _ in range(1500):
        values = simulated(rng, 20, replicates, process_noise=0.02)
        found = findings(values[1:], values[:1].repeat(19, axis=0))
        with_finding += np.isin(found, ["faster", "slower"]).any()
    assert with_finding / 1500 <= 0.05


def test_among_real_differences_at_most_5_percent_of_findings_are_false():
    rng = np.random.default_rng(13)
    shift = np.where(np.arange(19) < 6, 1.2, 1.0)[:, None]
    shares = []
    for _ in range(1500):
        values = simulated(rng, 20, 5, process_noise=0.02)
        found = np.isin(findings(values[1:] * shift, values[:1].repeat(19, axis=0)), ["faster", "slower"])
        shares.append(found[6:].sum() / max(found.sum(), 1))
    assert np.mean(shares) <= 0.05


def test_3_percent_at_half_a_percent_of_noise_is_found_with_3_replicates():
    rng = np.random.default_rng(17)
    comparison = statistics.compare(
        TRUTH * 1.03 * np.exp(0.005 * rng.normal(size=(5000, 3))),
        TRUTH * np.exp(0.005 * rng.normal(size=(5000, 3))),
    )
    found = statistics.classify(comparison, comparison.p, "higher")  # two cells: one test, nothing to adjust
    assert np.mean(found == "faster") >= 0.90


@pytest.mark.parametrize("on_cards", [[(1, 1)] * 3, [(2, 1), (1, 2)], [(1, 2), (2, 1), (1, 1)]], ids=str)
def test_over_cards_the_interval_covers_the_truth_in_95_percent_however_unlike_the_cards_are(on_cards):
    rng = np.random.default_rng(23)
    cells = 4000
    speeds = np.exp(0.05 * rng.normal(size=(cells, len(on_cards), 1)))
    sides = []
    for side, centre in ((0, 1.03), (1, 1.0)):
        rates = TRUTH * centre * speeds * np.exp(0.005 * rng.normal(size=(cells, len(on_cards), 2)))
        for card, sizes in enumerate(on_cards):
            rates[:, card, sizes[side] :] = np.nan
        sides.append(rates.reshape(-1, 2))
    rows = np.repeat(np.arange(cells), len(on_cards))
    found = statistics.compare_over_cards(*sides, rows, cells)
    assert 0.93 <= np.mean((found.low <= 1.03) & (found.high >= 1.03)) <= 0.97


def test_drift_is_seen_through_cells_of_unlike_level_and_noise_and_not_seen_where_there_is_none():
    rng = np.random.default_rng(19)
    cells, block = np.tile(np.arange(20), 3), np.repeat(np.arange(3), 20)  # replicate by replicate
    hours = (np.arange(60) + rng.random(60)) / 20
    level, noise = 10.0 ** rng.uniform(0, 4, 20), rng.uniform(0.001, 0.02, 20)
    false, seen = [], []
    for _ in range(1000):
        values = level[cells] * np.exp(noise[cells] * rng.normal(size=60))
        false.append(statistics.drift(values, cells, hours).p <= 0.05)
        seen.append(statistics.drift(values * np.exp(0.01 * block), cells, hours).p <= 0.05)
    assert np.mean(false) <= 0.065  # 5% and two standard errors of 1000 campaigns
    assert np.mean(seen) >= 0.90
