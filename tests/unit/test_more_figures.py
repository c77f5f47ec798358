"""Roofline, breakdown, memory and spending; costs, capacity and validity: from tables made by hand."""

import importlib

import pandas as pd
import pytest

from inferbench import schema
from inferbench.capacity import fitting, largest_batches
from inferbench.costs import cost_sentences, costs, per_million_tokens
from inferbench.report import write_report
from inferbench.spending import REST, duration, spending_line, spending_sentences, spent
from inferbench.validity import drift_sentence, flag_counts
from made_up_tables import demo_measurements, demo_provenance, demo_summary

GPU = "NVIDIA H100 80GB HBM3"


def gpu_row(execution="cuda_graph", precision="bf16", batch_size=1, replicate=1, **values):
    """A cell on a made-up GPU: 100 tokens/s, half of a copy bandwidth of 3 000 GB/s, busy for 9 of 10 ms."""
    name = "synthetic-llama-3.1-8b"
    row = {
        "campaign": "gpu",
        "cell": f"{name}--{precision}--sdpa--{execution}--p32n128--b{batch_size}",
        "model": name,
        "model_source": "synthetic",
        "precision": precision,
        "attention": "sdpa",
        "execution": execution,
        "workload": "p32n128",
        "batch_size": batch_size,
        "replicate": replicate,
        "status": "ok",
        "flags": "",
        "valid": True,
        "tpot_ms": 10.0,
        "ttft_ms": 20.0,
        "decode_tokens_per_s": 100.0,
        "copy_bandwidth_gb_s": 3000.0,
        "read_bandwidth_gb_s": 2600.0,
        "datasheet_bandwidth_gb_s": 3350.0,
        "matmul_tflop_s": 800.0,
        "datasheet_tflop_s": 989.0,
        "decode_mbu": 0.5,
        "prefill_mfu": 0.25,
        "gpu_busy_fraction": 0.9,
        "step_matmul_ms": 6.0,
        "step_dequantise_ms": 0.0,
        "step_attention_ms": 2.0,
        "step_other_ms": 1.0,
        "step_gap_ms": 1.0,
        "weight_bytes": 16_000_000_000,
        "kv_cache_bytes": 20_000_000 * batch_size,
        "kv_cache_formula_bytes": 20_000_000 * batch_size,
        "peak_allocated_bytes": 17_000_000_000,
        "peak_reserved_bytes": 18_000_000_000,
        "process_gpu_bytes": 18_600_000_000,
        "peak_rss_bytes": 3_000_000_000,
        "predicted_bytes": 17_500_000_000,
        "prompt_tokens": 32,
        "new_tokens": 128,
        "device_name": GPU,
        "device_uuid": "GPU-1",
        "driver": "570.0",
        "host": "node-a",
        "started_at": f"2026-01-05T10:0{replicate}:00+00:00",
        "seconds": 20.0,
        "measure_s": 12.0,
        "load_s": 4.0,
    }
    return {**row, **values}


def gpu_table(*rows):
    return schema.validate(pd.DataFrame(list(rows)), schema.measurements)


def draw(tmp_path, name, measurements):
    """(data that were drawn, the SVG with its texts in comments)."""
    measurements.to_parquet(tmp_path / "measurements.parquet")
    demo_summary(measurements).to_parquet(tmp_path / "summary.parquet")
    tables = ["--measurements", tmp_path / "measurements.parquet", "--summary", tmp_path / "summary.parquet"]
    importlib.import_module(f"plot_{name}").main([*map(str, tables), "--output", str(tmp_path / name)])
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
    host_bound = importlib.import_module("plot_roofline").host_bound
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


# Costs


def test_cost_of_a_million_tokens():
    # 3.60 an hour is 0.001 a second; at 100 tokens/s a million take 10 000 s.
    assert per_million_tokens(3.6, pd.Series([100.0])).tolist() == pytest.approx([10.0])


def test_costs_follow_price_and_energy():
    measurements = gpu_table(
        gpu_row(joules_per_token=4.0),
        gpu_row(precision="nf4", decode_tokens_per_s=200.0, joules_per_token=2.0),
        gpu_row(batch_size=8, decode_tokens_per_s=800.0, joules_per_token=0.5),
    )
    summary = demo_summary(measurements)
    table = costs(summary, 3.6)
    assert table["cost"].tolist() == pytest.approx([10.0, 5.0, 1.25])
    assert table["tokens_per_joule"].tolist() == pytest.approx([0.25, 0.5, 2.0])
    words = " ".join(cost_sentences(table, 3.6))
    assert "1.25 (bf16, sdpa, cuda_graph, batch 8)" in words
    assert (
        "at batch size 1: 0.500 tokens/J (nf4, sdpa, cuda_graph, batch 1), no intervals against 1 other cell."
        in words
    )
    assert "at batch size 8: 2.00 tokens/J (bf16" in words
    assert words.endswith("Energy is of decoding, without the prefill.")
    without_price = costs(summary, None)
    assert without_price["cost"].isna().all()
    assert "GPU hour" not in " ".join(cost_sentences(without_price, None))


def test_costs_of_workloads_are_told_apart():
    # 4 J a token under the long prompt are no worse choice than 2 J under the short one.
    long = gpu_row(cell="long", workload="p8192n128", joules_per_token=4.0, decode_tokens_per_s=50.0)
    table = costs(demo_summary(gpu_table(gpu_row(joules_per_token=2.0), long)), 3.6)
    words = " ".join(cost_sentences(table, 3.6))
    # At 0.001 a second, a million tokens take 10 000 s at 100 tokens/s and 20 000 s at 50.
    for workload, cost, tokens in (("p32n128", "10.0", "0.500"), ("p8192n128", "20.0", "0.250")):
        assert f"under workload {workload}, by its centre: {cost} (bf16" in words
        assert f"under workload {workload} at batch size 1: {tokens} tokens/J (bf16" in words


def test_no_order_of_energy_inside_the_noise():
    """4.0 J (3.8 to 4.2) and 4.1 (3.9 to 4.3) overlap; 5.0 (4.9 to 5.1) is apart from the best."""
    rows = [gpu_row(joules_per_token=4.0)]
    rows += [
        gpu_row(precision=name, joules_per_token=joules) for name, joules in (("fp16", 4.1), ("nf4", 5.0))
    ]
    summary = demo_summary(gpu_table(*rows))
    summary["joules_per_token_low"], summary["joules_per_token_high"] = [3.8, 3.9, 4.9], [4.2, 4.3, 5.1]
    [most, _] = cost_sentences(costs(summary, None), None)
    assert most.endswith(
        "0.250 tokens/J (bf16, sdpa, cuda_graph, batch 1), not told apart from fp16, sdpa, cuda_graph, batch 1."
    )


def test_without_price_and_energy_there_is_no_cost():
    table = costs(demo_summary(demo_measurements()), None)
    assert table.empty
    assert cost_sentences(table, None) == []


# Capacity


def test_largest_batch_by_cache_and_by_prediction():
    assert fitting(80e9, 16e9, 20e6) == 3200
    measurements = gpu_table(
        # Predictions of 16.6 GB + 40 MB a sequence: (80 - 16.6) / 0.04 = 1 585.
        gpu_row(batch_size=1, predicted_bytes=16_640_000_000),
        gpu_row(batch_size=10, predicted_bytes=17_000_000_000),
        gpu_row(batch_size=4000, status="oom", valid=False, predicted_bytes=176_600_000_000),
    ).assign(device_memory_bytes=80_000_000_000)
    (row,) = largest_batches(measurements).to_dict("records")
    assert (row["precision"], row["context"]) == ("bf16", 160)
    assert (row["by_cache"], row["by_prediction"]) == (3200, 1585)
    assert (row["largest_ok"], row["smallest_oom"]) == (10, 4000)


def test_what_only_ran_out_of_memory_is_a_row_too():
    never = gpu_row(
        attention="eager", batch_size=2, status="oom", valid=False, predicted_bytes=50_000_000_000
    )
    never |= dict.fromkeys(("prompt_tokens", "new_tokens", "kv_cache_formula_bytes"))
    table = largest_batches(gpu_table(gpu_row(), never).assign(device_memory_bytes=80_000_000_000))
    eager = table.set_index("attention").loc["eager"]
    assert (eager["context"], eager["smallest_oom"]) == (160, 2)
    assert eager[["by_cache", "by_prediction", "largest_ok"]].isna().all()


def test_the_context_of_a_model_is_its_own():
    """One text is as many tokens as each model's tokenizer makes of it: 32 and 40, and 128 new ones."""
    other = gpu_row(cell="other", model="other", prompt_tokens=40)
    table = largest_batches(gpu_table(gpu_row(), other).assign(device_memory_bytes=80_000_000_000))
    assert dict(zip(table["model"] == "other", table["context"], strict=True)) == {False: 160, True: 168}


def test_one_batch_size_does_not_say_what_of_a_prediction_is_a_sequence():
    one = gpu_table(gpu_row(batch_size=10, predicted_bytes=16_800_000_000))
    (row,) = largest_batches(one.assign(device_memory_bytes=80_000_000_000)).to_dict("records")
    assert row["by_cache"] == 3200
    assert pd.isna(row["by_prediction"]) and pd.isna(row["smallest_oom"])


def test_without_a_device_size_nothing_is_claimed():
    assert largest_batches(gpu_table(gpu_row()).drop(columns="device_memory_bytes", errors="ignore")).empty


# Validity


def test_flags_are_counted_and_what_was_not_looked_for_is_said():
    rows = [gpu_row(), gpu_row(replicate=2, flags="throttled,power_capped", valid=False)]
    counts = {row["flag"]: row["replicates"] for row in flag_counts(gpu_table(*rows))}
    assert counts == {
        "throttled": "1 of 2",
        "contended": "0 of 2",
        "unstable": "0 of 2",
        "power_capped": "1 of 2",
    }
    on_cpu = {row["flag"]: row["replicates"] for row in flag_counts(demo_measurements())}
    assert on_cpu["contended"] == "not checked: no driver"
    assert on_cpu["unstable"] == "0 of 32"


def test_drift_is_said_with_its_test():
    # Replicate 2 starts a minute later and is 2% faster, in each of 16 cells: 16 pairs that all rise.
    words = drift_sentence(demo_measurements())
    assert words.startswith("Decode speed drifted with the time of the start")
    assert (
        "over 16 pairs of replicates of one cell on one card, started up to 60.0 s apart: tau +1.00" in words
    )
    assert "over 100% per hour" in words  # 1.02 ** 60 - 1 = 228%
    steady = demo_measurements()
    steady["decode_tokens_per_s"] = steady.groupby("cell")["decode_tokens_per_s"].transform("first")
    found = drift_sentence(steady)
    assert found.startswith("No drift of decode speed with the time of the start was found")
    assert "cannot be told from" not in found
    # The same on another card, five hours later: no pair spans the five hours.
    later = steady.assign(device_uuid="GPU-2")
    later["cell"] = "later--" + later["cell"]
    later["started_at"] = (pd.to_datetime(later["started_at"]) + pd.Timedelta(hours=5)).map(str)
    assert drift_sentence(pd.concat([steady, later])).endswith(
        "The campaign's starts are up to 5.02 h apart: what drifts over longer times cannot be told from what differs"
        " between cells and cards."
    )
    assert "cannot be tested" in drift_sentence(demo_measurements(replicate=(1,)))
    assert "cannot be tested" in drift_sentence(demo_measurements(attention=("flash_attention_2",)))


# Report


def page(tmp_path, measurements, **campaign):
    provenance = demo_provenance(measurements)
    provenance["campaign"] |= campaign
    write_report(measurements, demo_summary(measurements), {}, provenance, tmp_path, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_report_of_a_gpu_campaign_has_its_costs_and_spending(tmp_path):
    measurements = gpu_table(gpu_row(joules_per_token=4.0), gpu_row(replicate=2, joules_per_token=4.0))
    html = page(tmp_path, measurements, price_per_gpu_hour=3.6)
    assert "Device time 40.0 s: measuring 60%" in html
    assert "At 3.60 per GPU hour" in html
    assert "cost per million tokens" in html
    assert "No drift of decode speed" in html


def test_report_without_price_and_energy_has_no_costs(tmp_path):
    html = page(tmp_path, demo_measurements())
    assert 'id="costs"' not in html
    assert 'id="validity"' in html
    assert "not checked: no driver" in html
