"""What this repository publishes: tables that their own rows give, by the rules that hold today."""

import json

import pandas as pd
import pytest

from inferbench.analysis.experiment_tables import read_experiments
from inferbench.analysis.summarise import summarise
from inferbench.experiments.kv_cache import section as kv_cache_section
from inferbench.presentation.sections import section
from inferbench.settings.repository import REPOSITORY
from inferbench.tables import schema
from inferbench.tables.published import grid_tables

PUBLISHED = REPOSITORY / "results/published"
CAMPAIGNS = sorted(path for path in PUBLISHED.iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", CAMPAIGNS, ids=lambda folder: folder.name)
def test_the_summary_is_that_of_every_row_whose_flags_let_it_count(folder):
    measurements, summary = grid_tables(folder)
    outside = measurements["flags"].str.contains("throttled|contended")
    assert measurements["valid"].tolist() == ((measurements["status"] == "ok") & ~outside).tolist()
    baseline = json.loads((folder / "provenance.json").read_text())["campaign"]["baseline"]
    again = summarise(measurements, baseline)
    pd.testing.assert_frame_equal(again, summary, check_exact=False, rtol=1e-9)


def test_a_process_that_looked_unstable_is_in_the_centre():
    """exp of the mean log of 38.949312, 40.154675 and 46.658290 tokens/s, of which the first looked unstable."""
    _, summary = grid_tables(PUBLISHED / "workshop-h100")
    cell = summary.set_index("cell").loc["synthetic-qwen2.5-7b--bf16--sdpa--generate--p32n128--b1"]
    assert cell["decode_tokens_per_s"] == pytest.approx(41.78832, rel=1e-6)
    assert (cell["replicates_valid"], cell["flags"]) == (3, "unstable")


def test_no_interval_of_a_shared_compilation_is_published():
    for folder in CAMPAIGNS:
        _, summary = grid_tables(folder)
        compiled = summary[summary["execution"] == "compiled"]
        assert compiled[[f"{metric}_low" for metric in schema.METRICS]].isna().all(axis=None)
        assert not set(compiled["finding"]) & {"faster", "slower", "same", "unclear"}


def test_what_was_withdrawn_has_no_number_and_says_why():
    own = read_experiments(PUBLISHED / "smollm2-h100/experiments.json")["kv_cache"]
    assert len(own.table) == 9 and own.table["step_ms"].isna().all() and own.samples.empty
    told = section(kv_cache_section, own.table, own.samples)
    assert [title for title, table in told.tables if table.rows] == []
    [sentence] = told.sentences
    assert sentence.startswith(
        "9 of 9 jobs failed: withdrawn in 1.0.1: only the first step of each length was run"
    )
