"""`compare_with`: another campaign is an input of the report, and one that is not there is a sentence."""

import shutil

import pytest

OTHER = "results/published/october"


@pytest.fixture
def beside(finished):
    """The finished tiny campaign, which now names another one: a copy of itself."""
    for name in ("measurements.parquet", "provenance.json"):
        finished.path(OTHER).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(finished.path(f"results/tiny/{name}"), finished.path(f"{OTHER}/{name}"))
    finished.campaign(compare_with=[OTHER])
    return finished


def test_another_campaign_draws_one_figure_and_writes_the_report(beside):
    assert beside.planned() == {"draw_beside", "write_report", "all"}
    done = beside.snakemake()
    assert done.code == 0, done.output
    # A cell that did not come to rest, on a busy machine, is not compared.
    valid = int(beside.table("results/tiny/measurements.parquet")["valid"].sum())
    page = beside.path("results/tiny/report.html").read_text()
    assert "Beside october: 8 cells in both campaigns, 0 here alone, 0 there alone." in page
    assert f"1.00 times that of october in the geometric mean of {valid} cell" in page
    assert beside.path("results/tiny/figures/beside.svg").exists()
    assert beside.planned() == set()
    # The other campaign changes: measured again, with one replicate less.
    table = beside.table(f"{OTHER}/measurements.parquet")
    table.iloc[1:].to_parquet(beside.path(f"{OTHER}/measurements.parquet"))
    assert beside.planned() == {"draw_beside", "write_report", "all"}
    beside.campaign()
    assert beside.planned() == {"write_report", "all"}


def test_a_campaign_that_is_not_there_is_named_before_anything_runs(fresh):
    fresh.campaign(compare_with=["results/none"])
    done = fresh.snakemake("--dry-run")
    assert done.code != 0
    assert "compare_with: there is no results/none/measurements.parquet; name the folder of a" in done.output
    fresh.campaign(compare_with=["results/tiny/"])
    assert "compare_with: results/tiny is this campaign's own folder" in fresh.snakemake("--dry-run").output
