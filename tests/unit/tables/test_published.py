"""The reviewer's way: published tables give the published figures again, or it is said where not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import draw_figure
import print_findings
import publish_campaign
import redraw_published
from inferbench.plan.figures import SUFFIXES, grid_drawings
from inferbench.tables.published import first_difference, sha256
from made_up_tables import demo_measurements, demo_provenance, demo_summary

FIGURES = [drawing.figure for drawing in grid_drawings()]

TABLES = ("measurements.parquet", "summary.parquet")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """results/ with a finished campaign, demo, drawn once."""
    results = tmp_path_factory.mktemp("results")
    campaign = results / "demo"
    campaign.mkdir()
    measurements = demo_measurements()
    measurements.to_parquet(campaign / "measurements.parquet")
    measurements[["cell", "replicate"]].to_parquet(campaign / "iterations.parquet")
    demo_summary(measurements).to_parquet(campaign / "summary.parquet")
    (campaign / "provenance.json").write_text(json.dumps(demo_provenance(measurements)))
    (campaign / "experiments.json").write_text("{}")
    tables = [str(campaign / name) for name in TABLES]
    for figure in FIGURES:
        output = str(campaign / "figures" / figure.name)
        options = ["--measurements", tables[0], "--summary", tables[1], "--output", output]
        draw_figure.main([figure.name, *options])
    return results


@pytest.fixture
def published(finished):
    """results/published/cpu-demo, fresh."""
    assert publish_campaign.main(["demo", "cpu-demo", "--results", str(finished), "--force"]) == 0
    return finished / "published" / "cpu-demo"


def redraw(published, tmp_path, capsys, *options):
    """Exit code and output of the reviewer's command."""
    capsys.readouterr()
    code = redraw_published.main(["--published", str(published.parent), "--output", str(tmp_path), *options])
    return code, capsys.readouterr().out


def test_figures_whose_drawing_changed_are_accepted_but_not_tables_that_changed(published, tmp_path, capsys):
    """An old checksum of a figure stands for a drawing that was changed."""
    sums = published / "SHA256SUMS"
    lines = [
        line if not line.endswith("grid.png") else "0" * 64 + line[64:]
        for line in sums.read_text().splitlines()
    ]
    sums.write_text("\n".join(lines) + "\n")
    (published / "figures" / "of-before.csv").write_text("a figure that is no longer drawn\n")
    arguments = ["--published", str(published.parent), "--output", str(tmp_path)]
    code, output = redraw(published, tmp_path, capsys)
    assert code == 1 and output.count("bytes differ (figures/grid.png), plotted data agree") == 1
    assert redraw_published.main([*arguments, "--accept"]) == 0
    capsys.readouterr()
    assert redraw_published.main(arguments) == 0
    assert "bytes differ" not in capsys.readouterr().out
    assert not (published / "figures" / "of-before.csv").exists()
    listed = sums.read_text()
    change_speed(published)
    redraw_published.main([*arguments, "--accept"])
    assert "not accepted: summary.parquet changed since it was published" in capsys.readouterr().out
    assert sums.read_text() == listed


def test_the_reports_sentences_can_be_printed(published, capsys, monkeypatch):
    """eager decodes at 1 / 1.1 of sdpa in the made-up tables: -9.1%."""
    monkeypatch.setattr("sys.argv", ["print_findings.py", str(published), "attention"])
    print_findings.main()
    printed = capsys.readouterr().out
    assert "24 cells declared: 16 ok, 8 unsupported." in printed
    assert "  Attention eager instead of sdpa: decode speed -9.1% in 8 pairs" in printed
    assert "Precision" not in printed
    monkeypatch.setattr("sys.argv", ["print_findings.py", str(published)])
    print_findings.main()
    everything = capsys.readouterr().out
    assert "Attention eager" in everything and "Precision nf4" in everything


def change_speed(path):
    """Change one published value: the first ok cell's decode speed in summary.parquet."""
    summary = pd.read_parquet(path / "summary.parquet")
    summary.loc[0, "decode_tokens_per_s"] = 21.0
    summary.to_parquet(path / "summary.parquet")


def relist(folder, name):
    """List the file's present checksum, as someone would who edits and covers it up."""
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    lines = [f"{sha256(folder / name)}  {name}" if line.endswith(f"  {name}") else line for line in lines]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")


def test_published_figures_come_out_byte_for_byte(published, tmp_path, capsys):
    code, output = redraw(published, tmp_path, capsys)
    assert code == 0
    for figure in FIGURES:
        assert f"{figure.name}: byte-identical" in output
        for suffix in SUFFIXES:
            assert (tmp_path / "cpu-demo" / "figures" / f"{figure.name}{suffix}").exists()
    assert "44.4 tokens/s" in (tmp_path / "cpu-demo" / "report.html").read_text()


def test_a_changed_value_is_reported_where_it_is(published, tmp_path, capsys):
    change_speed(published)
    code, output = redraw(published, tmp_path, capsys)
    assert code == 1
    assert "summary.parquet: CHANGED since it was published" in output
    # fp32, eager, batch 1 was 20 * sqrt(1.02) = 20.199; the first row of the grid's data.
    assert (
        "grid: plotted data DIFFER: row 1 (smollm2-135m--fp32--eager--loop--short--b1), column value"
        in output
    )
    assert "published '20.199', redrawn '21'" in output
    assert "latency: byte-identical" in output


def test_a_changed_value_with_a_forged_checksum_is_still_seen(published, tmp_path, capsys):
    change_speed(published)
    relist(published, "summary.parquet")
    code, output = redraw(published, tmp_path, capsys, "--allow-other-bytes")
    assert code == 1
    assert "CHANGED" not in output
    assert "grid: plotted data DIFFER" in output


def test_other_bytes_with_the_same_data_are_no_failure_if_said_to_be_fine(published, tmp_path, capsys):
    sums = (published / "SHA256SUMS").read_text()
    listed = next(line for line in sums.splitlines() if line.endswith("figures/grid.png"))
    (published / "SHA256SUMS").write_text(sums.replace(listed, f"{'0' * 64}  figures/grid.png"))
    code, output = redraw(published, tmp_path, capsys, "--allow-other-bytes")
    assert code == 0
    assert "grid: bytes differ (figures/grid.png), plotted data agree" in output


@pytest.mark.parametrize("name", ["measurements.parquet", "figures/latency.csv", "SHA256SUMS"])
def test_a_missing_file_is_named(published, tmp_path, capsys, name):
    (published / name).unlink()
    code, output = redraw(published, tmp_path, capsys)
    assert code == 1
    assert "MISSING" in output
    assert name in output


def test_a_figure_that_was_not_published_is_named(published, tmp_path, capsys):
    sums = (published / "SHA256SUMS").read_text().splitlines()
    (published / "SHA256SUMS").write_text("\n".join(line for line in sums if "grid" not in line) + "\n")
    code, output = redraw(published, tmp_path, capsys)
    assert code == 1
    assert "grid: MISSING from what was published" in output


def test_nothing_published_is_an_error(tmp_path, capsys):
    assert redraw_published.main(["--published", str(tmp_path / "none"), "--output", str(tmp_path)]) == 1
    assert "holds no published campaign" in capsys.readouterr().err


def test_sums_list_what_sha256sum_can_check(published):
    lines = (published / "SHA256SUMS").read_text().splitlines()
    listed = dict(reversed(line.split("  ")) for line in lines)
    assert len(listed) == 5 + 3 * len(FIGURES)
    assert listed["figures/grid.csv"] == sha256(published / "figures" / "grid.csv")


def test_publishing_does_not_overwrite(published, finished, capsys):
    (published / "mark").touch()
    assert publish_campaign.main(["demo", "cpu-demo", "--results", str(finished)]) == 1
    assert "--force" in capsys.readouterr().err
    assert (published / "mark").exists()
    assert publish_campaign.main(["demo", "cpu-demo", "--results", str(finished), "--force"]) == 0
    assert not (published / "mark").exists()
    assert [path.name for path in published.parent.iterdir()] == ["cpu-demo"]


@pytest.mark.parametrize("name", ["", ".", "..", "../demo", "published"])
def test_a_name_that_is_the_folder_of_others_is_refused(published, finished, name, capsys):
    with pytest.raises(SystemExit):
        publish_campaign.main(["demo", name, "--results", str(finished), "--force"])
    assert "is no name of a campaign" in capsys.readouterr().err
    assert published.exists() and (finished / "demo").exists()


def test_a_campaign_that_cannot_be_read_is_named_and_the_others_are_drawn(published, tmp_path, capsys):
    broken = published.with_name("a-broken")
    shutil.copytree(published, broken)
    (broken / "measurements.parquet").write_bytes(b"not Parquet")
    try:
        code, printed = redraw(published, tmp_path, capsys)
    finally:
        shutil.rmtree(broken)
    assert code == 1 and "measurements.parquet cannot be used" in printed
    assert "cpu-demo\n  ranking: byte-identical" in printed


@pytest.mark.parametrize("command", ["draw_figure.py", "write_report.py", "print_findings.py"])
def test_a_broken_table_is_one_sentence(finished, tmp_path, command):
    for file in (finished / "demo").glob("*.*"):
        shutil.copy(file, tmp_path)
    (tmp_path / "summary.parquet").write_bytes(b"not Parquet")
    tables = [f"--{name}={tmp_path / name}.parquet" for name in ("measurements", "summary")]
    others = [f"--{name}={tmp_path / name}.json" for name in ("provenance", "experiments")]
    options = {
        "draw_figure.py": ["grid", *tables, f"--output={tmp_path / 'grid'}"],
        "write_report.py": [
            *tables,
            *others,
            f"--figures={tmp_path}",
            f"--output={tmp_path / 'report.html'}",
        ],
        "print_findings.py": [str(tmp_path)],
    }[command]
    script = Path(publish_campaign.__file__).with_name(command)
    done = subprocess.run([sys.executable, script, *options], capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1 and "summary.parquet cannot be used" in done.stderr
    assert not list(tmp_path.glob("grid*")) and not (tmp_path / "report.html").exists()


def test_unfinished_campaigns_are_not_published(finished, tmp_path, capsys):
    campaign = tmp_path / "half"
    campaign.mkdir()
    assert publish_campaign.main(["half", "half", "--results", str(tmp_path)]) == 1
    assert "lacks measurements.parquet and " in capsys.readouterr().err
    assert not (tmp_path / "published").exists()


@pytest.mark.parametrize(
    ("was", "now", "agrees"),
    [
        ("1.23457", "1.23456", True),  # the sixth digit may round the other way
        ("1.23457", "1.23357", False),
        ("538061000", "5.38061e+08", True),  # another way to write the same number
        ("", "0", False),
        ("ok", "oom", False),
    ],
)
def test_what_counts_as_agreeing(tmp_path, was, now, agrees):
    for name, value in (("old", was), ("new", now)):
        (tmp_path / name).write_text(f"cell,value\na,{value}\n")
    difference = first_difference(tmp_path / "old", tmp_path / "new")
    assert (difference is None) is agrees
    assert agrees or "column value" in difference


def test_a_row_more_is_a_difference(tmp_path):
    (tmp_path / "old").write_text("cell,value\na,1\n")
    (tmp_path / "new").write_text("cell,value\na,1\nb,2\n")
    assert first_difference(tmp_path / "old", tmp_path / "new") == "published 1 rows, redrawn 2"
