"""A flagged job of an experiment is as if it were not there, and is said: on published tables, of every experiment."""

import json
from pathlib import Path

import pandas as pd
import pytest

from inferbench.plan.specs import experiment_names
from inferbench.presentation.sections import section
from inferbench.run.parts import part
from inferbench.settings.repository import REPOSITORY
from inferbench.tables.schema import with_validity
from made_up_experiments import draw_experiment

PUBLISHED = REPOSITORY / "results/published/cpu-demo"


def read(name: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """(table, samples, summary) as they were published, before experiments had flags."""
    names = (name, f"{name}-samples", "summary")
    return tuple(pd.read_parquet(PUBLISHED / f"{own}.parquet") for own in names)


def first_cell(table: pd.DataFrame) -> pd.Series:
    return table["cell"] == table["cell"].iloc[0]


def drawn(name, folder: Path, *tables) -> tuple[pd.DataFrame, str]:
    folder.mkdir()
    return draw_experiment(name, folder, *tables)


@pytest.mark.parametrize("name", experiment_names())
def test_a_published_table_without_flags_has_valid_jobs(name):
    table = with_validity(read(name)[0])
    assert (table["flags"] == "").all() and table["valid"].tolist() == (table["status"] == "ok").tolist()


@pytest.mark.parametrize("name", experiment_names())
def test_a_flagged_job_is_left_out_of_figure_and_section_which_say_so(name, tmp_path):
    table, samples, summary = read(name)
    flagged = first_cell(table)
    cell = table["cell"].iloc[0]
    with_flags = table.assign(flags=flagged.map({True: "power_capped,contended", False: ""}), valid=~flagged)
    jobs = len(table.drop_duplicates(["cell", "replicate"]))
    bad = len(table[flagged].drop_duplicates(["cell", "replicate"]))
    said = f"Left out: {bad} of {jobs} job{'s' * (jobs > 1)}, flagged contended, power_capped ({cell})."

    data, picture = drawn(name, tmp_path / "flagged", with_flags, samples, summary)
    less, other = drawn(name, tmp_path / "without", table[~flagged], samples, summary)
    pd.testing.assert_frame_equal(data, less)
    # A comment of an SVG holds no two dashes, which names of cells do.
    assert said.partition("(")[0] in picture and "Left out" not in other

    own = part(name, "section")
    found, without = section(own, with_flags, samples), section(own, with_validity(table[~flagged]), samples)
    assert found.sentences == [*without.sentences, said]
    assert found.tables == without.tables and found.texts == without.texts


def test_a_note_of_flags_forbids_no_ranking():
    declared = json.loads((PUBLISHED / "experiments.json").read_text())
    assert set(declared) == set(experiment_names())
    table, samples, _ = read("batching")
    noted = table.assign(flags="power_capped", valid=True)
    own = part("batching", "section")
    assert section(own, noted, samples).sentences == section(own, with_validity(table), samples).sentences
