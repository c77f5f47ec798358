"""Kinds of device in one campaign: figures and experiments keep them apart."""

import pandas as pd
import pytest

import draw_figure
from inferbench.analysis.device_types import apart, of_cells
from inferbench.analysis.summarise import summarise
from inferbench.experiments.batching import section as batching_section
from inferbench.presentation.sections import section
from made_up_experiments import draw_experiment, experiment_table
from made_up_tables import demo_measurements


@pytest.fixture
def mixed():
    """bf16 ran twice on A and once, three times slower, on B; nf4 on B alone."""
    table = demo_measurements(
        precision=("bf16", "nf4"), attention=("sdpa",), batch_size=(1,), replicate=(1, 2, 3)
    )
    table["device_name"] = ["A", "A", "B", "B", "B", "B"]
    table["decode_tokens_per_s"] = pd.array([90.0, 90.0, 30.0, 40.0, 40.0, 40.0], "Float64")
    return table


def test_a_cell_is_on_the_kind_that_ran_most_of_it(mixed):
    kinds = of_cells(mixed)
    assert kinds.tolist() == ["A", "B"]
    found = apart(mixed, kinds, named=True)
    assert found["model"].unique().tolist() == ["smollm2-135m on A", "smollm2-135m on B"]
    assert found["decode_tokens_per_s"].tolist() == [90.0, 90.0, 40.0, 40.0, 40.0]
    alone = mixed.assign(device_name="A")
    assert apart(alone, of_cells(alone), named=False) is alone


def test_a_cell_that_did_not_run_stands_with_its_model(mixed):
    failed = mixed["precision"] == "nf4"
    mixed.loc[failed, ["status", "device_name"]] = ["oom", None]
    assert of_cells(mixed).tolist() == ["A", "A"]
    # One that ran out of memory elsewhere stays there.
    mixed.loc[failed, "device_name"] = "B"
    kinds = of_cells(mixed)
    assert kinds.tolist() == ["A", "B"]
    assert apart(mixed, kinds, named=True)["status"].tolist() == ["ok", "ok", "oom", "oom", "oom"]


def test_figures_have_a_panel_for_each_kind(mixed, tmp_path):
    summary = summarise(mixed, {"precision": "bf16"})
    mixed.to_parquet(tmp_path / "measurements.parquet")
    summary.to_parquet(tmp_path / "summary.parquet")
    tables = [f"--{name}={tmp_path / name}.parquet" for name in ("measurements", "summary")]
    draw_figure.main(["ranking", *tables, f"--output={tmp_path / 'ranking'}"])
    drawn = pd.read_csv(tmp_path / "ranking.csv")
    assert set(drawn["model"]) == {"smollm2-135m on A", "smollm2-135m on B"}
    assert drawn[drawn["precision"] == "bf16"]["value"].tolist() == [90.0, 90.0, 90.0]
    assert "smollm2-135m on B" in (tmp_path / "ranking.svg").read_text()


def test_experiments_do_not_pool_them_either():
    """4 prompts one by one: 2 s on A, 8 s on B."""
    job = {
        "precision": "bf16",
        "batch_size": 4,
        "prompt": 1,
        "batch_s": 1.0,
        "padding_share": 0.1,
        "one_by_one_user_tokens_per_s": 10.0,
        "batch_user_tokens_per_s": 5.0,
        "text_equal": True,
        "host_bound": False,
    }
    rows = [
        {**job, "cell": f"b4-{device}", "device_name": device, "one_by_one_s": seconds, "speedup": seconds}
        for device, seconds in (("A", 2.0), ("B", 8.0))
    ]
    table = experiment_table("batching", rows)
    words = "\n".join(section(batching_section, table, pd.DataFrame()).sentences)
    assert "smollm2-135m on A, bf16, sdpa: 4 prompts take 2.00 s one by one" in words
    assert "smollm2-135m on B, bf16, sdpa: 4 prompts take 8.00 s one by one" in words
    same_cell = table.assign(cell="b4", replicate=[1, 2])
    words = "\n".join(section(batching_section, same_cell, pd.DataFrame()).sentences)
    assert "Left out: 1 job on another kind of device than most of the cell." in words


def test_an_experiment_on_one_kind_finds_its_cells_of_a_grid_on_two(mixed, tmp_path):
    """nf4 decodes 40 tokens/s on B; there alone its quality was measured."""
    row = {
        "reference": "fp32",
        "attention": "sdpa",
        "device_name": "B",
        "kl": 0.1,
        "kl_low": 0.1,
        "kl_high": 0.1,
    }
    rows = [{**row, "cell": "quality-nf4", "precision": "nf4"}]
    data, _ = draw_experiment(
        "quality",
        tmp_path,
        experiment_table("quality", rows),
        pd.DataFrame({"cell": ["quality-nf4"], "replicate": [1]}),
        summarise(mixed, {"precision": "bf16"}),
    )
    assert 40.0 in data["decode_tokens_per_s"].tolist()


def test_time_that_was_spent_on_any_kind_counts(mixed, tmp_path):
    """Six processes of 10 s, one of them on another kind than its cell."""
    timed = mixed.assign(seconds=pd.array([10.0] * 6, "Float64"), measure_s=pd.array([4.0] * 6, "Float64"))
    timed.to_parquet(tmp_path / "measurements.parquet")
    summarise(timed, {"precision": "bf16"}).to_parquet(tmp_path / "summary.parquet")
    tables = [f"--{name}={tmp_path / name}.parquet" for name in ("measurements", "summary")]
    draw_figure.main(["spending", *tables, f"--output={tmp_path / 'spending'}"])
    drawn = pd.read_csv(tmp_path / "spending.csv")
    whole = drawn[(drawn["bar"] == "whole campaign") & (drawn["quantity"] == "measuring")]
    assert whole["value"].tolist() == [24.0]
