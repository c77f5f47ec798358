"""Two campaigns compared: findings, cards, errors and exit codes."""

import numpy as np
import pandas as pd
import pytest

import compare_campaigns
from inferbench.analysis import statistics
from inferbench.analysis.compare import METRICS, CompareError, compare, load
from made_up_tables import demo_measurements


def campaign(factor: float = 1.0, seed: int = 0, card: str = "GPU-1", replicates: int = 3) -> pd.DataFrame:
    """Four precisions on one card; all speeds times `factor`, with 0.2% of noise between processes."""
    table = demo_measurements(attention=("sdpa",), batch_size=(1,), replicate=tuple(range(1, replicates + 1)))
    speed = factor * np.exp(0.002 * np.random.default_rng(seed).normal(size=len(table)))
    speed /= np.where(table["replicate"] == 2, 1.02, 1)  # the made-up tables' own difference
    table["decode_tokens_per_s"] *= speed
    table["ttft_ms"] /= speed
    table["tpot_ms"] /= speed
    return table.assign(device_uuid=card, device_name="NVIDIA H100")


@pytest.fixture
def folders(tmp_path):
    """Writes two campaigns and gives the command line that compares them."""

    def write(a: pd.DataFrame, b: pd.DataFrame) -> list[str]:
        for name, table in (("a", a), ("b", b)):
            (tmp_path / name).mkdir()
            table.to_parquet(tmp_path / name / "measurements.parquet")
        return [str(tmp_path / "a"), str(tmp_path / "b")]

    return write


def test_the_same_campaign_twice_has_no_finding():
    a = campaign()
    comparison = compare(a, a)
    assert len(comparison) == 4 * len(METRICS)
    assert comparison["ratio"].tolist() == pytest.approx([1.0] * len(comparison))
    assert set(comparison["finding"]) <= {"same", "unclear"}


def test_faster_is_more_tokens_and_less_time_and_the_ratio_is_b_over_a():
    a, b = campaign(), campaign(0.9, seed=1)
    comparison = compare(a, b)
    ratio = comparison.groupby("metric")["ratio"].mean()
    assert ratio["decode_tokens_per_s"] == pytest.approx(0.9, rel=0.01)
    assert ratio["ttft_ms"] == pytest.approx(1 / 0.9, rel=0.01)
    assert set(comparison["finding"]) == {"slower"}
    assert set(compare(b, a)["finding"]) == {"faster"}


def test_ratio_and_adjusted_p_are_the_statistics_of_the_replicates():
    a, b = campaign(), campaign(1.004, seed=1)
    comparison = compare(a, b)

    def table(side, metric):
        return side[metric].to_numpy(float).reshape(4, 3)  # rows come cell by cell

    found = {metric: statistics.compare(table(b, metric), table(a, metric)) for metric in METRICS}
    for metric in METRICS:
        own = comparison[comparison["metric"] == metric]
        np.testing.assert_allclose(own[["ratio", "low", "high"]].to_numpy().T, found[metric][:3])
    p = np.array([found[metric].p for metric in METRICS]).T.ravel()
    np.testing.assert_allclose(comparison["p_adjusted"], statistics.adjust(p))


def test_a_difference_under_one_percent_is_no_regression():
    a = campaign()
    speed = {"decode_tokens_per_s": 0.9925, "ttft_ms": 1 / 0.9925, "tpot_ms": 1 / 0.9925}
    steady = a.assign(**{name: a.groupby("cell")[name].transform("first") for name in METRICS})
    b = steady.assign(**{name: steady[name] * factor for name, factor in speed.items()})
    comparison = compare(steady, b)
    assert (comparison["p_adjusted"] < 1e-20).all() and set(comparison["finding"]) == {"same"}


def test_flagged_replicates_are_left_out():
    a, b = campaign(), campaign(seed=1, replicates=4)
    spoilt = b["replicate"] == 4
    b.loc[spoilt, "decode_tokens_per_s"] /= 10
    b.loc[spoilt, ["flags", "valid"]] = ["contended", False]
    pd.testing.assert_frame_equal(compare(a, b), compare(a, b[~spoilt]))


def test_campaigns_on_different_cards_are_compared_and_marked():
    comparison = compare(campaign(), campaign(0.5, seed=1, card="GPU-2"))
    assert comparison["between_cards"].all()
    assert comparison[["card_a", "card_b"]].drop_duplicates().to_numpy().tolist() == [["GPU-1", "GPU-2"]]


def test_cards_of_one_campaign_are_not_pooled():
    slow_card = campaign(0.5, seed=2, card="GPU-2").assign(replicate=lambda table: table["replicate"] + 3)
    a = pd.concat([campaign(), slow_card], ignore_index=True)
    # B on both cards: each with itself, and nothing has changed
    both = compare(a, a)
    assert len(both) == 2 * 4 * len(METRICS) and not both["between_cards"].any()
    assert both["ratio"].tolist() == pytest.approx([1.0] * len(both))
    # B on card 2 alone: compared there only, not with the faster card 1
    one = compare(a, slow_card)
    assert set(one["card_a"]) == {"GPU-2"} and set(one["replicates_a"]) == {3}
    assert one["ratio"].tolist() == pytest.approx([1.0] * len(one))
    # B on a third card: against each, never against their mixture
    third = compare(a, campaign(seed=3, card="GPU-3"))
    rates = third[third["metric"] == "decode_tokens_per_s"].groupby("card_a")["ratio"].mean()
    assert rates.tolist() == pytest.approx([1.0, 2.0], rel=0.01)


def test_a_cell_without_a_valid_replicate_on_one_side_is_said():
    a, b = campaign(), campaign(seed=1)
    failed = b["precision"] == "nf4"
    b.loc[failed, ["status", "valid"]] = ["failed", False]
    comparison = compare(a, b)
    nf4 = comparison[comparison["cell"].str.contains("nf4")]
    assert set(nf4["finding"]) == {"no valid value in B"} and nf4["ratio"].isna().all()
    assert set(compare(b, a)["finding"]) >= {"no valid value in A"}
    assert set(compare(b, b)["finding"]) >= {"no valid value in A or B"}


def test_too_few_replicates_are_said():
    assert set(compare(campaign(), campaign(0.5, replicates=2))["finding"]) == {"too few replicates"}


def test_cells_are_matched_by_their_axes_and_only_common_ones_compared(folders, capsys):
    a = campaign()
    b = campaign(seed=1).query("precision != 'fp32'").reset_index(drop=True)
    b["cell"] = "other-name-" + b["cell"]
    assert compare_campaigns.main(folders(a, b)) == 0
    printed = capsys.readouterr().out
    assert "3 cells in both campaigns, 1 only in A, 0 only in B" in printed
    assert "fp32" not in printed


def test_no_common_cell_is_an_error():
    with pytest.raises(CompareError, match="no cell in common: workload is short in A and other in B"):
        compare(campaign(), campaign().assign(workload="other"))


def test_a_missing_folder_and_a_missing_or_wrong_table_are_one_sentence(tmp_path, capsys):
    table = tmp_path / "measurements.parquet"
    for message in (
        "there is no folder",
        "holds no measurements.parquet",
        "cannot be used",
        "cannot be used",
    ):
        folder = tmp_path / "absent" if message == "there is no folder" else tmp_path
        with pytest.raises(CompareError, match=message):
            load(folder)
        assert compare_campaigns.main([str(folder), str(folder)]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
        if table.exists():
            table.unlink()
            pd.DataFrame({"unknown": [1]}).to_parquet(table)
        elif folder == tmp_path:
            table.write_text("not Parquet")


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (1.1, 0), (0.9, 1)])
def test_exit_code_of_a_regression(folders, factor, code):
    arguments = folders(campaign(), campaign(factor, seed=1))
    assert compare_campaigns.main(arguments) == 0
    assert compare_campaigns.main([*arguments, "--fail-on-regression"]) == code


@pytest.mark.parametrize("side, code", [("a", 0), ("b", 1)])
def test_a_cell_without_numbers_in_b_is_a_regression(folders, side, code):
    sides = {"a": campaign(), "b": campaign()} | {side: campaign().assign(status="failed", valid=False)}
    assert compare_campaigns.main([*folders(**sides), "--fail-on-regression"]) == code


def test_what_changed_and_that_cards_differ_is_printed(folders, capsys):
    a = campaign().assign(driver="550.1")
    arguments = folders(a, campaign(seed=1, card="GPU-2").assign(driver="560.2"))
    compare_campaigns.main(arguments)
    printed = capsys.readouterr().out
    assert "driver: A 550.1; B 560.2" in printed and "git_commit" not in printed
    assert "different cards: 12 of 12 ratios are between cards" in printed and "GPU-1 -> GPU-2" in printed


def test_a_cell_is_named_once_above_its_metrics_and_one_without_a_value_at_the_end(folders, capsys):
    b = campaign(seed=1)
    b.loc[b["precision"] == "nf4", ["status", "valid"]] = ["failed", False]
    compare_campaigns.main(folders(campaign(), b))
    lines = capsys.readouterr().out.splitlines()
    cells = [line for line in lines if line.strip().startswith("smollm2-135m--")]
    assert len(cells) == 4 and "nf4" in cells[3]
    first = lines.index(cells[0])
    assert [line.split()[0] for line in lines[first + 1 : first + 4]] == list(METRICS)
    assert lines[lines.index(cells[3]) - 1] == "no valid value in B:"


def test_two_campaigns_without_a_value_to_compare_are_listed(folders, capsys):
    assert compare_campaigns.main(folders(campaign(), campaign().assign(valid=False))) == 0
    assert "no valid value in B:\n  smollm2-135m--" in capsys.readouterr().out


def test_cells_that_were_asked_for_otherwise_are_counted(folders, capsys):
    b = campaign(seed=1)
    b.loc[b["precision"] == "nf4", "fingerprint"] = "another"
    compare_campaigns.main(folders(campaign(), b))
    assert "1 of these cells were asked for otherwise in A than in B" in capsys.readouterr().out


def test_output_is_figure_and_table_the_same_bytes_again(folders, tmp_path):
    a, b = campaign(), campaign(0.9, seed=1)
    b.loc[b["precision"] == "nf4", ["status", "valid"]] = ["failed", False]
    arguments = folders(a, b)
    for name in ("once", "again"):
        compare_campaigns.main([*arguments, "--output", str(tmp_path / name)])
    for suffix in ("svg", "png", "csv"):
        once, again = (tmp_path / name / f"comparison.{suffix}" for name in ("once", "again"))
        assert once.read_bytes() == again.read_bytes() and once.stat().st_size > 0
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "once" / "comparison.csv"), compare(a, b), check_dtype=False
    )


def test_many_cells_still_fit_a_figure():
    models = [campaign(seed=n).assign(model=f"m{n}") for n in range(20)]
    for n, table in enumerate(models):
        table["cell"] = f"m{n}-" + table["cell"]
    comparison = compare(pd.concat(models, ignore_index=True), pd.concat(models, ignore_index=True))
    figure = compare_campaigns.draw(comparison)
    assert len(figure.axes[0].get_yticks()) == compare_campaigns.MOST_ROWS < 80
    assert any("60 of 80 rows" in text.get_text() for text in figure.texts)


def test_a_compiled_cell_has_a_ratio_and_no_finding():
    a, b = (campaign(factor, seed).assign(execution="compiled") for factor, seed in ((1.0, 0), (0.9, 1)))
    comparison = compare(a, b)
    assert comparison["ratio"].notna().all() and set(comparison["finding"]) == {"shared compilation"}
    ends = ["a_low", "a_high", "b_low", "b_high", "low", "high", "p_adjusted"]
    assert comparison[ends].isna().all(axis=None)
