"""Cells that are told apart and cells that are not, and which of these is taken, on the tables of `made_up_advice`."""

from inferbench.report.advice import ONE_STREAM
from made_up_advice import KL, choose, judged, named, say, table


def test_cells_that_the_test_does_not_tell_apart_are_named():
    """fp32 40 tokens/s against the baseline's 44: told apart by 0.5% between processes, and not by 8%."""
    axes = {"precision": ("fp32", "bf16")}
    apart = say(judged([40.0, 44.0], 0.005, **axes))
    assert (
        "Next is fp32, sdpa, loop, batch 1 at 40.0 tokens/s (39.5 to 40.5), 9.09% slower (a finding, p < 0.001)."
        in (apart)
    )
    assert "44.0 tokens/s (43.5 to 44.5) 95% interval, 3 replicates" in apart
    close = say(judged([40.0, 44.0], 0.08, **axes))
    assert (
        "Not told apart from it (within 1%, by the test, or intervals overlap): fp32, sdpa, loop, batch 1 (39.9)."
        in close
    )


def test_what_is_not_tested_is_no_finding_however_far_its_intervals_are_apart():
    """int8 44, nf4 40, bf16 20 tokens/s: the summary tests each of the first two against bf16 alone."""
    axes = {"precision": ("bf16", "int8", "nf4")}
    words = say(judged([20.0, 44.0, 40.0], **axes))
    assert "9.09% slower in these runs (not tested), which is no finding." in words
    assert (
        "Of those that are tested against it the next is bf16, sdpa, loop, batch 1 at 20.0 tokens/s (19.9 to 20.1),"
        " 54.5% slower (a finding, p < 0.001)." in words
    )
    compiled = judged([44.0, 20.0], precision=("bf16", "nf4"))
    one = compiled.assign(execution="compiled", finding=["baseline", "shared compilation"], p_adjusted=None)
    assert "54.5% slower in these runs (replicates share a compilation), which is no finding." in say(one)


def test_a_cost_within_the_noise_is_none_that_can_be_told():
    """int8 of 43.12 tokens/s keeps the limit that bf16 of 44 breaks."""
    axes = {"precision": ("bf16", "int8")}

    def told(share):
        summary = judged([44.0, 43.12], share, **axes)
        return say(summary.assign(peak_rss_bytes=[2_000_000_000, 1_000_000_000]), {"memory_gb": 1.5})

    assert (
        "The limit on memory costs nothing that can be told: without it bf16, sdpa, loop, batch 1 at 44.0 tokens/s"
        " (40.8 to 47.4) is not told apart from this cell." in told(0.03)
    )
    assert "The limit on memory costs 2.00% of the speed (a finding, p 0.0" in told(0.003)


def test_under_one_per_cent_is_no_order_even_without_any_noise():
    words = say(judged([44.0, 43.7], 0.0001, precision=("bf16", "int8")))  # 0.7% less
    assert "Not told apart from it (within 1%, by the test, or intervals overlap): int8" in words


def test_of_equally_fast_cells_the_one_with_the_least_divergence():
    """int8 at 43.8 is within 1% of bf16's 44.0 and diverges by 0.02 nats, bf16 by 0.10; at 43.0 it is not."""
    summary = table()
    int8 = (summary["precision"] == "int8") & (summary["batch_size"] == 1)
    near = summary.assign(decode_tokens_per_s=summary["decode_tokens_per_s"].mask(int8, 43.8))
    choice = choose(near, divergences=KL)[ONE_STREAM]
    assert (named(choice.best), named(choice.fastest)) == ("int8 b1", "bf16 b1")
    assert [named(row) for _, row in choice.rivals.iterrows()] == ["bf16 b1", "nf4 b1", "fp32 b1"]
    assert (
        "Within 1% of the fastest, bf16, sdpa, loop, batch 1 (44.0), with less KL divergence: 0.0200 nats against"
        " 0.100 nats." in say(near, divergences=KL)
    )
    assert named(choose(near)[ONE_STREAM].best) == "bf16 b1", "without a divergence the fastest"
    unlike = summary.assign(decode_tokens_per_s=summary["decode_tokens_per_s"].mask(int8, 43.0))
    assert named(choose(unlike, divergences=KL)[ONE_STREAM].best) == "bf16 b1"
    # The limit excludes nothing that would be chosen without it.
    [cost] = choose(near, {"kl": 0.2}, KL)[ONE_STREAM].costs
    assert named(cost.fastest) == "int8 b1"


def test_a_precision_that_leads_where_both_ran_is_named_beside_an_execution_that_only_one_ran_with():
    """bf16 at 44 is the only cell that is compiled; of the others nf4 with 27.5 leads."""
    summary = table()
    only = summary["precision"] == "bf16"
    compiled = summary.assign(execution=summary["execution"].mask(only, "compiled"))
    assert (
        "No other precision ran with execution compiled here; of those with loop nf4 is the fastest in these runs."
        in say(compiled)
    )
    assert "No other precision ran" not in say(summary)
    # nf4 ran compiled too, and is flagged: it was tried.
    both = summary["precision"].isin(["bf16", "nf4"])
    flagged = summary.assign(
        execution=summary["execution"].mask(both, "compiled"),
        valid=summary["valid"] & (summary["precision"] != "nf4"),
    )
    assert "No other precision ran" not in say(flagged)


def test_the_next_cell_that_ran_on_another_card_says_so():
    axes = {"precision": ("bf16", "nf4")}
    assert "37.5% slower (a finding, p < 0.001)" in say(judged([44.0, 27.5], **axes))
    elsewhere = say(judged([44.0, 27.5], uuids={"nf4": "GPU-2"}, **axes))
    assert "37.5% slower in these runs (not compared, different cards), which is no finding." in elsewhere
