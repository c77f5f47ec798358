"""A campaign beside others: ratios and intervals worked out by hand, cards never pooled, words that follow."""

import json
import math

import pandas as pd
import pytest

import draw_figure
from inferbench.analysis.compare import CompareError
from inferbench.analysis.other_campaigns import Campaign, comparisons, read_campaigns
from inferbench.experiments.grid.figures import beside as plot_beside
from inferbench.presentation import style
from inferbench.report.other_campaigns import beside
from inferbench.report.page import write_report
from inferbench.run.parts import part
from made_up_tables import demo_measurements, demo_provenance, demo_summary

#: Replicates lie this much apart on a logarithmic scale.
STEP = 0.01


def campaign(speeds: dict[str, float], **columns) -> pd.DataFrame:
    """A cell per precision, sdpa and batch 1, with three replicates around its speed."""
    table = demo_measurements(
        precision=tuple(speeds), attention=("sdpa",), batch_size=(1,), replicate=(1, 2, 3)
    )
    noise = (table["replicate"].astype(int) - 2).map(lambda place: math.exp(STEP * place))
    table["decode_tokens_per_s"] = table["precision"].map(speeds) * noise
    return table.assign(**{"device_name": "NVIDIA H100", "device_uuid": "GPU-1", **columns})


def named(name: str, measurements: pd.DataFrame) -> Campaign:
    return Campaign(name, measurements, demo_provenance(measurements))


def sentences(here: pd.DataFrame, *others: Campaign) -> list[str]:
    return beside(here, demo_provenance(here), list(others)).sentences


def test_ratio_and_intervals_are_those_worked_out_by_hand():
    here, there = campaign({"bf16": 40.0}), campaign({"bf16": 20.0})
    [row] = (
        comparisons(here, [named("old", there)]).query("metric == 'decode_tokens_per_s'").to_dict("records")
    )
    # The logs of both sides have variance STEP² over 3 replicates. Student's t at 97.5%: 4.302653 with 2 degrees of
    # freedom for a side, 2.776445 with 4 for the difference, as Welch gives for equal variances.
    side, both = 4.302653 * STEP / math.sqrt(3), 2.776445 * STEP * math.sqrt(2 / 3)
    assert (row["a"], row["b"], row["ratio"]) == pytest.approx((20, 40, 2))
    assert (row["b_low"], row["b_high"]) == pytest.approx((40 * math.exp(-side), 40 * math.exp(side)))
    assert (row["a_low"], row["a_high"]) == pytest.approx((20 * math.exp(-side), 20 * math.exp(side)))
    assert (row["low"], row["high"]) == pytest.approx((2 * math.exp(-both), 2 * math.exp(both)))
    assert (row["finding"], row["between_cards"]) == ("faster", False)


def test_the_sentences_say_how_many_how_much_and_from_where_to_where():
    here = campaign({"fp32": 20.0, "bf16": 40.0, "int8": 5.0})
    there = campaign({"fp32": 10.0, "bf16": 40.0, "nf4": 5.0})
    said = sentences(here, named("october", there))
    assert said[0] == "Beside october: 2 cells in both campaigns, 1 here alone, 1 there alone."
    # 2 and 1: the geometric mean is the square root of 2.
    assert "Decode speed here is 1.41 times that of october in the geometric mean of 2 cells" in said[1]
    assert "from 1.00 times (bf16) to 2.00 times (fp32)" in said[1]
    assert "1 faster" in said[1]
    assert len(said) == 2


def test_two_cards_are_never_pooled_and_are_named():
    here = campaign({"bf16": 40.0})
    two = pd.concat(
        [campaign({"bf16": 20.0}, device_uuid="GPU-2"), campaign({"bf16": 10.0}, device_uuid="GPU-3")]
    )
    found = beside(here, demo_provenance(here), [named("node", two)])
    # 2 and 4; their geometric mean is the square root of 8.
    assert (
        "2.83 times that of node in the geometric mean of 1 cell (2 ratios, one per pair of cards"
        in found.sentences[1]
    )
    assert found.sentences[2].startswith("2 of these 2 ratios are between two cards")
    table = pd.DataFrame(found.cells.rows, columns=found.cells.columns)
    assert table["card there"].tolist() == ["GPU-2", "GPU-3"]
    assert [text.split()[0] for text in table["here ÷ there"]] == ["2.00", "4.00"]
    # Where both ran on one card, that one alone is compared.
    shared = pd.concat([two, campaign({"bf16": 40.0})])
    assert (
        "1.00 times that of node in the geometric mean of 1 cell,"
        in sentences(here, named("node", shared))[1]
    )


def test_a_cell_on_several_cards_counts_once():
    """bf16 2 times on each of two cards, fp32 8 times on one: the square root of 16, not the cube root of 32."""
    here = campaign({"bf16": 40.0, "fp32": 80.0})
    there = pd.concat(
        [
            campaign({"bf16": 20.0, "fp32": 10.0}, device_uuid="GPU-2"),
            campaign({"bf16": 20.0}, device_uuid="GPU-3"),
        ]
    )
    assert (
        "4.00 times that of node in the geometric mean of 2 cells (3 ratios, one per pair of cards that ran"
        in "\n".join(sentences(here, named("node", there)))
    )


def test_cells_that_were_asked_for_otherwise_are_counted():
    here = campaign({"bf16": 40.0, "fp32": 20.0})
    there = campaign({"bf16": 40.0, "fp32": 20.0})
    there["fingerprint"] = there["fingerprint"].mask(there["precision"] == "bf16", "of another seed")
    assert sentences(here, named("node", there))[1].startswith(
        "Of the cells in both, 1 was asked for otherwise in node: seed, threads, prompts"
    )


def test_card_driver_versions_and_date_stand_beside_each_campaign():
    here = campaign({"bf16": 40.0}, driver="580.1", started_at="2026-11-24T10:00:00+00:00")
    there = campaign(
        {"bf16": 20.0}, driver="570.2", started_at="2026-10-02T10:00:00+00:00", device_uuid="GPU-2"
    )
    provenance = {
        "cells": [{"versions": {"torch": "2.11.0", "numpy": "2.4"}}, {"versions": {"torch": "2.12.0"}}]
    }
    found = beside(here, provenance, [Campaign("october", there, provenance)])
    rows = pd.DataFrame(found.campaigns.rows, columns=found.campaigns.columns).set_index("campaign")
    assert rows["driver"].to_dict() == {"this campaign": "580.1", "october": "570.2"}
    assert rows["measured (UTC)"].to_dict() == {"this campaign": "2026-11-24", "october": "2026-10-02"}
    assert "versions torch 2.11.0/2.12.0" in found.campaigns.common
    assert rows["UUID"].tolist() == ["GPU-1", "GPU-2"]


def test_nothing_in_common_is_a_sentence():
    here, there = campaign({"bf16": 40.0}), campaign({"nf4": 20.0})
    said = sentences(here, named("other", there))
    assert said == [
        "Beside other: 0 cells in both campaigns, 1 here alone, 1 there alone.",
        "No cell has a valid replicate both here and in other.",
    ]


def test_flagged_replicates_are_left_out_and_named_as_none():
    here, there = campaign({"bf16": 40.0}), campaign({"bf16": 20.0}).assign(valid=False, flags="throttled")
    found = beside(here, demo_provenance(here), [named("hot", there)])
    assert found.sentences[1] == "No cell has a valid replicate both here and in hot."
    table = pd.DataFrame(found.cells.rows, columns=found.cells.columns)
    assert table["here is"].tolist() == ["no valid value there"]


def folder(path, measurements):
    path.mkdir(parents=True)
    measurements.to_parquet(path / "measurements.parquet")
    (path / "provenance.json").write_text(json.dumps(demo_provenance(measurements)))
    return path


def test_campaigns_are_named_by_their_folders(tmp_path):
    a, b, c = (folder(tmp_path / name, campaign({"bf16": 1.0})) for name in ("x/demo", "y/demo", "other"))
    assert [own.name for own in read_campaigns([a, b, c])] == [str(a), str(b), "other"]
    assert [own.name for own in read_campaigns([c, c / ".." / "other"])] == ["other"], (
        "one folder, named twice"
    )
    with pytest.raises(CompareError, match="there is no folder"):
        read_campaigns([tmp_path / "none"])


def test_the_figure_has_a_row_per_cell_and_comes_out_the_same(tmp_path):
    here = campaign({"fp32": 20.0, "bf16": 40.0})
    folder(tmp_path / "old", campaign({"fp32": 10.0, "bf16": 40.0}))
    folder(tmp_path / "here", here)
    drawn = []
    for name in ("a", "b"):
        draw_figure.main(
            [
                "beside",
                f"--measurements={tmp_path}/here/measurements.parquet",
                f"--compare-with={tmp_path}/old",
                f"--output={tmp_path}/{name}/beside",
            ]
        )
        drawn.append(
            [(tmp_path / name / f"beside{suffix}").read_bytes() for suffix in (".svg", ".png", ".csv")]
        )
    assert drawn[0] == drawn[1]
    data = pd.read_csv(tmp_path / "a/beside.csv")
    assert dict(zip(data["cell"].str.split("--").str[1], data["ratio"])) == pytest.approx(
        {"fp32": 2, "bf16": 1}
    )


def test_a_figure_of_nothing_in_common_says_so():
    style.apply_style()
    figure, data = plot_beside.draw(campaign({"bf16": 40.0}), [named("other", campaign({"nf4": 20.0}))])
    assert data.empty
    assert "both here and there" in figure.axes[0].texts[0].get_text()


def test_the_report_has_the_section_where_it_is_asked_for(tmp_path):
    here = campaign({"bf16": 40.0})
    pages = []
    for others in ([], [named("october", campaign({"bf16": 20.0}))]):
        write_report(
            here,
            demo_summary(here),
            {},
            demo_provenance(here),
            tmp_path,
            part,
            tmp_path / "r.html",
            others=others,
        )
        pages.append((tmp_path / "r.html").read_text())
    assert "Beside october: 1 cell in both campaigns" in pages[1]
    assert "Beside other campaigns" in pages[1] and "Beside other campaigns" not in pages[0]
