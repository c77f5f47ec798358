"""The report: sentences that stay true for odd inputs, text from a model that stays text, one file."""

import base64
import io
import json
import re

import pandas as pd
import pytest
from PIL import Image

from inferbench.answer import answers, overview
from inferbench.cell_columns import cell_columns, first_rows
from inferbench.context import context_sentences
from inferbench.explorer import explorer
from inferbench.page_tables import table_of
from inferbench.places import place_table
from inferbench.report import write_report
from inferbench.side_by_side import both_ways, reversals, side_by_side_table
from made_up_tables import DEVICE, NO_FLASH, demo_measurements, demo_provenance, demo_summary


def say(summary):
    """All sentences of the answer, one a line."""
    lines = [line for answer in answers(summary, {}) for about in answer.sentences.values() for line in about]
    return "\n".join([*overview(summary), *lines])


def with_intervals(summary, share):
    """The summary with an interval of `share` to both sides of each decode speed."""
    speed = summary["decode_tokens_per_s"]
    ends = {"decode_tokens_per_s_low": speed * (1 - share), "decode_tokens_per_s_high": speed * (1 + share)}
    return summary.assign(**ends, replicates_valid=summary["replicates_valid"].where(summary["valid"], 0) * 3)


def page(tmp_path, measurements, provenance=None, figures=None, limits=None):
    """The report as text."""
    provenance = demo_provenance(measurements) if provenance is None else provenance
    output = tmp_path / "report.html"
    write_report(
        measurements, demo_summary(measurements), {}, provenance, figures or tmp_path, output, limits
    )
    return output.read_text(encoding="utf-8")


def without_scripts(html):
    """The page's markup apart from its scripts, whose own code has words like '<img'."""
    return re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


def test_effects_and_memory_of_the_demo():
    words = say(demo_summary(demo_measurements()))
    assert "24 cells declared: 16 ok, 8 unsupported." in words
    # 162.9 / 269.0 - 1 = -39%, 119 / 269.0 - 1 = -56%
    assert "fp32 538 MB, 100% more; bf16 269 MB; int8 163 MB, 39% less; nf4 119 MB, 56% less" in words
    assert "Attention eager instead of sdpa: decode speed -9.1% in 8 pairs" in words
    assert "Batch size 4 instead of 1 (tokens/s of the whole batch): decode speed ×3.00 in 8 pairs" in words


def test_intervals_decide_whether_cells_are_told_apart():
    summary = demo_summary(demo_measurements())
    # 40.4 and 44.4: 2% to both sides keeps them apart, 8% does not.
    assert "(intervals apart in 8 of 8)" in say(with_intervals(summary, 0.02))
    assert "(intervals apart in 0 of 8)" in say(with_intervals(summary, 0.08))
    assert "(no intervals)" in say(summary)


def test_differences_under_one_per_cent_are_no_findings():
    measurements = demo_measurements(attention=("sdpa", "eager"), batch_size=(1,))
    eager = measurements["attention"] == "eager"
    sdpa = measurements["attention"] == "sdpa"
    measurements.loc[eager, "decode_tokens_per_s"] = (
        measurements.loc[sdpa, "decode_tokens_per_s"].to_numpy() * 0.991
    )
    words = say(with_intervals(demo_summary(measurements), 0.0001))
    assert "Attention eager instead of sdpa: decode speed differs by less than 1% in 4 pairs" in words


def test_nothing_ok():
    words = say(demo_summary(demo_measurements(attention=("flash_attention_2",))))
    assert "8 cells declared: 0 ok, 8 unsupported." in words
    assert "Weights" not in words


def test_flagged_cells_are_never_ranked():
    measurements = demo_measurements()
    bf16 = (measurements["precision"] == "bf16") & (measurements["status"] == "ok")
    measurements.loc[bf16, "flags"] = "throttled"
    measurements.loc[bf16, "valid"] = False
    words = say(demo_summary(measurements))
    assert "instead of bf16" not in words


def test_one_cell_one_replicate():
    words = say(
        demo_summary(
            demo_measurements(precision=("nf4",), attention=("sdpa",), batch_size=(4,), replicate=(1,))
        )
    )
    assert "1 cell declared: 1 ok." in words
    assert "Weights: nf4 119 MB." in words
    assert "instead of" not in words


def test_devices_are_not_compared_with_each_other():
    summary = demo_summary(demo_measurements(attention=("sdpa",), batch_size=(1,)))
    summary["device_name"] = ["A", "A", "B", "B"]  # fp32, bf16 | int8, nf4
    words = say(summary)
    assert "On A: Precision fp32 instead of bf16" in words
    assert "nf4 instead of bf16" not in words


def test_sources_of_weights_are_said():
    assert "fp32 is itself dequantised" in say(demo_summary(demo_measurements()))
    synthetic = demo_summary(demo_measurements("synthetic-olmoe-1b-7b", "synthetic"))
    assert "synthetic, random" in say(synthetic)
    assert answers(synthetic, {})[0].subject == "synthetic-olmoe-1b-7b"
    checkpoint = say(demo_summary(demo_measurements("qwen", "checkpoint")))
    assert "dequantised" not in checkpoint
    assert "synthetic" not in checkpoint


def test_weights_of_a_model_are_told_once_whatever_the_workloads():
    summary = demo_summary(demo_measurements())
    words = say(pd.concat([summary, summary.assign(workload="long")], ignore_index=True))
    assert [words.count(text) for text in ("Weights (against", "itself dequantised", "Precision nf4")] == [
        1,
        1,
        2,
    ]


def both_ways_run(**rates):
    """A summary of bf16 and nf4, run by generate() and captured, with these tokens/s."""
    measurements = demo_measurements(
        precision=("bf16", "nf4"), attention=("sdpa",), batch_size=(1,), replicate=(1,)
    )
    parts = [measurements.assign(execution=mode) for mode in ("generate", "cuda_graph")]
    for part, mode in zip(parts, ("generate", "cuda_graph"), strict=True):
        part["cell"] = part["cell"] + mode
        part["decode_tokens_per_s"] = pd.array(rates[mode], dtype="Float64")
    return demo_summary(pd.concat(parts, ignore_index=True))


def test_where_generate_leads_to_another_conclusion_both_measurements_are_said():
    """18 against 29 tokens/s is 37.9% slower, 135 against 111 is 21.6% faster; 0.5% apart is no difference, and
    intervals that overlap tell no order."""
    reversed_order = both_ways(both_ways_run(generate=[29.0, 18.0], cuda_graph=[111.0, 135.0]))
    [sentence] = reversals(reversed_order, "bf16")
    assert sentence == (
        "nf4 against bf16: by generate() 37.9% slower (18.0 and 29.0 tokens/s, no intervals), captured (cuda_graph)"
        " 21.6% faster (135 and 111 tokens/s, no intervals)."
    )
    hidden = both_ways(both_ways_run(generate=[20.0, 20.1], cuda_graph=[111.0, 135.0]))
    [sentence] = reversals(hidden, "bf16")
    assert "nf4 against bf16: by generate() not told apart (20.1 and 20.0 tokens/s, no intervals)" in sentence
    wide = with_intervals(both_ways_run(generate=[29.0, 18.0], cuda_graph=[111.0, 135.0]), 0.15)
    [sentence] = reversals(both_ways(wide), "bf16")
    # 18 x 1.15 is less than 29 x 0.85; 135 x 0.85 is less than 111 x 1.15.
    assert "37.9% slower (18.0 and 29.0 tokens/s, intervals apart)" in sentence
    assert "not told apart (135 and 111 tokens/s, intervals overlap)" in sentence
    assert not list(
        reversals(both_ways(both_ways_run(generate=[20.0, 22.0], cuda_graph=[111.0, 135.0])), "bf16")
    )
    table = side_by_side_table(reversed_order)
    row = dict(zip(table.columns, table.rows[1], strict=True))
    assert (row["precision"], row["captured ÷ generate()"]) == ("nf4", "7.50")
    assert "batch size 1" in table.common and "execution" not in table.columns


def test_the_batch_at_which_a_precision_stops_paying_is_named():
    summary = demo_summary(
        demo_measurements(precision=("bf16", "nf4"), attention=("sdpa",), batch_size=(1, 2, 4, 8))
    )
    rates = {1: (100, 120), 2: (190, 200), 4: (380, 381), 8: (700, 560)}
    for (precision, batch), place in summary.groupby(["precision", "batch_size"]).groups.items():
        summary.loc[place, "decode_tokens_per_s"] = float(rates[batch][precision == "nf4"])
    words = say(summary)
    # At 4 they are within 1%: neither.
    assert "nf4 is faster than bf16 up to batch size 2 (+5.3%) and slower from 8 (-20.0%)" in words


def test_cells_of_different_cards_are_compared_with_that_said():
    summary = demo_summary(demo_measurements(precision=("bf16",), batch_size=(1,)))
    by_attention = dict(zip(summary["cell"], summary["attention"], strict=True))
    [told] = [answer.sentences["attention"] for answer in answers(summary, by_attention)]
    assert told[0].endswith("decode speed -9.1% (no intervals, different cards).")


def test_the_page_says_once_what_holds_for_the_weights_of_all_and_of_which_model_a_sentence_is(tmp_path):
    one = demo_measurements("synthetic-a", "synthetic", precision=("bf16",), batch_size=(1,))
    other = demo_measurements(
        "synthetic-b", "synthetic", precision=("bf16",), attention=("sdpa",), batch_size=(1,)
    )
    text = page(tmp_path, pd.concat([one, other], ignore_index=True))
    assert text.count("no outliers, which flatters LLM.int8") == 1
    # Attention differs in cells of the first alone.
    attention = text.split('<h2 id="attention">')[1].split("<h2")[0]
    assert "<h3>synthetic-a</h3>" in attention and "synthetic-b" not in attention


def test_few_pairs_are_named_one_by_one():
    summary = demo_summary(
        demo_measurements(precision=("bf16", "nf4"), attention=("sdpa",), batch_size=(1, 32))
    )
    rates = {("bf16", 1): 100, ("nf4", 1): 120, ("bf16", 32): 2000, ("nf4", 32): 900}
    for cell, place in summary.groupby(["precision", "batch_size"]).groups.items():
        summary.loc[place, "decode_tokens_per_s"] = float(rates[cell])
    assert (
        "Precision nf4 instead of bf16: decode speed ×1.20 at batch 1 (no intervals); ×0.450 at batch 32 (no"
        " intervals)."
    ) in say(summary)


def test_context_is_the_shortest_prompt_against_the_longest():
    parts = []
    for length, rate in ((128, 100.0), (8192, 75.0)):
        part = demo_measurements(precision=("bf16",), attention=("sdpa",), batch_size=(1,), replicate=(1,))
        part["workload"], part["cell"] = f"p{length}", f"cell-{length}"
        part["prompt_tokens"] = length
        parts.append(part.assign(decode_tokens_per_s=pd.array([rate], dtype="Float64")))
    measurements = pd.concat(parts, ignore_index=True)
    [sentence] = context_sentences(measurements, demo_summary(measurements))
    assert "from 128 to 8,192 tokens of prompt" in sentence
    assert "decode 100 to 75.0 tokens/s (-25.0%)" in sentence


def test_the_page_opens_with_what_to_run(tmp_path):
    html = page(tmp_path, demo_measurements(), limits={"memory_gb": 1.1})
    opening, _, rest = html.partition("What was asked")
    assert opening.index("What should I run?") == opening.index("<h2") + len('<h2 id="advice">')
    assert '<p class="pick">nf4, sdpa, loop, batch 1</p>' in opening
    # 25 x 1.1 x sqrt(1.02) tokens/s, and without the limit 40 x 1.1 x sqrt(1.02)
    assert "27.8 tokens/s" in opening
    assert "The limit on memory costs 37.5% of the speed in these runs" in opening
    assert "python scripts/benchmark.py model=smollm2-135m precision=nf4 attention=sdpa" in opening
    # The campaign that the page gives to save has the limits in it.
    assert "&#34;memory_gb&#34;: 1.1" in rest


def test_text_of_a_model_is_shown_and_never_run(tmp_path):
    measurements = demo_measurements()
    evil = '</pre><script>alert("x")</script><img src=x onerror=alert(1)> & {{ 7 * 7 }} ' + "w" * 10_000
    measurements["sample_text"] = evil
    html = without_scripts(page(tmp_path, measurements))
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;/pre&gt;&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;" in html
    assert "{{ 7 * 7 }}" in html
    assert "w" * 10_000 in html


def test_reason_of_a_cell_is_escaped_and_its_cells_are_all_named(tmp_path):
    measurements = demo_measurements()
    flash = measurements["attention"] == "flash_attention_2"
    measurements.loc[flash, "reason"] = NO_FLASH + " <b>"
    html = page(tmp_path, measurements)
    assert NO_FLASH + " &lt;b&gt;" in html
    for cell in measurements.loc[flash, "cell"].unique():
        assert f"<li>{cell} (2)</li>" in html


def test_samples_stand_side_by_side_per_precision(tmp_path):
    measurements = demo_measurements()
    second_nf4 = (measurements["precision"] == "nf4") & (measurements["replicate"] == 2)
    measurements.loc[second_nf4, "sample_text"] = "something else"
    html = page(tmp_path, measurements)
    shown = re.findall(r"<h4>(.*?)</h4>", html.partition("Sample outputs</h2>")[2])
    assert shown == ["fp32", "bf16", "int8", "nf4"]
    assert "The capital of France is Paris, says nf4." in html
    assert "Replicates differ in nf4; the first is shown." in html


def test_a_sample_begins_with_the_models_own_words_and_precisions_that_say_the_same_share_it(tmp_path):
    """A prompt of an exact length may end inside a chat template, whose rest the model then says first."""
    measurements = demo_measurements()
    measurements["sample_text"] = ".<|im_end|>\n<|im_start|>assistant\nOnce upon a time<|im_end|>"
    html = page(tmp_path, measurements).partition("Sample outputs</h2>")[2]
    assert (
        '<h4>fp32, bf16, int8, nf4</h4><pre class="text" dir="auto">Once upon a time&lt;|im_end|&gt;</pre>'
        in html
    )


def test_what_a_campaign_does_not_have_is_left_away(tmp_path):
    for nothing_drawn in ("throughput", "latency"):
        (tmp_path / f"{nothing_drawn}.csv").write_text("cell,value\n")
    html = page(tmp_path, demo_measurements(batch_size=(1,)).assign(sample_text=pd.NA))
    for section in ("samples", "batch_size"):
        assert f'"#{section}"' not in html and f'id="{section}"' not in html
    assert 'id="precision"' in html


def test_times_are_to_the_second(tmp_path):
    assert "2026-01-05 10:01:00 to 2026-01-05 10:02:00" in page(tmp_path, demo_measurements(), provenance={})


def test_page_loads_nothing_from_elsewhere(tmp_path):
    figures = tmp_path / "figures"
    figures.mkdir()
    svg = '<?xml version="1.0"?>\n<svg><defs><path id="p1"/></defs><use xlink:href="#p1"/></svg>'
    for name in ("precision", "grid"):
        (figures / f"{name}.svg").write_text(svg)
    html = without_scripts(page(tmp_path, demo_measurements(), figures=figures))
    assert not re.search(r"(src|href)=\"(https?:)?//", html)
    assert "@import" not in html
    assert html.count("<svg") == 2
    # Identifiers of two pictures must not clash in one page.
    assert 'id="precision-p1"' in html
    assert 'href="#grid-p1"' in html
    assert "figures/latency.svg</code> was not there" in html


@pytest.mark.parametrize(("height", "kind"), [(2, "webp"), (20_000, "png")])
def test_a_drawing_of_very_many_marks_is_shown_as_pixels(tmp_path, height, kind):
    (tmp_path / "throughput.svg").write_text("<svg>" + "<path/>" * 500_000 + "</svg>")
    Image.new("RGB", (3, height), "#0072b2").save(tmp_path / "throughput.png")
    html = page(tmp_path, demo_measurements())
    (encoded,) = re.findall(rf'<img alt="" src="data:image/{kind};base64,(.*?)">', html)
    shown = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert (shown.size, shown.getpixel((2, 1))) == ((3, height), (0x00, 0x72, 0xB2))
    assert len(html) < 2_000_000


def test_provenance_may_lack_everything(tmp_path):
    html = page(tmp_path, demo_measurements(), provenance={})
    assert "Campaign demo" in html
    assert "0123abc" in html
    full = page(tmp_path, demo_measurements())
    assert "4.57.3" in full
    assert "precision bf16, attention sdpa" in full


def test_mixed_code_and_a_dirty_checkout_are_said(tmp_path):
    measurements = demo_measurements()
    measurements.loc[:2, "mixed_code"] = True
    measurements["git_commit"] = "0123abc-dirty"
    html = page(tmp_path, measurements)
    assert "3 of 48 replicates ran other code than the newest ones" in html
    assert "the commit alone does not bring these numbers back" in html


def test_table_leaves_out_what_says_nothing():
    measurements = demo_measurements()
    table = first_rows(cell_columns(measurements, demo_summary(measurements)))
    assert len(table.rows) == 24
    assert "weights, MB" in table.columns
    assert "model" not in table.columns  # one model
    assert "peak allocated, MB" not in table.columns  # no GPU
    row = dict(zip(table.columns, table.rows[0], strict=True))
    # fp32, eager, batch 1: 20 * sqrt(1.02)
    assert (row["decode tokens/s"], row["weights, MB"], row["status"]) == ("20.2", "538", "ok")


def test_what_all_rows_have_is_said_once():
    table = table_of(
        {"model": ["m", "m"], "precision": ["bf16", "nf4"], "GB": ["2", "2"]}, {"model", "precision"}
    )
    assert (table.columns, table.common) == (["precision", "GB"], "model m")
    alone = table_of({"model": ["m"], "precision": ["bf16"], "GB": ["2"]}, {"model", "precision"})
    assert (alone.rows, alone.common) == ([["2"]], "model m, precision bf16")


def test_a_long_table_shows_one_page_and_holds_the_others():
    table = table_of({"row": [f"row {place}" for place in range(960)]}, {"row"})
    assert (len(table.rows), table.left_out) == (960, 0)
    assert (len(table.first_page), len(table.other_pages)) == (50, 910)
    assert table.first_page + table.other_pages == table.rows


def test_where_each_cell_ran(tmp_path):
    measurements = demo_measurements()
    local = place_table(measurements)
    assert "Slurm job" not in local.columns and "driver" not in local.columns
    measurements["slurm_job_id"] = [str(1000 + row) for row in range(len(measurements))]
    measurements["host"], measurements["driver"] = "gpu7", "590.44"
    table = place_table(measurements)
    row = dict(zip(table.columns, table.rows[3], strict=True))
    assert (row["Slurm job"], table.common) == ("1003", "node gpu7, driver 590.44")
    assert row["status"] == "ok"
    assert (row["cell"], row["device"]) == (measurements["cell"][3], DEVICE)
    assert "1003</td>" in page(tmp_path, measurements)


def test_long_tables_stay_small():
    measurements = pd.concat([demo_measurements(f"model-{place}") for place in range(3)], ignore_index=True)
    summary = pd.concat(
        [demo_summary(own) for _, own in measurements.groupby("model", sort=False)], ignore_index=True
    )
    table = first_rows(cell_columns(measurements, summary))
    assert len(table.rows) + table.left_out == 72
    assert len(table.rows) == 50


def test_the_same_tables_give_the_same_bytes(tmp_path):
    first = page(tmp_path, demo_measurements())
    assert page(tmp_path, demo_measurements()) == first


def test_scripts_of_the_page_end_where_they_should(tmp_path):
    measurements = demo_measurements()
    measurements.loc[measurements["status"] != "ok", "reason"] = "</script><!-- <script>"
    html = page(tmp_path, measurements)
    assert len(re.findall("<script", html)) == len(re.findall("</script", html)) >= 3
    assert "<!--" not in html
    data = json.loads(re.search(r'id="explorer-data">(.*?)</script>', html).group(1))
    assert "</script><!-- <script>" in data["columns"]["reason"]["words"]


def test_the_explorer_keeps_what_may_not_be_ranked_apart():
    measurements = demo_measurements()
    nf4 = (measurements["precision"] == "nf4") & (measurements["status"] == "ok")
    measurements.loc[nf4, "flags"] = "throttled"
    measurements.loc[nf4, "valid"] = False
    summary = demo_summary(measurements)
    columns = cell_columns(measurements, summary)
    own = (summary["cell"] == "smollm2-135m--nf4--sdpa--loop--short--b4").argmax()
    # Both replicates are flagged: their geometric mean, 25 x 1.1 x 3 x sqrt(1.02), and no interval.
    assert columns["decode_tokens_per_s"].texts()[own] == "83.3"
    assert columns["flags"].texts()[own] == "throttled"
    data = explorer(columns, summary, {})["data"]
    assert json.loads(data)["valid"][own] == 0
