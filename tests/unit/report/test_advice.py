"""What to run within limits, on the tables of `made_up_advice`."""

import shlex

import pandas as pd
import pytest

from inferbench.analysis.limits import Divergence
from inferbench.report.advice import ONE_STREAM, THROUGHPUT, advise
from inferbench.report.advice_words import opening
from made_up_advice import KL, choose, named, say, table, with_intervals
from made_up_tables import demo_cells, demo_measurements

NAN = float("nan")


def test_without_limits_the_fastest_cell_of_each_aim():
    choices = choose(table())
    assert named(choices[ONE_STREAM].best) == "bf16 b1"
    assert named(choices[THROUGHPUT].best) == "bf16 b4"
    words = say(table())
    assert "No limits are set" in words
    assert "For one stream: bf16, sdpa, loop, batch 1: 44.0 tokens/s" in words
    # 44 against 27.5 of nf4: 37.5% less
    assert "Next is nf4, sdpa, loop, batch 1 at 27.5 tokens/s, 37.5% slower in these runs" in words
    assert "(not tested), which is no finding" in words
    assert "No cell has more than 1 valid replicate: below 3 no interval can be given" in words
    assert "costs" not in words


def test_a_limit_that_binds_costs_what_the_fastest_without_it_has_more():
    choices = choose(table(), {"memory_gb": 1.1})
    assert named(choices[ONE_STREAM].best) == "nf4 b1"
    assert named(choices[THROUGHPUT].best) == "nf4 b4"
    [cost] = choices[THROUGHPUT].costs
    assert (cost.limit, named(cost.fastest), cost.standing) == ("memory_gb", "bf16 b4", "observed")
    words = say(table(), {"memory_gb": 1.1})
    # 1 - 82.5 / 132 = 37.5%
    assert (
        "The limit on memory costs 37.5% of the speed in these runs (not tested): without it bf16, sdpa, loop, batch 4"
        in words
    )
    assert "memory 1.02 GB, limit 1.1\n" in words


def test_a_limit_on_latency_can_make_throughput_a_matter_of_one_stream():
    limits = {"memory_gb": 1.2, "tpot_ms": 25}
    choice = choose(table(), limits)[THROUGHPUT]
    assert named(choice.best) == "bf16 b1"
    assert {cost.limit: named(cost.fastest) for cost in choice.costs} == {
        "memory_gb": "bf16 b1",
        "tpot_ms": "bf16 b4",
    }
    words = say(table(), limits)
    # 1 - 44 / 132 = 66.7%
    assert (
        "The limit on TPOT costs 66.7% of the speed in these runs (not tested): without it bf16, sdpa, loop, batch 4"
        in words
    )
    assert "Dropping the limit on memory alone would gain nothing" in words
    assert "No other cell is known to keep the limits." in words


def test_limits_that_only_together_cost_something():
    """Memory and KL both exclude bf16, and fp32 and int8 are slower than nf4: no one limit costs anything."""
    choice = choose(table(), {"memory_gb": 1.1, "kl": 0.05}, KL)[ONE_STREAM]
    assert named(choice.best) == "nf4 b1"
    assert [(cost.limit, named(cost.fastest)) for cost in choice.costs] == [
        ("memory_gb", "nf4 b1"),
        ("kl", "nf4 b1"),
        (None, "bf16 b1"),
    ]
    words = say(table(), {"memory_gb": 1.1, "kl": 0.05}, KL)
    assert (
        "All limits together cost 37.5% of the speed in these runs (not tested): without any bf16, sdpa, loop, batch 1"
        in words
    )
    assert "Dropping the limit on memory or KL divergence alone would gain nothing" in words


def test_nothing_fits_which_limit_excludes_what():
    limits = {"tpot_ms": 25, "memory_gb": 1.1}
    choice = choose(table(), limits)[THROUGHPUT]
    assert choice.best is None
    tpot, memory = choice.exclusions
    # bf16 at batch 1 alone keeps TPOT, and it has 1.169 GB; nf4 at batch 1 has the least TPOT of those
    # that keep memory.
    assert (memory.broken, memory.unknown, named(memory.nearest), memory.alone) == (4, 0, "bf16 b1", True)
    assert (tpot.broken, tpot.unknown, named(tpot.nearest), tpot.alone) == (7, 0, "nf4 b1", True)
    words = say(table(), limits)
    assert "Of 8 cells none is known to keep every limit." in words
    # 1.169 / 1.1 = 1.0628, 36.36 / 25 = 1.455
    assert (
        "Memory 1.1 GB: excludes 4 of 8. Nearest: bf16, sdpa, loop, batch 1 with 1.17 GB, 6.28% over" in words
    )
    assert "TPOT 25 ms: excludes 7 of 8. Nearest: nf4, sdpa, loop, batch 1 with 36.4 ms, 45.5% over" in words
    assert "and it keeps every other limit." in words


def test_nearest_miss_where_every_cell_breaks_both_limits():
    limits = {"memory_gb": 0.5, "ttft_ms": 10}
    memory, ttft = choose(table(), limits)[ONE_STREAM].exclusions
    assert (named(memory.nearest), memory.alone) == ("nf4 b1", False)
    assert (named(ttft.nearest), ttft.alone) == ("bf16 b1", False)
    assert "and it breaks another limit too." in say(table(), limits)


def test_a_limit_that_excludes_nothing_where_nothing_fits():
    words = say(table(), {"ttft_ms": 1000, "memory_gb": 1})
    assert "TTFT 1,000 ms: excludes 0 of 8." in words
    # Both nf4 cells take 1.019 GB: the faster one is named.
    assert "Memory 1 GB: excludes 8 of 8. Nearest: nf4, sdpa, loop, batch 4 with 1.02 GB, 1.90% over" in words


def test_kl_of_synthetic_weights_is_no_ground_to_pass_or_fail():
    summary = table("synthetic-olmoe-1b-7b", "synthetic")
    [advice] = advise(summary, {"kl": 0.05, "memory_gb": 1.1}, KL)
    assert advice.unjudged == ["kl"]
    assert [named(choice.best) for choice in advice.choices] == ["nf4 b1", "nf4 b4"]
    assert [cost.limit for cost in advice.choices[0].costs] == ["memory_gb"]
    words = say(summary, {"kl": 0.05, "memory_gb": 1.1}, KL)
    assert "# synthetic-olmoe-1b-7b, on" in words
    assert "The limit KL divergence 0.05 nats is not applied. The weights are synthetic" in words
    assert (
        "KL divergence not measured: random weights have no quality to lose, real ones may; limit 0.05 not applied"
        in words
    )


def test_kl_without_an_experiment_on_quality():
    words = say(table(), {"kl": 0.05}, None)
    assert (
        "The limit KL divergence 0.05 nats is not applied. The campaign has no experiment on quality" in words
    )
    assert "has no value for this model" in say(table(), {"kl": 0.05}, {})


def test_a_faster_cell_whose_kl_was_not_measured_is_named_and_not_recommended():
    measured = {key: value for key, value in KL.items() if key[1] != "bf16"}
    choice = choose(table(), {"kl": 0.05}, measured)[ONE_STREAM]
    assert named(choice.best) == "nf4 b1"
    assert [named(row) for _, row in choice.unknown.iterrows()] == ["bf16 b1"]
    words = say(table(), {"kl": 0.05}, measured)
    assert (
        "Faster, but not known to fit, since KL divergence was not measured: bf16, sdpa, loop, batch 1 (44.0)"
        in words
    )
    # Without the limit it would be the choice.
    assert "The limit on KL divergence costs 37.5%" in words


def test_what_is_not_measured_does_not_count_as_excluded():
    measured = {
        ("smollm2-135m", "nf4"): Divergence(0.04, 0.06),
        ("smollm2-135m", "bf16"): Divergence(NAN, NAN),
    }
    choice = choose(table(), {"kl": 0.01}, measured)[ONE_STREAM]
    [kl] = choice.exclusions
    assert (kl.broken, kl.unknown, named(kl.nearest)) == (1, 3, "nf4 b1")
    words = say(table(), {"kl": 0.01}, measured)
    assert "KL divergence 0.01 nats: excludes 1 of 4, not known of 3." in words
    assert (
        "They break no limit, but are not known to fit, since KL divergence was not measured: bf16" in words
    )


def test_a_limit_kept_by_the_centre_and_not_by_the_end_of_its_interval():
    summary = with_intervals(table(), 0.05)
    # bf16 at batch 1: TPOT 22.7 ms, to 23.9
    words = say(summary, {"tpot_ms": 23})
    assert "(TPOT) 22.7 ms (21.6 to 23.9), limit 23: kept by the centre, not by the interval's end" in words
    assert "limit 24\n" in say(summary, {"tpot_ms": 24})
    # nf4: 0.04, to 0.06
    assert "KL divergence 0.0400 nats (up to 0.0600), limit 0.05: kept by the centre, not by" in say(
        summary, {"kl": 0.05}, KL
    )
    # One replicate has no interval that could keep anything.
    assert "(TPOT) 22.7 ms, limit 24: kept by the centre, no interval" in say(table(), {"tpot_ms": 24})


def test_flagged_cells_are_named_and_never_recommended():
    measurements = demo_measurements(attention=("sdpa",), replicate=(1,))
    bf16 = measurements["precision"] == "bf16"
    measurements.loc[bf16, "flags"], measurements.loc[bf16, "valid"] = "throttled", False
    summary = demo_cells(measurements)
    assert [named(choice.best) for choice in choose(summary).values()] == ["nf4 b1", "nf4 b4"]
    words = say(summary, {"tpot_ms": 30})
    assert (
        "Flagged (throttled), so not considered: bf16, sdpa, loop, batch 1; bf16, sdpa, loop, batch 4."
        in words
    )
    # Only bf16 would have kept it.
    assert "Of 6 cells none" in words
    assert "TPOT 30 ms: excludes 6 of 6. Nearest: nf4" in words


def test_nothing_may_be_ranked():
    words = say(demo_cells(demo_measurements(attention=("flash_attention_2",))))
    assert words == "No cell ended ok, so there is no answer yet."
    measurements = demo_measurements(attention=("sdpa",), replicate=(1,))
    measurements["flags"], measurements["valid"] = "throttled", False
    words = say(demo_cells(measurements), {"memory_gb": 1})
    assert "None of its cells may be ranked: 8 ok." in words
    assert "For one stream" not in words


def test_without_a_cell_of_batch_1_nothing_is_said_of_one_stream():
    words = say(table(batch_size=(4,)))
    assert "For one stream" not in words
    assert "For throughput: bf16" in words


def test_one_cell():
    words = say(table(precision=("nf4",), batch_size=(1,)), {"memory_gb": 2})
    assert "No other cell may be ranked here." in words
    assert "For throughput" not in words


def test_each_model_and_each_workload_has_its_own_answer():
    other = table("synthetic-olmoe-1b-7b", "synthetic", precision=("nf4", "int8"))
    long = table(batch_size=(1,)).assign(workload="long")
    long["cell"] = long["cell"].str.replace("short", "long")
    summary = pd.concat([table(), long, other], ignore_index=True)
    found = advise(summary, {}, {})
    assert [[named(choice.best) for choice in advice.choices] for advice in found] == [
        ["bf16 b1", "bf16 b4"],
        ["bf16 b1"],
        ["nf4 b1", "nf4 b4"],
    ]
    words = say(summary)
    assert "# smollm2-135m, workload long, on " in words
    assert "# synthetic-olmoe-1b-7b, workload short, on " in words


def test_devices_are_not_compared_with_each_other():
    summary = table(batch_size=(1,))
    summary["device_name"] = ["A", "A", "B", "B"]  # fp32, bf16 | int8, nf4
    on_a, on_b = advise(summary, {"memory_gb": 1.1}, {})
    assert (on_a.device, on_a.choices[0].best, on_a.choices[0].candidates) == ("A", None, 2)
    # bf16 on A is faster: that is no cost of the limit on B.
    [cost] = on_b.choices[0].costs
    assert (on_b.device, named(on_b.choices[0].best), named(cost.fastest)) == ("B", "nf4 b1", "nf4 b1")
    words = say(summary, {"memory_gb": 1.1})
    assert "Cells are compared within one kind of device only." in words
    assert "# smollm2-135m, on A" in words


@pytest.mark.parametrize(
    "sizes, gigabytes, words",
    [
        (
            {"process_gpu_bytes": 3e9, "peak_allocated_bytes": 2e9, "peak_rss_bytes": 9e9},
            3,
            "as the driver sees it",
        ),
        ({"peak_allocated_bytes": 2e9, "peak_rss_bytes": 9e9}, 2, "that torch allocated on the GPU"),
        ({"peak_rss_bytes": 9e9}, 9, "the resident memory of the process"),
        ({"weight_bytes": 1e9, "kv_cache_bytes": 5e8}, 1.5, "weights and KV cache alone"),
    ],
)
def test_which_memory_is_meant(sizes, gigabytes, words):
    names = ("process_gpu_bytes", "peak_allocated_bytes", "peak_rss_bytes", "weight_bytes", "kv_cache_bytes")
    columns = {name: pd.array([sizes.get(name)], "Int64").repeat(4) for name in names}
    [advice] = advise(table(batch_size=(1,)).assign(**columns), {}, {})
    assert advice.choices[0].best["memory_gb"] == gigabytes
    assert words in advice.memory


def test_one_figure_of_memory_for_all_cells_that_are_compared():
    """The driver's figure is larger than torch's: nf4, of which only torch's is known, must not win by that."""
    summary = table(precision=("bf16", "nf4"), batch_size=(1,))
    summary["process_gpu_bytes"] = pd.array([3_000_000_000, None], "Int64")
    summary["peak_allocated_bytes"] = pd.array([1_000_000_000, 1_100_000_000], "Int64")
    assert named(choose(summary, {"memory_gb": 1.05})[ONE_STREAM].best) == "bf16 b1"


def test_memory_of_no_cell_is_a_limit_that_is_not_applied():
    columns = {name: pd.array([None] * 8, "Int64") for name in ("peak_rss_bytes", "weight_bytes")}
    words = say(table().assign(**columns), {"memory_gb": 1})
    assert "The limit memory 1 GB is not applied. It was measured of no cell here." in words


def test_a_pick_says_what_was_tried_elsewhere_alone():
    long = table(precision=("bf16",), batch_size=(1,)).assign(workload="long", cell="long")
    summary = pd.concat([table(precision=("bf16", "nf4"), batch_size=(1,)), long], ignore_index=True)
    _, [short, long] = opening(summary, {}, {}, None, {})
    assert "Not tried here: precision nf4." in long.notes
    assert not any("Not tried" in note for note in short.notes)


def test_a_lead_that_the_prefill_takes_away_is_told():
    """11 tokens each at batch 1: 1.0 s + 10 x 0.1 s is 5.50 tokens/s, 1.2 s + 10 x 0.08 s is 5.50 as well."""
    summary = table(precision=("bf16", "nf4"), batch_size=(1,))
    summary[["decode_tokens_per_s", "ttft_ms", "tpot_ms"]] = [[10.0, 1000.0, 100.0], [12.5, 1200.0, 80.0]]
    _, [subject] = opening(summary, {}, {}, None, {"short": 11})
    [card] = subject.cards
    assert card.facts[0] == ("with the prefill", "5.50 tokens/s")
    assert card.sentences[0].endswith("; with the prefill the two are within 1%.")
    # 1.25 s instead of 1.2 s: 11 tokens in 2.05 s are 5.37 tokens/s, 2.4% fewer.
    summary.loc[summary["precision"] == "nf4", "ttft_ms"] = 1250.0
    _, [subject] = opening(summary, {}, {}, None, {"short": 11})
    assert "with the prefill it is 5.50 against 5.37 tokens/s." in subject.cards[0].sentences[0]


def test_what_did_not_fit_stands_with_the_answer():
    summary = table(batch_size=(1, 32))
    summary.loc[summary["batch_size"] == 32, ["status", "valid", "decode_tokens_per_s"]] = [
        "oom",
        False,
        None,
    ]
    assert "Did not fit: " in say(summary)


def test_the_command_measures_what_is_recommended():
    campaign = {
        "device": "cpu",
        "cpu_threads": 4,
        "seed": 7,
        "timeout_s": 60,
        "measure": {"max_seconds": 3, "min_iterations": 2},
    }
    _, [subject] = opening(table(), campaign, {"memory_gb": 1.1}, None, {})
    assert shlex.split(subject.cards[1].command) == [
        *("python", "scripts/benchmark.py", "model=smollm2-135m", "precision=nf4", "attention=sdpa"),
        *("execution=loop", "workload=short", "batch_size=4", "device=cpu", "cpu_threads=4", "seed=7"),
        *("timeout_s=60", "measure.max_seconds=3", "measure.min_iterations=2", "output=cell.parquet"),
    ]
    _, [unknown] = opening(table(), {}, {}, None, {})
    assert unknown.cards[0].command == (
        "python scripts/benchmark.py model=smollm2-135m precision=bf16 attention=sdpa execution=loop"
        " workload=short batch_size=1 output=cell.parquet"
    )
