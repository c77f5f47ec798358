"""Cells that are told apart and cells that are not, and which of these is taken, on the tables of `made_up_advice`."""

from inferbench.advice import ONE_STREAM
from made_up_advice import KL, choose, named, say, table, with_intervals


def test_cells_that_intervals_do_not_tell_apart_are_named():
    summary = table(attention=("eager", "sdpa"))
    # eager 40, sdpa 44: 2% to both sides keeps them apart, 8% does not.
    apart = say(with_intervals(summary, 0.02))
    assert (
        "Next is bf16, eager, loop, batch 1 at 40.0 tokens/s (39.2 to 40.8), 9.09% slower; their intervals"
        in apart
    )
    assert "44.0 tokens/s (43.1 to 44.9) 95% interval, 3 replicates" in apart
    close = say(with_intervals(summary, 0.08))
    assert (
        "Not told apart from it (within 1%, or intervals overlap): bf16, eager, loop, batch 1 (40.0)."
        in close
    )


def test_a_cost_within_the_intervals_is_none_that_can_be_told():
    # int8 of 44 x 0.98 tokens/s keeps the limit that bf16 breaks.
    summary = table(batch_size=(1,))
    summary["peak_rss_bytes"] = [9, 2_000_000_000, 1_000_000_000, 9_000_000_000]
    summary.loc[2, "decode_tokens_per_s"] = 43.12
    words = say(with_intervals(summary, 0.03), {"memory_gb": 1.5})
    assert (
        "The limit on memory costs nothing that can be told: without it bf16, sdpa, loop, batch 1 at 44.0 tokens/s"
        " (42.7 to 45.3) is not told apart from this cell." in words
    )
    # 2% is told apart by narrow intervals.
    assert "The limit on memory costs 2.00% of the speed: without" in say(
        with_intervals(summary, 0.003), {"memory_gb": 1.5}
    )


def test_under_one_per_cent_is_no_order_even_with_the_narrowest_intervals():
    summary = table(batch_size=(1,))
    summary.loc[2, "decode_tokens_per_s"] = 43.7  # 0.7% under bf16
    assert "Not told apart from it (within 1%, or intervals overlap): int8" in say(
        with_intervals(summary, 0.0001)
    )


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
    summary = with_intervals(table(), 0.01)
    elsewhere = summary.assign(cards=summary["cards"].mask(summary["precision"] == "nf4", "GPU-2"))
    assert "37.5% slower; their intervals do not overlap" in say(summary)
    assert "37.5% slower, different cards; their intervals do not overlap" in say(elsewhere)
