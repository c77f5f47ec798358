"""The report as a reader meets it: a file in a browser, without a network."""

import re
from pathlib import Path

import pytest

from inferbench.plan.cells import Cell, command
from inferbench.presentation.style import precision_styles
from inferbench.report.page import write_report
from inferbench.run.parts import part
from made_up_tables import demo_measurements, demo_provenance, demo_summary
from many_cells import many_cells

pytestmark = pytest.mark.browser
NARROW = {"width": 400, "height": 800}
SETTINGS = {"device": "cpu", "cpu_threads": 2, "seed": 0, "timeout_s": 1800, "measure": {"min_iterations": 3}}
HOSTILE = '</script><script>alert(1)</script><!-- <script> <img src=x onerror="alert(2)"> {{ 7 * 7 }} &amp; '


def report(folder: Path, measurements, summary, provenance) -> Path:
    write_report(measurements, summary, {}, provenance, folder, part, folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """24 cells, 16 of them ok: 12 to rank, with an interval of a tenth to both sides, and 4 of int8, throttled."""
    measurements = demo_measurements()
    throttled = (measurements["precision"] == "int8") & (measurements["status"] == "ok")
    measurements.loc[throttled, "flags"] = "throttled"
    measurements.loc[throttled, "valid"] = False
    summary = demo_summary(measurements)
    speed = summary["decode_tokens_per_s"]
    summary = summary.assign(decode_tokens_per_s_low=speed * 0.9, decode_tokens_per_s_high=speed * 1.1)
    provenance = demo_provenance(measurements)
    provenance["campaign"] |= SETTINGS
    return report(tmp_path_factory.mktemp("demo"), measurements, summary, provenance)


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """10 000 cells."""
    return report(tmp_path_factory.mktemp("many"), *many_cells(), {})


def marks(page):
    return page.locator("#plot svg .mark-symbol.role-mark path")


def drawn(page, count: int) -> None:
    """Wait until the plot shows that many cells."""
    page.locator(f'#plot[data-drawn="{count}"]').wait_for()


def table(page) -> list[str]:
    """The cells of the table's rows, in their order."""
    rows = page.locator("#cell-table tbody tr[data-cell]")
    return rows.evaluate_all("rows => rows.map(row => row.dataset.cell)")


def facts(page, inside: str = "#details") -> dict[str, str]:
    pairs = page.locator(f"{inside} dl div").evaluate_all(
        "pairs => pairs.map(pair => [...pair.children].map(part => part.textContent))"
    )
    return dict(pairs)


def filter_box(page, column: str, word: str):
    return page.locator("fieldset", has=page.locator("legend", has_text=column)).get_by_label(
        word, exact=True
    )


def test_every_cell_with_a_number_is_a_mark_in_the_style_of_its_precision(open_report, demo):
    page = open_report(demo)
    assert marks(page).count() == 16
    assert page.inner_text("#count") == "24 of 24 cells, 8 without a number to plot here."
    looks = marks(page).evaluate_all(
        "all => [...new Set(all.map(mark => mark.getAttribute('fill') + ' ' + mark.getAttribute('stroke')))]"
    )
    colours = {
        name: style.colour for name, style in precision_styles(["fp32", "bf16", "int8", "nf4"]).items()
    }
    filled = {look.split()[0].upper() for look in looks}
    # int8 carries a flag: hollow, its colour around it.
    assert filled == {colours["fp32"], colours["bf16"], colours["nf4"], "WHITE"}
    assert [look for look in looks if look.startswith("white")] == [f"white {colours['int8']}"]
    shapes = marks(page).evaluate_all("all => new Set(all.map(mark => mark.getAttribute('d'))).size")
    assert shapes == 4


def test_an_axis_with_one_value_is_not_what_the_plot_opens_with(open_report, tmp_path):
    measurements = demo_measurements(batch_size=(1,))
    path = report(tmp_path, measurements, demo_summary(measurements), demo_provenance(measurements))
    page = open_report(path)
    assert page.input_value("#choose-x") == "attention"


def test_axes_can_be_chosen(open_report, demo):
    page = open_report(demo)
    page.select_option("#choose-y", "ttft_ms")
    page.select_option("#choose-x", "weight_bytes")
    page.select_option("#choose-group", "attention")
    page.get_by_label(re.compile("^TTFT, ms by weights, MB, 16 cells")).wait_for()
    page.locator("#plot svg", has_text="weights, MB").wait_for()
    texts = page.locator("#plot svg text").all_text_contents()
    assert {"eager", "sdpa", "TTFT, ms", "weights, MB"} < set(texts)


def test_pointing_at_a_mark_shows_its_cell_interval_flags_and_command(open_report, demo):
    page = open_report(demo)
    page.fill("#search", "--bf16--sdpa--loop--short--b1")
    drawn(page, 1)
    marks(page).hover()
    tooltip = page.locator("#vg-tooltip-element")
    tooltip.get_by_text("smollm2-135m--bf16--sdpa--loop--short--b1").wait_for()
    # 40 x 1.1 x sqrt(1.02) = 44.438, a tenth to both sides
    assert "44.4 (40.0 to 48.9)" in tooltip.inner_text()
    known = facts(page)
    assert known["decode tokens/s"] == "44.4 (40.0 to 48.9)"
    assert known["flags"] == "none"
    assert page.inner_text("#details h4") == "smollm2-135m--bf16--sdpa--loop--short--b1"
    cell = Cell("smollm2-135m", "bf16", "sdpa", "loop", "short", 1)
    assert page.inner_text("#details pre") == command(SETTINGS, cell)


def test_a_flagged_cell_says_so(open_report, demo):
    page = open_report(demo)
    page.fill("#search", "int8--eager--loop--short--b4")
    drawn(page, 1)
    marks(page).hover()
    page.locator("#details.filled").wait_for()
    assert facts(page)["flags"] == "throttled"


def test_a_cell_with_two_flags_is_behind_the_box_of_each(open_report, tmp_path):
    measurements = demo_measurements(attention=("sdpa",), batch_size=(1,))
    for precision, flags in (("bf16", "throttled,contended"), ("nf4", "contended")):
        measurements.loc[measurements["precision"] == precision, ["flags", "valid"]] = [flags, False]
    page = open_report(report(tmp_path, measurements, demo_summary(measurements), {}))
    filter_box(page, "flags", "contended").check()
    drawn(page, 2)
    assert [name.split("--")[1] for name in table(page)] == ["bf16", "nf4"]
    filter_box(page, "flags", "contended").uncheck()
    filter_box(page, "flags", "throttled").check()
    drawn(page, 1)
    assert [name.split("--")[1] for name in table(page)] == ["bf16"]


def test_filters_narrow_plot_and_table_and_are_taken_back(open_report, demo):
    page = open_report(demo)
    filter_box(page, "precision", "bf16").check()
    filter_box(page, "precision", "nf4").check()
    filter_box(page, "batch size", "4").check()
    drawn(page, 4)
    assert table(page) == [
        f"smollm2-135m--{precision}--{attention}--loop--short--b4"
        for precision in ("bf16", "nf4")
        for attention in ("eager", "sdpa", "flash_attention_2")
    ]
    assert page.inner_text("#count").startswith("6 of 24 cells")
    page.get_by_role("button", name="Show all again").click()
    drawn(page, 16)
    assert len(table(page)) == 24
    page.fill("#search", "nf4 eager b4")
    drawn(page, 1)
    assert table(page) == ["smollm2-135m--nf4--eager--loop--short--b4"]
    page.locator("#plot").focus()
    page.keyboard.press("ArrowRight")
    page.locator("#details.filled").wait_for()
    page.fill("#search", "no such cell")
    page.locator("#details:not(.filled)").wait_for()
    page.locator("#plot").get_by_text("No cell is left.").wait_for()
    assert page.inner_text("#page") == "No cell is left."
    page.fill("#search", "")
    drawn(page, 16)


def test_the_table_sorts_by_numbers_with_unranked_and_absent_ones_last(open_report, demo):
    page = open_report(demo)
    as_declared = table(page)
    heading = page.get_by_role("columnheader", name="decode tokens/s")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    falling = table(page)
    # By hand: bf16 133.3, 121.2; nf4 83.3, 75.7; fp32 66.7, 60.6 at batch 4, then batch 1.
    order = [f"{p}--{a}" for p in ("bf16", "nf4", "fp32") for a in ("sdpa", "eager")]
    assert falling[:6] == [f"smollm2-135m--{name}--loop--short--b4" for name in order]
    assert {cell.split("--")[1] for cell in falling[12:16]} == {"int8"}
    assert {cell.split("--")[2] for cell in falling[16:]} == {"flash_attention_2"}
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    rising = table(page)
    assert rising[:12] == falling[:12][::-1]
    assert {cell.split("--")[1] for cell in rising[12:16]} == {"int8"}
    heading.get_by_role("button").click()
    assert table(page) == as_declared


def test_all_of_it_works_from_the_keyboard(open_report, demo):
    page = open_report(demo)
    page.locator("#plot").focus()
    page.keyboard.press("ArrowRight")
    # The lowest at batch 1: int8, eager.
    assert page.inner_text("#details h4") == "smollm2-135m--int8--eager--loop--short--b1"
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#details h4") == "smollm2-135m--int8--sdpa--loop--short--b1"
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#details h4") == "smollm2-135m--int8--eager--loop--short--b1"
    page.get_by_role("columnheader", name="precision").get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert [cell.split("--")[1] for cell in table(page)][::6] == ["fp32", "bf16", "int8", "nf4"]
    page.get_by_role("button", name="show smollm2-135m--bf16--sdpa--loop--short--b4").focus()
    page.keyboard.press("Enter")
    assert facts(page, "tr.chosen + tr")["decode tokens/s"] == "133 (120 to 147)"
    page.keyboard.press("Enter")
    assert page.locator("td.of-row").count() == 0


def test_on_paper_there_are_all_rows_and_nothing_to_press(open_report, demo):
    page = open_report(demo, color_scheme="dark")
    marks(page).first.hover()
    page.locator("#vg-tooltip-element.visible").wait_for()
    page.emulate_media(media="print")
    for shown in ("#choices", "#pages", "#plot-help", "#vg-tooltip-element", "#places"):
        assert not page.locator(shown).is_visible()
    assert page.locator("#plot svg").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf().startswith(b"%PDF")


def test_ten_thousand_cells(open_report, many):
    assert many.stat().st_size < 15e6
    page = open_report(many)
    drawn(page, 10_000)
    assert page.inner_text("#page") == "Rows 1 to 50 of 10,000"
    # One picture and one page of rows, not an element a cell.
    assert page.locator("#explorer *").count() < 2_500
    page.get_by_role("button", name="Last").click()
    assert page.inner_text("#page") == "Rows 9,951 to 10,000 of 10,000"
    assert table(page)[-1] == "model-9--nf4--attention_4--loop--short--b50"
    page.get_by_role("button", name="Previous").click()
    assert page.inner_text("#page") == "Rows 9,901 to 9,950 of 10,000"
    # 4000 x batch / speed, over a spread that grows: the slowest is int8 at batch 50 of the last model.
    page.get_by_role("columnheader", name="TTFT, ms").get_by_role("button").click()
    assert page.inner_text("#page") == "Rows 1 to 50 of 10,000"
    measurements, _ = many_cells()
    slowest = measurements.sort_values("ttft_ms", ascending=False, kind="stable")["cell"].head(50)
    assert table(page) == slowest.tolist()
    page.fill("#search", "model-3--nf4")
    drawn(page, 250)
    assert page.inner_text("#count") == "250 of 10,000 cells."
    page.evaluate(
        "addEventListener('beforeprint', () => window.printed = document.querySelectorAll('#cell-table tbody tr').length)"
    )
    page.fill("#search", "")
    drawn(page, 10_000)
    page.pdf()
    assert page.evaluate("window.printed") == 500
    assert len(table(page)) == 50


def test_a_mark_among_ten_thousand_can_be_pointed_at(open_report, many):
    page = open_report(many)
    page.select_option("#choose-x", "weight_bytes")
    page.get_by_label(re.compile("by weights")).wait_for()
    page.fill("#search", "model-1")
    drawn(page, 1_000)
    page.fill("#search", "model-1--bf16--attention_2--loop--short--b7")
    drawn(page, 1)
    marks(page).hover()
    page.locator("#details h4", has_text="model-1--bf16--attention_2--loop--short--b7").wait_for()


@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 900}, NARROW], ids=["wide", "narrow"])
def test_hostile_texts_are_shown_and_do_nothing(open_report, tmp_path, viewport):
    measurements = demo_measurements()
    measurements["sample_text"] = HOSTILE + "w" * 10_000
    measurements.loc[measurements["status"] != "ok", "reason"] = HOSTILE + "w" * 10_000
    measurements["device_name"] = HOSTILE
    summary = demo_summary(measurements)
    summary["finding"] = HOSTILE
    page = open_report(report(tmp_path, measurements, summary, demo_provenance(measurements)), viewport)
    # Any dialog, error or request fails the test as it ends.
    marks(page).first.hover()
    page.locator("#details.filled").wait_for()
    assert facts(page)["device"] == HOSTILE
    page.get_by_role("button", name="show smollm2-135m--fp32--flash_attention_2--loop--short--b1").click()
    assert facts(page, "tr.chosen + tr")["reason"] == (HOSTILE + "w" * 300)[:300]
    assert page.locator(".samples .text").first.inner_text().startswith(HOSTILE.strip())
    assert page.locator("img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_narrow_screen_has_no_sideways_scrolling_but_in_drawings_which_stay_readable(open_report, tmp_path):
    (tmp_path / "grid.svg").write_text('<svg width="700" height="300" viewBox="0 0 700 300"><path/></svg>')
    measurements = demo_measurements()
    path = report(tmp_path, measurements, demo_summary(measurements), demo_provenance(measurements))
    page = open_report(path, NARROW)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#figure-grid svg").bounding_box()["width"] > 600
    assert page.locator("#plot svg").bounding_box()["width"] <= NARROW["width"]


def test_without_javascript_the_first_rows_stand(open_report, many):
    page = open_report(many, java_script_enabled=False)
    assert page.locator("#cell-table tbody tr").count() == 50
    assert page.locator("#cell-table").inner_text().count("model-0") == 50
    assert "9950 more are in summary.parquet" in page.locator("#cell-table").inner_text()
    assert not page.locator("#choices").is_visible()
    assert not page.locator("#pages").is_visible()


def test_nothing_to_plot_leaves_the_table(browser, tmp_path):
    measurements = demo_measurements(attention=("flash_attention_2",))
    path = report(tmp_path, measurements, demo_summary(measurements), demo_provenance(measurements))
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    assert page.locator("#cell-table tbody tr").count() == 8
    assert not page.locator("#plot-frame").is_visible()
    page.close()
    assert errors == []
