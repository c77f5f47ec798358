"""The summary: what may be ranked, against which baseline, and on which card."""

import numpy as np
import pandas as pd
import pytest

from inferbench.analysis import statistics
from inferbench.analysis.summarise import BaselineError, drift, summarise
from inferbench.tables import schema, terms
from made_up_tables import demo_measurements

BASELINE = {"precision": "bf16"}


def measured(rates: dict[str, list[float]]) -> pd.DataFrame:
    """A cell per precision with these decode rates (tokens/s), one per replicate, all on one card."""
    replicates = tuple(range(1, 1 + max(map(len, rates.values()))))
    table = demo_measurements(
        precision=tuple(rates), attention=("sdpa",), batch_size=(1,), replicate=replicates
    )
    values = [row + [np.nan] * (len(replicates) - len(row)) for row in rates.values()]
    table["decode_tokens_per_s"] = pd.array(np.concatenate(values), dtype="Float64")
    table = table[table["decode_tokens_per_s"].notna()].reset_index(drop=True)
    return table.assign(device_name="NVIDIA H100", device_uuid="GPU-1")


def summary_of(measurements: pd.DataFrame, baseline: dict = BASELINE) -> pd.DataFrame:
    return summarise(measurements, baseline).set_index("precision")


NF4_SLOWER = {"bf16": [100.0, 100.1, 99.9], "nf4": [80.0, 80.1, 79.9]}


def test_a_row_per_cell_as_the_schema_has_it_in_order_of_first_appearance():
    measurements = demo_measurements()
    summary = summarise(measurements, BASELINE)
    assert list(summary.columns) == list(schema.summary.columns)
    assert summary["cell"].tolist() == measurements["cell"].unique().tolist()
    schema.validate(summary, schema.summary)
    against = summary.set_index("cell")["baseline_cell"]
    eager = "smollm2-135m--{}--eager--loop--short--b4".format
    assert against[eager("nf4")] == eager("bf16") and pd.isna(against[eager("bf16")])


def test_centre_interval_and_ratio_by_hand():
    # as in the statistics: logs -0.01, 0, 0.01 about log 100 give [97.54646, 102.51525]
    rates = list(100 * np.exp([-0.01, 0.0, 0.01]))
    summary = summary_of(measured({"bf16": rates, "nf4": [0.8 * rate for rate in rates]}))
    bf16, nf4 = summary.loc["bf16"], summary.loc["nf4"]
    ends = [bf16[f"decode_tokens_per_s{end}"] for end in ("", "_low", "_high")]
    assert ends == pytest.approx([100, 97.54646, 102.51525])
    # equal variances and sizes: Welch has 4 degrees of freedom, t = 2.776445,
    # error sqrt(2 x 0.0001 / 3) = 0.0081650, half width 0.0226696: 0.8 x exp(-+)
    assert [nf4["ratio"], nf4["ratio_low"], nf4["ratio_high"]] == pytest.approx(
        [0.8, 0.782068, 0.818343], rel=1e-5
    )
    assert (nf4["finding"], bf16["finding"], bf16["is_baseline"]) == ("slower", "baseline", True)
    assert bf16["ratio"] == 1 and pd.isna(bf16["ratio_low"]) and pd.isna(bf16["p_adjusted"])


@pytest.mark.parametrize("flag", terms.INVALIDATING_FLAGS)
def test_flagged_replicates_are_neither_summarised_nor_ranked(flag):
    measurements = measured({"bf16": [100.0, 100.1, 99.9, 50.0], "nf4": [80.0, 80.1, 79.9, 200.0]})
    measurements.loc[measurements["replicate"] == 4, ["flags", "valid"]] = [flag, False]
    flagged, clean = summary_of(measurements), summary_of(measured(NF4_SLOWER))
    for column in ("decode_tokens_per_s", "decode_tokens_per_s_high", "ratio", "p_adjusted"):
        assert flagged.loc["nf4", column] == pytest.approx(clean.loc["nf4", column])
    assert flagged.loc["nf4", ["flags", "replicates_ok", "replicates_valid"]].tolist() == [flag, 4, 3]


def test_a_cell_of_flagged_replicates_has_no_number_and_no_rank():
    measurements = measured(NF4_SLOWER)
    measurements.loc[measurements["precision"] == "nf4", ["flags", "valid"]] = ["throttled", False]
    nf4 = summary_of(measurements).loc["nf4"]
    assert (nf4["status"], nf4["valid"], nf4["finding"]) == ("ok", False, "no valid replicate")
    assert pd.isna(nf4["decode_tokens_per_s"]) and pd.isna(nf4["ratio"])


def test_flags_are_the_union_and_a_note_does_not_forbid_ranking():
    measurements = measured(NF4_SLOWER)
    measurements.loc[measurements["precision"] == "nf4", "flags"] = [
        "power_capped",
        "power_capped,a_note",
        "",
    ]
    nf4 = summary_of(measurements).loc["nf4"]
    assert (nf4["flags"], nf4["finding"]) == ("a_note,power_capped", "slower")


def test_two_cards_are_never_mixed_in_a_ratio():
    # nf4 is 20% slower on either card, but card 2 is half as fast as card 1: a ratio of pooled
    # replicates would be 0.57, or 1.13 the other way round.
    measurements = measured({"bf16": [100.0, 100.1, 99.9, 50.0], "nf4": [80.0, 40.0, 40.1, 39.9]})
    slow = measurements["decode_tokens_per_s"] < 60
    measurements.loc[slow, "device_uuid"] = "GPU-2"
    nf4 = summary_of(measurements).loc["nf4"]
    assert nf4["ratio"] == pytest.approx(0.8, rel=0.01) and nf4["finding"] == "slower"
    measurements["device_uuid"] = "GPU-1"
    assert summary_of(measurements).loc["nf4", "ratio"] == pytest.approx(0.5653, rel=0.01)


def test_the_ratio_is_taken_on_the_card_with_most_replicates_of_both():
    measurements = measured({"bf16": [100.0, 50.0, 50.1, 49.9], "nf4": [90.0, 40.0, 40.1, 39.9]})
    measurements.loc[measurements["decode_tokens_per_s"] < 60, "device_uuid"] = "GPU-2"
    nf4 = summary_of(measurements).loc["nf4"]
    assert nf4["ratio"] == pytest.approx(0.8, rel=1e-3) and nf4["finding"] == "slower"


def test_replicates_on_a_card_each_are_compared_pair_by_pair():
    # Cards 100, 90 and 110 differ by ten times what is looked for. Logs of the ratios on each: -0.03, -0.04,
    # -0.05, so their mean is -0.04, the error 0.01 / sqrt(3), and with two degrees of freedom t = 4.302653.
    cards, ratios = [100.0, 90.0, 110.0], np.exp([-0.03, -0.04, -0.05])
    measurements = measured({"bf16": cards, "nf4": list(cards * ratios)})
    measurements["device_uuid"] = ["GPU-1", "GPU-2", "GPU-3"] * 2
    nf4 = summary_of(measurements).loc["nf4"]
    half = 4.302653 * 0.01 / np.sqrt(3)
    expected = np.exp([-0.04, -0.04 - half, -0.04 + half])
    assert list(nf4[["ratio", "ratio_low", "ratio_high"]]) == pytest.approx(list(expected), rel=1e-6)
    assert nf4["finding"] == "slower"


def test_two_cards_with_one_replicate_of_both_are_too_few():
    measurements = measured({"bf16": [100.0, 50.0], "nf4": [80.0, 40.2]})
    measurements["device_uuid"] = ["GPU-1", "GPU-2"] * 2
    nf4 = summary_of(measurements).loc["nf4"]
    assert nf4["ratio"] == pytest.approx(0.802, rel=1e-3)
    assert pd.isna(nf4["ratio_low"]) and nf4["finding"] == "too few replicates"


def test_no_card_in_common_with_the_baseline_is_said():
    measurements = measured(NF4_SLOWER)
    measurements.loc[measurements["precision"] == "nf4", "device_uuid"] = "GPU-2"
    nf4 = summary_of(measurements).loc["nf4"]
    assert pd.isna(nf4["ratio"]) and nf4["finding"] == "no baseline on the same card"


def test_without_a_uuid_the_card_is_the_model_and_the_node():
    measurements = measured(NF4_SLOWER).assign(device_uuid=pd.NA, device_name="Xeon")
    assert summary_of(measurements).loc["nf4", "finding"] == "slower"
    measurements.loc[measurements["precision"] == "nf4", "host"] = "node-b"
    assert summary_of(measurements).loc["nf4", "finding"] == "no baseline on the same card"


def test_a_centre_is_of_one_model_of_card():
    measurements = measured({"bf16": [100.0, 100.0, 30.0]})
    measurements.loc[2, ["device_name", "device_uuid"]] = ["NVIDIA A100", "GPU-9"]
    bf16 = summary_of(measurements).loc["bf16"]
    assert bf16["decode_tokens_per_s"] == pytest.approx(100)
    assert bf16[["device_name", "replicates_ok", "replicates_valid"]].tolist() == ["NVIDIA H100", 3, 2]


def test_under_one_percent_is_not_a_finding_however_sure():
    noise = [-1e-6, 0.0, 1e-6]
    rates = {
        "bf16": [100 + x for x in noise],
        "nf4": [100.9 + x for x in noise],
        "int8": [101.1 + x for x in noise],
    }
    summary = summary_of(measured(rates))
    assert summary.loc["nf4", "p_adjusted"] < 1e-6
    assert summary["finding"].to_dict() == {"bf16": "baseline", "nf4": "same", "int8": "faster"}


def test_two_replicates_give_a_ratio_but_no_interval_and_say_so():
    nf4 = summary_of(measured({"bf16": [100.0, 100.1], "nf4": [80.0, 80.1]})).loc["nf4"]
    assert nf4["ratio"] == pytest.approx(0.8, rel=1e-3) and nf4["finding"] == "too few replicates"
    assert pd.isna(nf4[["decode_tokens_per_s_low", "ratio_low", "ratio_high", "p_adjusted"]]).all()


def test_p_values_are_adjusted_over_the_cells_that_were_compared():
    rng = np.random.default_rng(3)
    rates = {name: list(100 * np.exp(0.02 * rng.normal(size=3))) for name in ("bf16", "fp32", "int8", "nf4")}
    measurements = measured(rates)
    summary = summary_of(measurements)
    values = {name: np.array([row]) for name, row in rates.items()}
    raw = [statistics.compare(values[name], values["bf16"]).p[0] for name in ("fp32", "int8", "nf4")]
    expected = statistics.adjust(np.array(raw))
    assert summary["p_adjusted"].dropna().tolist() == pytest.approx(expected.tolist())


def test_axes_that_the_baseline_does_not_name_match_the_cell_itself():
    summary = summarise(demo_measurements(replicate=(1, 2, 3)), {"precision": "bf16"})
    ok = summary[summary["status"] == "ok"].set_index("precision")
    # eager against eager and sdpa against sdpa, at its own batch size: 25 / 40 everywhere
    assert ok.loc["nf4", "ratio"].tolist() == pytest.approx([0.625] * 4)
    assert ok.loc["bf16", "is_baseline"].all() and ok["is_baseline"].sum() == 4


def test_a_full_baseline_is_one_cell():
    baseline = {
        "model": "smollm2-135m",
        "precision": "bf16",
        "attention": "sdpa",
        "execution": "loop",
        "workload": "short",
        "batch_size": 1,
    }
    summary = summarise(demo_measurements(replicate=(1, 2, 3)), baseline)
    assert summary["is_baseline"].sum() == 1
    ratio = summary.set_index(["precision", "attention", "batch_size"])["ratio"]
    assert ratio["fp32", "eager", 4] == pytest.approx(20 * 3 / (40 * 1.1))


def test_why_there_is_no_ratio():
    measurements = measured(NF4_SLOWER)
    assert summary_of(measurements, {"precision": "fp16"}).loc["nf4", "finding"] == "no baseline cell"
    assert summary_of(measurements, {}).loc["nf4", "finding"] == "no baseline declared"
    assert not summary_of(measurements, {})["is_baseline"].any()
    measurements.loc[measurements["precision"] == "bf16", ["status", "valid"]] = ["oom", False]
    summary = summary_of(measurements)
    assert summary.loc["nf4", "finding"] == "no valid rate of the baseline"
    assert summary.loc["bf16", ["status", "finding"]].tolist() == ["oom", "no valid replicate"]


def test_a_baseline_of_two_cells_is_refused_for_the_others():
    measurements = measured({"bf16": [100.0, 100.1, 99.9], "int8": [100.0, 100.1, 99.9], "nf4": [80.0] * 3})
    measurements["precision"] = measurements["precision"].replace("int8", "bf16")
    nf4 = summarise(measurements, BASELINE).set_index("precision").loc["nf4"]
    assert nf4["finding"] == "several baseline cells" and pd.isna(nf4["ratio"])


def test_an_axis_that_does_not_exist_is_an_error():
    with pytest.raises(BaselineError, match="precison"):
        summarise(measured(NF4_SLOWER), {"precison": "bf16"})


def test_status_is_ok_if_any_is_else_what_most_became_and_the_reason_is_the_first():
    measurements = measured({"bf16": [1.0, 1.0, 1.0], "nf4": [1.0, 1.0, 1.0]})
    statuses = ["oom", "ok", "oom", "timeout", "oom", "oom"]
    reasons = ["first", None, "second", "slow", "full", "full"]
    measurements = measurements.assign(status=statuses, reason=reasons, valid=[s == "ok" for s in statuses])
    summary = summary_of(measurements)
    assert summary["status"].tolist() == ["ok", "oom"]
    assert summary["reason"].tolist() == ["first", "slow"]
    assert summary["replicates_ok"].tolist() == [1, 0]


def test_sizes_are_the_largest_of_the_replicates_and_predictions_survive_a_failure():
    measurements = measured(NF4_SLOWER)
    measurements["peak_rss_bytes"] = [5, 7, 6, 1, 2, 3]
    measurements.loc[measurements["precision"] == "nf4", ["status", "valid", "predicted_bytes"]] = [
        "oom",
        False,
        9,
    ]
    summary = summary_of(measurements)
    assert summary.loc["bf16", "peak_rss_bytes"] == 7 and summary.loc["nf4", "predicted_bytes"] == 9


def test_order_of_rows_and_columns_of_replicates_does_not_change_a_number():
    measurements = measured(NF4_SLOWER)
    turned = measurements.iloc[::-1].reset_index(drop=True)
    expected, found = summary_of(measurements), summary_of(turned)
    pd.testing.assert_frame_equal(
        found.loc[expected.index].drop(columns="cell"), expected.drop(columns="cell")
    )


def test_drift_reads_start_times_of_valid_replicates():
    measurements = measured({"bf16": [100.0, 101.0, 102.01, 1.0], "nf4": [50.0, 50.5, 51.005, 900.0]})
    measurements["started_at"] = [
        f"2026-01-05T1{replicate}:00:00+00:00" for replicate in measurements["replicate"]
    ]
    measurements.loc[measurements["replicate"] == 4, "valid"] = False
    trend = drift(measurements)
    assert (trend.tau, trend.pairs) == (1.0, 6)
    assert trend.percent_per_hour == pytest.approx(1.0)


def test_replicates_of_a_compiled_cell_give_a_centre_and_nothing_about_another_compilation():
    """Tokens/s of one compilation's replicates; the next compilation of such a cell gave 3% and 7% less."""
    measurements = measured(
        {"bf16": [163.3, 162.6, 163.6], "nf4": [80.0, 80.1, 79.9], "int8": [200.0, 200.1, 199.9]}
    )
    captured = summary_of(measurements)
    compiled = summary_of(measurements.assign(execution="compiled"))
    for metric in schema.METRICS:
        assert compiled[metric].equals(captured[metric])
        assert compiled[[f"{metric}_low", f"{metric}_high"]].isna().all(axis=None)
    assert compiled["ratio"].equals(captured["ratio"])
    assert compiled[["ratio_low", "ratio_high", "p_adjusted"]].isna().all(axis=None)
    assert compiled["finding"].to_dict() == {
        "bf16": "baseline",
        "nf4": "shared compilation",
        "int8": "shared compilation",
    }
    assert captured.loc["nf4", "finding"] == "slower"


def test_a_compiled_baseline_judges_no_cell_and_takes_no_part_in_the_others_tests():
    measurements = measured({"bf16": [100.0, 100.1, 99.9], "nf4": [80.0, 80.1, 79.9]})
    modes = [measurements.assign(execution=mode) for mode in ("compiled", "cuda_graph")]
    for own, mode in zip(modes, ("compiled", "cuda_graph"), strict=True):
        own["cell"] = own["cell"] + mode
    both = pd.concat(modes, ignore_index=True)
    against_compiled = summarise(both, {"precision": "bf16", "execution": "compiled"})
    assert against_compiled["finding"].tolist() == ["baseline", *["shared compilation"] * 3]
    # As many tests as without the compiled cells, so Benjamini and Hochberg's p is the same.
    own = summarise(both, BASELINE).set_index("cell")
    alone = summarise(modes[1], BASELINE).set_index("cell")
    nf4 = alone.index[1]
    assert own.loc[nf4, "p_adjusted"] == alone.loc[nf4, "p_adjusted"] and own.loc[nf4, "finding"] == "slower"
