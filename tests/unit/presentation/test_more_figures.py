"""Roofline, breakdown, memory and spending: from tables made by hand."""

import json

import pandas as pd
import pytest

import draw_figure
from inferbench.analysis.spending import REST, spent
from inferbench.experiments.grid.figures import roofline
from inferbench.presentation.words import duration
from inferbench.report.spending import spending_line, spending_sentences
from made_up_tables import demo_measurements, demo_summary, gpu_row, gpu_table


def draw(tmp_path, name, measurements):
    """(data that were drawn, the SVG with its texts in comments)."""
    measurements.to_parquet(tmp_path / "measurements.parquet")
    demo_summary(measurements).to_parquet(tmp_path / "summary.parquet")
    tables = ["--measurements", tmp_path / "measurements.parquet", "--summary", tmp_path / "summary.parquet"]
    draw_figure.main([name, *map(str, tables), "--output", str(tmp_path / name)])
    data = pd.read_csv(tmp_path / f"{name}.csv")
    return data, (tmp_path / f"{name}.svg").read_text()


def values(data, quantity):
    return data.loc[data["quantity"] == quantity, "value"].tolist()


# Roofline


def test_roofline_draws_achieved_rates_and_marks_what_the_host_holds_up(tmp_path):
    slow = {"decode_mbu": 0.1, "gpu_busy_fraction": 0.12}
    data, words = draw(tmp_path, "roofline", gpu_table(gpu_row(), gpu_row("generate", **slow)))
    # 0.1 and 0.5 of 3 000 GB/s, modes in the order generate, cuda_graph; 0.25 of 800 TFLOP/s.
    assert values(data, "decode_gb_s") == [300.0, 1500.0]
    assert values(data, "prefill_tflop_s") == [200.0, 200.0]
    bound = data.drop_duplicates("cell").set_index("execution")["host_bound"]
    assert bound.to_dict() == {"generate": True, "cuda_graph": False}
    assert "(host-bound): 1 of 2 cells, crossed." in words
    assert "synthetic-llama-3.1-8b" in words


def test_host_bound_begins_under_four_fifths():
    host_bound = roofline.host_bound
    marks = host_bound(pd.Series([0.79, 0.8, None], dtype=float))
    assert marks.tolist()[:2] == [True, False]
    assert pd.isna(marks[2])


def test_roofline_of_a_cpu_says_that_the_host_is_not_known(tmp_path):
    measurements = demo_measurements()
    ok = measurements["status"] == "ok"
    # It reads 5 GB/s by a product that it computes slowly: no bound of a cell that moves 8.
    measurements.loc[ok, ["decode_mbu", "copy_bandwidth_gb_s", "read_bandwidth_gb_s"]] = [0.4, 20.0, 5.0]
    data, words = draw(tmp_path, "roofline", measurements)
    assert set(values(data, "decode_gb_s")) == {8.0}
    assert set(values(data, "copy_bandwidth_gb_s")) == {20.0}
    assert not len(values(data, "read_bandwidth_gb_s"))
    assert "whether the host was in the way is not known" in words
    assert "GPU busy" not in words


def test_a_flagged_cell_stays_in_the_roofline_as_not_valid(tmp_path):
    flagged = gpu_row(precision="nf4", flags="throttled", valid=False)
    data, words = draw(tmp_path, "roofline", gpu_table(gpu_row(), flagged))
    assert data.groupby("precision")["valid"].first().to_dict() == {"bf16": True, "nf4": False}
    assert "flagged, not ranked" in words


def test_only_valid_replicates_count_where_there_are_some(tmp_path):
    flagged = gpu_row(replicate=2, decode_mbu=0.1, flags="throttled", valid=False)
    data, _ = draw(tmp_path, "roofline", gpu_table(gpu_row(), flagged, gpu_row(replicate=3, decode_mbu=0.6)))
    assert values(data, "decode_gb_s") == [1650.0]  # mean of 1 500 and 1 800


# Breakdown


def test_breakdown_has_the_parts_of_each_mode(tmp_path):
    generate = gpu_row(
        "generate", step_gap_ms=31.0, tpot_ms=40.0, gpu_busy_fraction=0.225, step_dequantise_ms=3.0
    )
    data, words = draw(tmp_path, "breakdown", gpu_table(gpu_row(tpot_unread_ms=9.8), generate))
    assert values(data, "step_gap_ms") == [31.0, 1.0]
    assert values(data, "step_dequantise_ms") == [3.0, 0.0]
    # Without a time for steps that are not read back, the step is TPOT.
    assert values(data, "step_ms") == [40.0, 9.8]
    # 10.0 ms a token, 9.8 of them the step; generate() has no step of its own to wait beyond.
    assert values(data, "wait_ms") == [0.0, pytest.approx(0.2)]
    assert "TPOT 40.0 ms, GPU busy 22% of a step" in words
    assert "TPOT 10.0 ms, GPU busy 90% of a step" in words


def test_breakdown_of_a_cpu_is_words(tmp_path):
    data, words = draw(tmp_path, "breakdown", demo_measurements())
    assert data.empty
    assert "ran on a CPU" in words


# Memory


def test_memory_of_a_gpu_compares_the_prediction_with_the_process(tmp_path):
    data, words = draw(tmp_path, "memory", gpu_table(gpu_row(), gpu_row(precision="nf4", weight_bytes=5e9)))
    assert values(data, "predicted_bytes") == [17.5e9, 17.5e9]
    assert "Measured over predicted, 2 cells: 1.06 to 1.06." in words  # 18.6 / 17.5
    assert "weights 5.00 GB" in words
    assert "process (driver) 18.6 GB" in words
    assert "KV cache 20.0 MB (by formula 20.0 MB)" in words
    assert "peak RSS" not in words


def test_memory_of_a_cpu_says_what_rss_is(tmp_path):
    measurements = demo_measurements()
    measurements.loc[measurements["status"] == "ok", "predicted_bytes"] = 500_000_000
    _, words = draw(tmp_path, "memory", measurements)
    assert "Peak RSS is resident memory of the whole process" in words
    # 900 MB and the weights, the least nf4's 119 MB and the most fp32's 538 MB, over 500 MB.
    assert "Measured over predicted, 16 cells: 2.04 to 2.88." in words


def test_largest_of_the_replicates_is_the_size(tmp_path):
    data, _ = draw(
        tmp_path, "memory", gpu_table(gpu_row(), gpu_row(replicate=2, peak_allocated_bytes=19_000_000_000))
    )
    assert values(data, "peak_allocated_bytes") == [19e9]


def without(*columns, reason="it keeps its past elsewhere"):
    """A cell whose numbers of these columns are not known."""
    return {**dict.fromkeys(columns), "not_known": json.dumps(dict.fromkeys(columns, reason))}


def test_roofline_draws_what_is_known_and_says_what_is_not(tmp_path):
    other = gpu_row("loop", **without("decode_mbu"))
    data, words = draw(tmp_path, "roofline", gpu_table(gpu_row(), other))
    assert values(data, "decode_gb_s") == [1500.0]
    assert values(data, "prefill_tflop_s") == [200.0, 200.0]
    assert "No decode_mbu of 1 cell: it keeps its past elsewhere." in words
    alone = gpu_table(gpu_row(**without("decode_mbu", "prefill_mfu"), gpu_busy_fraction=None))
    data, words = draw(tmp_path, "roofline", alone)
    assert data.empty
    assert "No decode_mbu, prefill_mfu of 1 cell" in words


def test_memory_draws_what_is_known_and_says_what_is_not(tmp_path):
    other = gpu_row(
        "loop", "nf4", **without("predicted_bytes", "kv_cache_bytes"), kv_cache_formula_bytes=None
    )
    data, words = draw(tmp_path, "memory", gpu_table(gpu_row(), other))
    assert values(data, "predicted_bytes") == [17.5e9]
    assert values(data, "weight_bytes") == [16e9, 16e9]
    assert "No predicted_bytes, kv_cache_bytes of 1 cell: it keeps its past elsewhere." in words


# Spending


def test_seconds_are_summed_by_stage_and_the_rest_is_what_no_stage_has():
    failed = gpu_row(replicate=2, status="failed", valid=False, seconds=10.0, measure_s=None, load_s=4.0)
    seconds = spent(gpu_table(gpu_row(), failed))
    # 12 measuring; 4 + 4 loading; of 30 in all the rest is 10.
    assert seconds[["measuring", "load", "compile", REST]].tolist() == [12.0, 8.0, 0.0, 10.0]
    assert spending_line(gpu_table(gpu_row(), failed)) == (
        "Device time 30.0 s: measuring 40%, rest 33%, load 27%."
    )


def test_time_that_gave_no_number_is_said():
    failed = gpu_row(replicate=2, status="failed", valid=False, seconds=5.0, measure_s=None, load_s=None)
    flagged = gpu_row(replicate=3, flags="contended", valid=False, seconds=25.0)
    sentences = spending_sentences(gpu_table(gpu_row(), failed, flagged))
    assert sentences[1] == "10% of it (5.00 s) went to replicates that did not end ok."
    assert sentences[2] == "50% of it (25.0 s) went to replicates that carry a flag that forbids ranking."


def test_no_recorded_time_is_no_division_by_zero():
    assert spending_line(demo_measurements()) == "Device time: none recorded."


@pytest.mark.parametrize(
    ("seconds", "words"), [(41.24, "41.2 s"), (744, "12.4 min"), (11_700, "3.25 h"), (0.5, "0.500 s")]
)
def test_durations_have_a_unit_that_suits_them(seconds, words):
    assert duration(seconds) == words


def test_spending_figure_has_the_sum_and_a_mean_per_execution_and_precision(tmp_path):
    rows = [gpu_row(), gpu_row(replicate=2, seconds=30.0, measure_s=22.0), gpu_row("generate", load_s=2.0)]
    data, words = draw(tmp_path, "spending", gpu_table(*rows))
    measuring = data[data["quantity"] == "measuring"].set_index("bar")["value"]
    # 12 + 22 + 12 in all; cuda_graph (12 + 22) / 2; generate 12.
    assert measuring.to_dict() == {
        "whole campaign": 46.0,
        "generate, bf16": 12.0,
        "cuda_graph, bf16": 17.0,
    }
    assert "25.0 s, n = 2" in words
