"""What each choice changes: sentences that stay true for odd inputs, from the tables alone."""

import pandas as pd

from inferbench.report.choices import answers, overview
from inferbench.report.context import context_sentences
from inferbench.report.host_and_captured import both_ways, reversals, side_by_side_table
from inferbench.report.reading_tokens import wait_sentences
from made_up_tables import demo_cells, demo_measurements, judged_cells, spread


def say(summary):
    """All sentences of the answer, one a line."""
    lines = [line for answer in answers(summary) for about in answer.sentences.values() for line in about]
    return "\n".join([*overview(summary), *lines])


def with_intervals(summary, share):
    """The summary with an interval of `share` to both sides of each decode speed."""
    speed = summary["decode_tokens_per_s"]
    ends = {"decode_tokens_per_s_low": speed * (1 - share), "decode_tokens_per_s_high": speed * (1 + share)}
    return summary.assign(**ends, replicates_valid=summary["replicates_valid"].where(summary["valid"], 0) * 3)


def test_replicates_that_a_flag_left_out_are_told():
    summary = demo_cells(demo_measurements(precision=("bf16", "nf4"), attention=("sdpa",), batch_size=(1,)))
    assert "left out" not in say(summary)
    assert "(not tested, flagged replicates left out)" in say(summary.assign(flagged=True))


def test_the_overview_says_why_a_cell_has_no_finding():
    summary = demo_cells(demo_measurements()).head(7)
    findings = [
        "baseline",
        "faster",
        "faster",
        "unclear",
        "too few replicates",
        "no baseline cell",
        "no valid replicate",
    ]
    status = ["ok"] * 6 + ["oom"]
    summary = summary.assign(finding=findings, status=status, is_baseline=[True] + [False] * 6)
    assert overview(summary) == [
        "7 cells declared: 6 ok, 1 out of memory.",
        "Decode speed of cells against their baseline on the same card: 2 faster, 1 unclear,"
        " 1 with too few replicates on a shared card, 1 without a comparison.",
    ]


def test_effects_and_memory_of_the_demo():
    words = say(demo_cells(demo_measurements()))
    assert "24 cells declared: 16 ok, 8 unsupported." in words
    # 162.9 / 269.0 - 1 = -39%, 119 / 269.0 - 1 = -56%
    assert "fp32 538 MB, 100% more; bf16 269 MB; int8 163 MB, 39% less; nf4 119 MB, 56% less" in words
    assert "Attention eager instead of sdpa: decode speed -9.1% in 8 pairs" in words
    assert "Batch size 4 instead of 1 (tokens/s of the whole batch): decode speed ×3.00 in 8 pairs" in words


def test_the_tables_own_test_decides_whether_cells_are_told_apart():
    measurements = demo_measurements(attention=("eager", "sdpa"), replicate=(1, 2, 3))
    rates = [40.4, 121.2, 44.4, 133.2] * 4  # eager and sdpa, each at batch 1 and 4
    steady, noisy = (spread(measurements, rates, share) for share in (0.005, 0.2))
    assert "-9.0% in 8 pairs of cells (8 slower)" in say(judged_cells(steady, {"attention": "sdpa"}))
    assert "(8 unclear)" in say(judged_cells(noisy, {"attention": "sdpa"}))
    # Intervals that do not overlap are no second criterion: of these pairs two are a cell and its baseline.
    words = say(judged_cells(steady, {"precision": "bf16", "attention": "sdpa"}))
    assert "in 8 pairs of cells (6 not tested, 2 slower)" in words
    assert (
        "Batch size 4 instead of 1 (tokens/s of the whole batch): decode speed ×3.00 in 8 pairs of cells"
        in words
    )
    assert "in 8 pairs of cells (not tested)." in words


def test_differences_under_one_per_cent_are_no_findings():
    measurements = demo_measurements(attention=("sdpa", "eager"), batch_size=(1,))
    eager = measurements["attention"] == "eager"
    sdpa = measurements["attention"] == "sdpa"
    measurements.loc[eager, "decode_tokens_per_s"] = (
        measurements.loc[sdpa, "decode_tokens_per_s"].to_numpy() * 0.991
    )
    words = say(with_intervals(demo_cells(measurements), 0.0001))
    assert "Attention eager instead of sdpa: decode speed differs by less than 1% in 4 pairs" in words


def test_nothing_ok():
    words = say(demo_cells(demo_measurements(attention=("flash_attention_2",))))
    assert "8 cells declared: 0 ok, 8 unsupported." in words
    assert "Weights" not in words


def test_flagged_cells_are_never_ranked():
    measurements = demo_measurements()
    bf16 = (measurements["precision"] == "bf16") & (measurements["status"] == "ok")
    measurements.loc[bf16, "flags"] = "throttled"
    measurements.loc[bf16, "valid"] = False
    words = say(demo_cells(measurements))
    assert "instead of bf16" not in words


def test_one_cell_one_replicate():
    words = say(
        demo_cells(
            demo_measurements(precision=("nf4",), attention=("sdpa",), batch_size=(4,), replicate=(1,))
        )
    )
    assert "1 cell declared: 1 ok." in words
    assert "Weights: nf4 119 MB." in words
    assert "instead of" not in words


def test_devices_are_not_compared_with_each_other():
    summary = demo_cells(demo_measurements(attention=("sdpa",), batch_size=(1,)))
    summary["device_name"] = ["A", "A", "B", "B"]  # fp32, bf16 | int8, nf4
    words = say(summary)
    assert "On A: Precision fp32 instead of bf16" in words
    assert "nf4 instead of bf16" not in words


def test_sources_of_weights_are_said():
    assert "fp32 is itself dequantised" in say(demo_cells(demo_measurements()))
    synthetic = demo_cells(demo_measurements("synthetic-olmoe-1b-7b", "synthetic"))
    assert "synthetic, random" in say(synthetic)
    assert answers(synthetic)[0].subject == "synthetic-olmoe-1b-7b"
    checkpoint = say(demo_cells(demo_measurements("qwen", "checkpoint")))
    assert "dequantised" not in checkpoint
    assert "synthetic" not in checkpoint


def test_weights_of_a_model_are_told_once_whatever_the_workloads():
    summary = demo_cells(demo_measurements())
    words = say(pd.concat([summary, summary.assign(workload="long")], ignore_index=True))
    assert [words.count(text) for text in ("Weights (against", "itself dequantised", "Precision nf4")] == [
        1,
        1,
        2,
    ]


BASELINE = {"precision": "bf16", "attention": "sdpa"}


def both_ways_run(precision=("bf16", "nf4"), attention=("sdpa",), share=0.002, card="GPU-1", **rates):
    """A summary of two cells, run by generate() and captured, with these tokens/s; the first of them captured on `card`."""
    measurements = demo_measurements(
        precision=precision, attention=attention, batch_size=(1,), replicate=(1, 2, 3)
    ).assign(device_uuid="GPU-1")
    parts = []
    for mode in ("generate", "cuda_graph"):
        part = spread(measurements, rates[mode], share).assign(execution=mode)
        part["cell"] = part["cell"] + mode
        parts.append(part)
    parts[1].loc[parts[1].index[:3], "device_uuid"] = card
    return judged_cells(pd.concat(parts, ignore_index=True), BASELINE)


def test_where_generate_leads_to_another_conclusion_both_measurements_are_said():
    """18 against 29 tokens/s is 37.9% slower, 135 against 111 is 21.6% faster; 0.5% apart is no difference, and
    what is noise or is not tested tells no order."""
    summary = both_ways_run(generate=[29.0, 18.0], cuda_graph=[111.0, 135.0])
    reversed_order = both_ways(summary)
    [sentence] = reversals(reversed_order, BASELINE)
    assert sentence == (
        "nf4 against bf16: by generate() 37.9% slower (18.0 and 29.0 tokens/s, a finding, p < 0.001), captured"
        " (cuda_graph) 21.6% faster (135 and 111 tokens/s, a finding, p < 0.001)."
    )
    [sentence] = reversals(
        both_ways(both_ways_run(generate=[20.0, 20.1], cuda_graph=[111.0, 135.0])), BASELINE
    )
    assert (
        "nf4 against bf16: by generate() not told apart (20.1 and 20.0 tokens/s, the same within 1%, p 0.0"
        in sentence
    )
    assert not list(reversals(both_ways(summary.assign(baseline_cell="")), BASELINE)), "nothing is tested"
    host = summary["execution"] == "generate"
    untested = summary.assign(baseline_cell=summary["baseline_cell"].mask(host, ""))
    [sentence] = reversals(both_ways(untested), BASELINE)
    assert "by generate() no order can be told (18.0 and 29.0 tokens/s, not tested), captured" in sentence
    noisy = both_ways_run(generate=[29.0, 18.0], cuda_graph=[111.0, 135.0], share=0.09)
    [sentence] = reversals(both_ways(noisy), BASELINE)
    assert "37.9% slower (18.0 and 28.9 tokens/s, a finding, p 0.0" in sentence
    assert "not told apart (135 and 111 tokens/s, unclear, p 0." in sentence
    same_order = both_ways_run(generate=[20.0, 22.0], cuda_graph=[111.0, 135.0])
    assert not list(reversals(both_ways(same_order), BASELINE))
    table = side_by_side_table(reversed_order)
    row = dict(zip(table.columns, table.rows[1], strict=True))
    assert (row["precision"], row["fastest captured ÷ generate()"]) == ("nf4", "7.50")
    assert "batch size 1" in table.common and "execution" not in table.columns
    left_out = summary.assign(replicates_valid=summary["replicates_ok"].where(~host, 1))
    table = side_by_side_table(both_ways(left_out))
    row = dict(zip(table.columns, table.rows[1], strict=True))
    assert row["generate, tokens/s"].endswith(" (1 of 3 processes)")
    assert row["cuda_graph, tokens/s"] == "135 (134 to 136)"


def test_of_attention_backends_it_is_said_too_and_different_cards_tell_no_order():
    """90 against 120 tokens/s is 25.0% slower; of 30.0 and 30.1 nothing is told."""
    rates = {"generate": [30.0, 30.1], "cuda_graph": [90.0, 120.0]}
    backends = {"precision": ("bf16",), "attention": ("eager", "sdpa")}
    [sentence] = reversals(both_ways(both_ways_run(**backends, **rates)), BASELINE)
    assert "eager against sdpa: by generate() not told apart (30.0 and 30.1 tokens/s, " in sentence
    assert "captured (cuda_graph) 25.0% slower (90.0 and 120 tokens/s, a finding, p < 0.001)." in sentence
    elsewhere = both_ways_run(**backends, card="GPU-2", **rates)
    assert not list(reversals(both_ways(elsewhere), BASELINE))
    [told] = [answer.sentences["attention"] for answer in answers(elsewhere)]
    assert "-25.0% at cuda_graph (not compared, different cards)" in told[0]


def by_batch(rates, share=0.002, uuids=None):
    """A summary of bf16 at 100 tokens/s for each sequence, and of nf4 at these ratios to it by batch size."""
    measurements = demo_measurements(
        precision=("bf16", "nf4"), attention=("sdpa",), batch_size=tuple(rates), replicate=(1, 2, 3)
    )
    each = [100.0 * batch for batch in rates] + [100.0 * batch * ratio for batch, ratio in rates.items()]
    measurements = spread(measurements, each, share).assign(device_uuid="GPU-1")
    at = measurements["batch_size"].map(uuids or {})
    measurements.loc[at.notna() & (measurements["precision"] == "nf4"), "device_uuid"] = at
    return judged_cells(measurements, {"precision": "bf16"})


def crossing(summary):
    return [line for line in say(summary).splitlines() if line.startswith("nf4 is ")]


def test_the_batch_at_which_a_precision_stops_paying_is_named():
    rates = {1: 1.2, 2: 1.05, 4: 1.003, 8: 0.8}
    [line] = crossing(by_batch(rates))  # at 4 they are within 1%: neither
    assert line.startswith("nf4 is faster than bf16 up to batch size 2 (+5.0%, a finding, p < 0.001)")
    assert " and slower at 8 (-20.0%, a finding, p < 0.001)" in line
    # What the table does not test orders nothing: two cards, or too few replicates.
    [line] = crossing(by_batch(rates, uuids={2: "GPU-2"}))
    assert line.startswith("nf4 is faster than bf16 at batch size 1 (+20.0%, a finding")
    assert not crossing(by_batch(rates, uuids={8: "GPU-2"}))
    assert not crossing(by_batch(rates).assign(baseline_cell=""))
    assert not crossing(by_batch(rates, share=0.3))


def test_an_order_holds_up_to_a_batch_size_only_if_every_smaller_one_tells_it():
    [line] = crossing(by_batch({1: 1.02, 4: 1.10, 8: 0.90, 32: 0.98}, share=0.02))
    assert (
        line.startswith("nf4 is faster than bf16 at batch size 4 (+10.0%, a finding")
        and " and slower at 8" in line
    )


def test_cells_of_different_cards_are_compared_with_that_said():
    summary = demo_cells(demo_measurements(precision=("bf16",), batch_size=(1,)))
    [told] = [answer.sentences["attention"] for answer in answers(summary.assign(cards=summary["attention"]))]
    assert told[0].endswith("decode speed -9.1% (not tested, different cards).")


def test_cells_ran_on_the_same_cards_only_where_each_card_ran_the_same_share():
    """Two of three replicates on a card are not one of three; all of two are all of three."""
    measurements = demo_measurements(
        precision=("bf16", "nf4", "int8"), attention=("sdpa",), batch_size=(1,), replicate=(1, 2, 3)
    )
    uuids = {"bf16": ["a", "a", "b"], "nf4": ["a", "b", "b"], "int8": ["b", "a", "a"]}
    measurements["device_uuid"] = [
        uuids[row.precision][row.replicate - 1] for row in measurements.itertuples()
    ]
    cells = demo_cells(measurements)
    assert cells["cards"].tolist() == ["a, b"] * 3
    assert cells.set_index("precision")["shares"].to_dict() == {
        "bf16": "2/3, 1/3",
        "nf4": "1/3, 2/3",
        "int8": "2/3, 1/3",
    }
    words = say(cells)
    assert "nf4 instead of bf16: decode speed -37.5% (not tested, other shares of the same cards)" in words
    assert "int8 instead of bf16: decode speed ×0.250 (not tested)" in words


def test_flagged_replicates_are_left_out_only_where_one_is_flagged():
    measurements = demo_measurements(precision=("bf16", "nf4"), attention=("sdpa",), batch_size=(1,))
    other_kind = measurements.assign(device_name=["A", "A", "A", "B"])
    assert not demo_cells(other_kind)["flagged"].any()
    flagged = measurements.assign(valid=[True, True, True, False])
    assert demo_cells(flagged)["flagged"].tolist() == [False, True]


def test_the_bandwidth_beside_the_fastest_captured_mode_is_its_own():
    """compiled is the fastest with 130 tokens/s, though cuda_graph moved its bytes at a higher share of a copy."""
    parts = [
        demo_cells(
            demo_measurements(precision=("bf16",), attention=("sdpa",), batch_size=(1,)).assign(
                execution=mode
            )
        ).assign(cell=mode, decode_tokens_per_s=rate, decode_mbu=share)
        for mode, rate, share in (
            ("generate", 30.0, 0.2),
            ("cuda_graph", 120.0, 0.7),
            ("compiled", 130.0, 0.6),
        )
    ]
    table = side_by_side_table(both_ways(pd.concat(parts, ignore_index=True)))
    [row] = table.rows
    row = dict(zip(table.columns, row, strict=True))
    assert row["fastest captured: copy bandwidth, %"] == "60.0"


def test_few_pairs_are_named_one_by_one():
    summary = demo_cells(
        demo_measurements(precision=("bf16", "nf4"), attention=("sdpa",), batch_size=(1, 32))
    )
    rates = {("bf16", 1): 100, ("nf4", 1): 120, ("bf16", 32): 2000, ("nf4", 32): 900}
    for cell, place in summary.groupby(["precision", "batch_size"]).groups.items():
        summary.loc[place, "decode_tokens_per_s"] = float(rates[cell])
    assert (
        "Precision nf4 instead of bf16: decode speed ×1.20 at batch 1 (not tested); ×0.450 at batch 32 (not"
        " tested)."
    ) in say(summary)


def test_context_is_the_shortest_prompt_against_the_longest():
    parts = []
    for length, rate in ((128, 100.0), (8192, 75.0)):
        part = demo_measurements(precision=("bf16",), attention=("sdpa",), batch_size=(1,), replicate=(1,))
        part["workload"], part["cell"] = f"p{length}", f"cell-{length}"
        part["prompt_tokens"] = length
        parts.append(part.assign(decode_tokens_per_s=pd.array([rate], dtype="Float64")))
    measurements = pd.concat(parts, ignore_index=True)
    [sentence] = context_sentences(measurements, demo_cells(measurements))
    assert "from 128 to 8,192 tokens of prompt" in sentence
    assert "decode 100 to 75.0 tokens/s (-25.0%, not tested)" in sentence
    elsewhere = measurements.assign(device_uuid=["GPU-1", "GPU-2"])
    [sentence] = context_sentences(elsewhere, demo_cells(elsewhere))
    assert "decode 100 to 75.0 tokens/s (-25.0%, not tested, different cards)" in sentence


def test_what_the_host_adds_to_each_read_token_is_told_apart_from_the_attention():
    """9.8 ms read against 8 ms unread is 22.5% longer. Unread, 8 against 10 ms is 25% faster; read, 9.8 against
    10.2 ms is 4.1% faster."""
    measurements = demo_measurements(
        precision=("bf16",), attention=("eager", "sdpa"), batch_size=(1,), replicate=(1,)
    ).assign(tpot_ms=[10.2, 9.8], tpot_unread_ms=[10.0, 8.0])
    assert not list(wait_sentences(measurements, demo_cells(measurements))), (
        "the host launches every kernel of a loop"
    )
    captured = measurements.assign(execution="cuda_graph")
    assert list(wait_sentences(captured, demo_cells(captured))) == [
        "smollm2-135m: over 5% longer a token in 1 of 2 captured combinations: sdpa +22.5% (9.80 against 8.00 ms).",
        "smollm2-135m: attention sdpa instead of eager, decode speed of unread tokens: +25.0% (not tested; read: +4.1%).",
    ]
    for silent in (captured.assign(tpot_unread_ms=[10.0, 9.6]), captured.assign(valid=False)):
        assert not list(wait_sentences(silent, demo_cells(silent)))
