"""The experiment `streaming`: percentiles and overheads by hand, its section and its figure."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from experiment_jobs import experiment_table, measured
from inferbench.experiments.streaming import figures as plot_streaming
from inferbench.experiments.streaming import measure as experiment
from inferbench.experiments.streaming.section import section
from inferbench.experiments.streaming.settings import Settings as Streaming
from inferbench.experiments.streaming.table import latencies, overhead, rows, token_times


def samples_of(rounds):
    """Samples of rounds, each (times not streamed, times streamed) in ms; a token is seen 1 ms after it is made."""
    return pd.DataFrame(
        {
            "cell": "cell",
            "replicate": 1,
            "round": number,
            "streamed": streamed,
            "token": place,
            "made_ms": at - 1.0 if streamed else float(at),
            "seen_ms": float(at) if streamed else None,
        }
        for number, both in enumerate(rounds, start=1)
        for streamed, run in zip((False, True), both)
        for place, at in enumerate(run, start=1)
    )


#: Gaps of 10, 10, 20, 20 ms, streamed of 10, 20, 30, 40 ms: 60 and 100 ms from the first token to the last.
ROUND = ([100, 110, 120, 140, 160], [100, 110, 130, 160, 200])


def test_percentiles_of_known_gaps():
    runs = token_times(samples_of([ROUND]))
    seen = latencies(runs[runs["way"] == "streamed"])
    assert (seen["new_tokens"], seen["ttft_ms"], seen["run_ms"]) == (5, 100, 200)
    # Of 10, 20, 30, 40: p50 halfway from 20 to 30; p90 at 0.9 x 3 = 2.7, p99 at 2.97 of the way along them.
    found = [seen[f"itl_{name}_ms"] for name in ("p50", "p90", "p99", "max")]
    assert found == pytest.approx([25, 37, 39.7, 40])
    assert seen["itl_late_early"] == pytest.approx(35 / 15)
    assert (seen["handover_p50_ms"], seen["handover_p99_ms"]) == pytest.approx((1, 1))
    made = latencies(runs[runs["way"] == "not streamed"])
    assert (made["itl_p50_ms"], made["itl_max_ms"], made["run_ms"]) == (15, 20, 160)
    assert "handover_p50_ms" not in made


def test_gaps_do_not_reach_from_one_run_into_the_next():
    runs = token_times(samples_of([ROUND, ROUND]))
    assert runs["itl_ms"].isna().sum() == 4
    assert runs["itl_ms"].min() == 10


#: From the first token to the last 100 or 120 ms, of which the ratios are 1.2, 1 and 1 / 1.2: on logs, a mean of 0 and
#: a standard deviation of ln 1.2; Student's t for 2 degrees of freedom is 4.3027. When the first comes does not matter.
RATIOS = [([5, 9, 105], [70, 80, 190]), ([40, 60, 140], [5, 9, 105]), ([1, 2, 121], [7, 50, 107])]
HALF = 4.3027 * np.log(1.2) / 3**0.5
OF_RATIOS = [0, np.exp(-HALF) - 1, np.exp(HALF) - 1]


def test_the_overhead_of_a_job_is_that_of_its_pairs_with_an_interval_from_three_on():
    two = overhead(token_times(samples_of([ROUND] * 2).drop(columns="replicate")))
    assert two["overhead"] == pytest.approx(2 / 3) and np.isnan(two["overhead_low"])
    three = overhead(token_times(samples_of(RATIOS).drop(columns="replicate")))
    assert list(three.values()) == pytest.approx(OF_RATIOS, abs=1e-4)


def test_the_overhead_of_several_replicates_counts_each_of_them_once():
    each = [samples_of([pair] * 4).assign(replicate=place) for place, pair in enumerate(RATIOS, start=1)]
    found = overhead(token_times(pd.concat(each)))
    assert list(found.values()) == pytest.approx(OF_RATIOS, abs=1e-4)
    assert np.isnan(overhead(token_times(pd.concat(each[:2])))["overhead_low"])


def streaming_rows(samples, **common):
    config = {"experiment": {"prompt_tokens": 3}}
    record = {"host_bound": False}
    job = samples.drop(columns=["cell", "replicate"])
    return [row | common for row in rows(config, record, job.to_dict("records"))]


def test_a_job_has_two_rows_and_a_time_for_every_token(tmp_path):
    settings = Streaming(prompts="config/prompts.yaml", prompt_tokens=3, new_tokens=4, rounds=3)
    config, record, samples = measured(experiment, settings, tmp_path)
    assert len(samples) == 2 * 3 * 4
    table = experiment_table("streaming", rows(config, record, samples)).set_index("way")
    assert sorted(table.index) == ["not streamed", "streamed"]
    assert (table[["ttft_ms", "itl_p50_ms", "run_ms"]] > 0).all(axis=None)
    assert table["new_tokens"].tolist() == [4, 4]
    assert table["overhead_low"].notna().to_dict() == {"streamed": True, "not streamed": False}


def test_the_section_says_what_the_reader_waits_for_and_what_it_costs():
    job = samples_of([ROUND] * 3)
    samples = pd.concat(job.assign(replicate=replicate) for replicate in (1, 2, 3))
    words = "\n".join(section(experiment_table("streaming", streaming_rows(job)), samples).sentences)
    assert (
        "smollm2-135m, bf16, sdpa: the reader has the first token after 100 ms (not streamed 100 ms), then one every "
        "25.0 ms in the median (not streamed 15.0 ms), and 1% of them after more than 40.0 ms (not streamed 20.0 ms)."
        in words
    )
    assert (
        "streaming changes the time from the first token to the last by +66.7% (95% interval +66.7% to +66.7%)"
        in words
    )
    assert "not told apart" not in words
    assert "A token is with the reader 1.00 ms after the decoding thread has it" in words


def test_the_figure_has_the_sequence_and_the_distribution():
    samples = samples_of([ROUND, ([100, 112, 122, 142, 162], [100, 112, 132, 162, 202])])
    figure, data = plot_streaming.draw(
        experiment_table("streaming", streaming_rows(samples)), samples, pd.DataFrame()
    )
    seen = data[data["way"] == "streamed"].set_index(["panel", "position"])
    assert seen.loc["sequence"].index.tolist() == [2, 3, 4, 5]
    assert seen.loc[("sequence", 2), ["itl_ms", "low", "high"]].tolist() == [11, 10, 12]
    # Of 10, 12, 20, 20, 30, 30, 40, 40
    assert seen.loc[
        [("distribution", 0), ("distribution", 50), ("distribution", 100)], "itl_ms"
    ].tolist() == [
        10,
        25,
        40,
    ]
    plt.close(figure)


def test_without_an_ok_job_section_and_figure_say_so():
    failed = experiment_table("streaming", [{"status": "failed", "reason": "killed"}])
    assert section(failed, pd.DataFrame({"cell": []})).sentences == []
    figure, data = plot_streaming.draw(failed, pd.DataFrame(), pd.DataFrame())
    assert data.empty
    plt.close(figure)
