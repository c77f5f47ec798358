"""The report: what stands where, text from a model that stays text, one file."""

import base64
import io
import json
import re

import pandas as pd
import pytest
from PIL import Image

from inferbench.analysis.experiment_tables import Experiment
from inferbench.presentation.cell_columns import cell_columns, first_rows
from inferbench.presentation.explorer import explorer
from inferbench.presentation.page_tables import table_of
from inferbench.report.origins import place_table, processes, provenance_facts
from inferbench.report.page import write_report
from inferbench.report.spending import experiment_seconds
from inferbench.run.parts import part
from inferbench.tables import schema
from made_up_experiments import experiment_table
from made_up_tables import DEVICE, NO_FLASH, demo_measurements, demo_provenance, demo_summary


def page(tmp_path, measurements, provenance=None, figures=None, limits=None):
    """The report as text."""
    provenance = demo_provenance(measurements) if provenance is None else provenance
    output = tmp_path / "report.html"
    write_report(
        measurements, demo_summary(measurements), {}, provenance, figures or tmp_path, part, output, limits
    )
    return output.read_text(encoding="utf-8")


def without_scripts(html):
    """The page's markup apart from its scripts, whose own code has words like '<img'."""
    return re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


def test_the_page_says_once_what_holds_for_the_weights_of_all_and_of_which_model_a_sentence_is(tmp_path):
    one = demo_measurements("synthetic-a", "synthetic", precision=("bf16",), batch_size=(1,))
    other = demo_measurements(
        "synthetic-b", "synthetic", precision=("bf16",), attention=("sdpa",), batch_size=(1,)
    )
    text = page(tmp_path, pd.concat([one, other], ignore_index=True))
    assert text.count("The weights are synthetic, random") == 1
    assert "flatters LLM.int8" not in text, "none of these ran it"
    int8 = demo_measurements("synthetic-a", "synthetic", precision=("int8",), batch_size=(1,))
    assert "Random weights have no outliers, which flatters LLM.int8." in page(tmp_path, int8)
    # Attention differs in cells of the first alone.
    attention = text.split('<h2 id="attention">')[1].split("<h2")[0]
    assert "<h3>synthetic-a</h3>" in attention and "synthetic-b" not in attention


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


def test_the_page_says_what_the_workloads_stand_for(tmp_path):
    measurements = demo_measurements(batch_size=(1, 4))
    measurements["prompt_tokens"] = measurements["batch_size"].map({1: 7, 4: 1024}).astype("Int64")
    measurements["new_tokens"] = 16
    assert "short: 7 to 1,024 prompt tokens, 16 new" in page(tmp_path, measurements)


def test_the_page_says_how_many_timed_iterations_a_number_is_of(tmp_path):
    measurements = demo_measurements()
    measurements["iterations"] = 3
    assert "the median of its timed iterations: 3." in page(tmp_path, measurements)
    measurements.loc[measurements.index[0], "iterations"] = 7
    assert "the median of its timed iterations: 3 to 7, most often 3." in page(tmp_path, measurements)


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
    assert "3 of 48 replicates ran other code than the newest ones of their engine and library" in html
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
    measurements["git_commit"] = ["0123abc"] * 3 + ["4567def"] * (len(measurements) - 3)
    table = place_table(measurements)
    row = dict(zip(table.columns, table.rows[3], strict=True))
    assert (row["Slurm job"], table.common) == ("1003", "node gpu7, driver 590.44")
    assert (row["status"], row["commit"]) == ("ok", "4567def")
    assert (row["cell"], row["device"]) == (measurements["cell"][3], DEVICE)
    assert "1003</td>" in page(tmp_path, measurements)


def test_experiments_count_where_the_numbers_come_from():
    """Two processes of 65 and 70 s on another card, of which one has two rows."""
    rows = [
        {
            "cell": "cell-off",
            "precision": "bf16",
            "cache": "off",
            "replicate": replicate,
            "prompt_tokens": tokens,
            "seconds": 60.0 + 5 * replicate,
            "device_uuid": "GPU-b",
            "git_commit": "beef",
            "code": "c2",
            "started_at": "2026-01-06T10:00:00+00:00",
        }
        for replicate, tokens in ((1, 8), (1, 16), (2, 8))
    ]
    ran = processes(
        demo_measurements().assign(device_uuid="GPU-a"),
        {"kv_cache": Experiment({}, experiment_table("kv_cache", rows), pd.DataFrame())},
    )
    facts = dict(provenance_facts(ran, {}))
    assert (facts["device UUID"], facts["git commit"]) == ("GPU-a, GPU-b", "0123abc, beef")
    # The last ends 70 s after its start.
    assert facts["measured (UTC)"] == "2026-01-05 10:01:00 to 2026-01-06 10:01:10"
    assert ran["cell"].iloc[-1] == "kv_cache: cell-off"
    assert experiment_seconds(ran) == ["The decoding experiments took 2.25 min more: kv_cache 2.25 min."]
    assert experiment_seconds(processes(demo_measurements(), {})) == []


def test_the_explorers_commands_are_those_of_their_own_cells():
    """A campaign whose cells ask for different cards by their model."""
    measurements = pd.concat(
        [demo_measurements(name, precision=("bf16",)) for name in ("a", "b")], ignore_index=True
    )
    summary = pd.concat(
        [demo_summary(own) for _, own in measurements.groupby("model", sort=False)], ignore_index=True
    )
    campaign = {
        "device": "cuda",
        "cpu_threads": 2,
        "seed": 0,
        "timeout_s": 60,
        "measure": {},
        "gpu_model": [{"model": "a", "gpu_model": "h100"}, {"model": "b", "gpu_model": "a100"}],
    }
    told = json.loads(explorer(cell_columns(measurements, summary), summary, campaign)["data"])["command"]
    of_cell = [told["ends"][place] for place in told["end"]]
    assert ["gpu_model=h100" in end for end in of_cell] == list(summary["model"] == "a")
    assert ["gpu_model=a100" in end for end in of_cell] == list(summary["model"] == "b")


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


def test_the_page_says_which_numbers_are_not_known_and_why(tmp_path):
    assert "Numbers that are not known" not in page(tmp_path, demo_measurements())
    unknown = demo_measurements().assign(kv_cache_bytes=None, predicted_bytes=None)
    unknown["not_known"] = json.dumps({"kv_cache_bytes": "its state is <elsewhere>"})
    text = page(tmp_path, schema.validate(unknown, schema.measurements))
    told = text.split("Numbers that are not known")[1].split("<h2")[0]
    assert "<td>kv_cache_bytes</td><td>its state is &lt;elsewhere&gt;</td>" in told
