"""Figures: what is drawn, what a reader sees of cells that have no number, and that bytes repeat."""

import math
import re

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb

import draw_figure
from inferbench.analysis.setting import shown_setting
from inferbench.plan.figures import SUFFIXES, grid_drawings
from inferbench.presentation.style import apply_style, precision_styles, save
from inferbench.presentation.words import number
from inferbench.run.parts import part
from made_up_tables import demo_measurements, demo_summary

FIGURES = [drawing.figure for drawing in grid_drawings()]


def draw(tmp_path, name, measurements, summary=None):
    """Draw a figure by its command line; return the plotted data."""
    folder = tmp_path / "figures"
    folder.mkdir(exist_ok=True)
    measurements.to_parquet(tmp_path / "measurements.parquet")
    (demo_summary(measurements) if summary is None else summary).to_parquet(tmp_path / "summary.parquet")
    tables = ["--measurements", tmp_path / "measurements.parquet", "--summary", tmp_path / "summary.parquet"]
    draw_figure.main([name, *map(str, tables), "--output", str(folder / name)])
    return pd.read_csv(folder / f"{name}.csv", keep_default_na=False)


def svg_words(tmp_path, name):
    """The texts of a drawn figure: matplotlib notes each as a comment beside its outlines."""
    return (tmp_path / "figures" / f"{name}.svg").read_text()


def spoil(measurements, rows, **values):
    """Give `rows` other values and, where the status is no longer ok, no speeds and no validity."""
    measurements.loc[rows, list(values)] = list(values.values())
    measurements.loc[rows, "valid"] = False
    if values.get("status", "ok") != "ok":
        measurements.loc[rows, ["decode_tokens_per_s", "ttft_ms", "tpot_ms"]] = pd.NA
    return measurements


@pytest.mark.parametrize("name", [figure.name for figure in FIGURES])
def test_same_tables_give_the_same_bytes(tmp_path, name):
    measurements = demo_measurements()
    draw(tmp_path, name, measurements)
    first = [(tmp_path / "figures" / f"{name}{suffix}").read_bytes() for suffix in SUFFIXES]
    draw(tmp_path, name, measurements)
    assert first == [(tmp_path / "figures" / f"{name}{suffix}").read_bytes() for suffix in SUFFIXES]


@pytest.mark.parametrize("name", [figure.name for figure in FIGURES])
def test_last_bit_of_a_number_does_not_show(tmp_path, name):
    measurements, nudged = demo_measurements(), demo_measurements()
    # Six digits of 22.44 are far from a rounding edge, so one unit in the last place must vanish.
    for column in ("decode_tokens_per_s", "ttft_ms", "tpot_ms"):
        nudged[column] = nudged[column].map(lambda value: math.nextafter(value, math.inf), na_action="ignore")
    draw(tmp_path, name, measurements)
    first = [(tmp_path / "figures" / f"{name}{suffix}").read_bytes() for suffix in SUFFIXES]
    draw(tmp_path, name, nudged)
    assert first == [(tmp_path / "figures" / f"{name}{suffix}").read_bytes() for suffix in SUFFIXES]


def test_last_bit_of_a_panels_place_does_not_show(tmp_path):
    apply_style()
    # What solves the layout gives such bits differently from run to run, and an SVG names its clips by them.
    for name, left in (("one", 0.1), ("other", 0.1 + 2e-16)):
        figure = plt.figure()
        figure.add_axes([left, 0.2, 0.7, 0.6]).plot([1, 2], [3, 4])
        save(figure, pd.DataFrame(), tmp_path / name)
    for suffix in (".svg", ".png"):
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"other{suffix}").read_bytes()


def test_pictures_carry_no_date_and_no_version(tmp_path):
    draw(tmp_path, "grid", demo_measurements())
    assert b"<dc:date>" not in (tmp_path / "figures" / "grid.svg").read_bytes()
    for suffix in (".svg", ".png"):
        assert b"Matplotlib v" not in (tmp_path / "figures" / f"grid{suffix}").read_bytes()


def test_precision_figure_shows_the_baseline_setting(tmp_path):
    data = draw(tmp_path, "precision", demo_measurements())
    assert set(data["attention"]) == {"sdpa"}
    assert set(data["batch_size"]) == {1}
    speeds = data[data["quantity"] == "decode_tokens_per_s"]
    replicates = speeds[speeds["replicate"] != ""].astype({"value": float, "replicate": float})
    # sdpa is 1.1 times eager, replicate 2 is 1.02 times replicate 1: bf16 44 and 44.88.
    bf16 = replicates[replicates["precision"] == "bf16"].sort_values("replicate")
    assert bf16["value"].tolist() == [44.0, 44.88]
    centre = speeds[(speeds["replicate"] == "") & (speeds["precision"] == "bf16")]
    assert float(centre["value"].iloc[0]) == 44.4378  # 44 * sqrt(1.02) = 44.43782...
    words = svg_words(tmp_path, "precision")
    assert "attention sdpa" in words
    assert "batch size 1" in words


def test_precision_figure_has_the_captured_steps_below_those_that_the_host_launches(tmp_path):
    host = demo_measurements(batch_size=(1,), attention=("sdpa",))
    captured = host[host["precision"].isin(["bf16", "nf4"])].assign(execution="cuda_graph")
    captured["cell"] = captured["cell"].str.replace("loop", "cuda_graph")
    data = draw(tmp_path, "precision", pd.concat([host, captured], ignore_index=True))
    shown = data.groupby("execution")["precision"].unique().map(set).to_dict()
    assert shown == {"loop": {"fp32", "bf16", "int8", "nf4"}, "cuda_graph": {"bf16", "nf4"}}
    words = svg_words(tmp_path, "precision")
    assert "smollm2-135m, loop" in words and "smollm2-135m, cuda_graph" in words
    alone = captured[captured["precision"] == "bf16"]
    data = draw(tmp_path, "precision", pd.concat([host, alone], ignore_index=True))
    assert set(data["execution"]) == {"loop"}, "one captured precision compares with none"


def test_without_an_ok_cell_at_the_baseline_another_setting_is_shown_and_named(tmp_path):
    measurements = demo_measurements()
    spoil(measurements, measurements["attention"] == "sdpa", status="failed", reason="wrong logits")
    setting, why = shown_setting(demo_summary(measurements), "smollm2-135m")
    assert setting == {"attention": "eager", "execution": "loop", "workload": "short", "batch_size": 1}
    assert "no ok cell" in why
    assert set(draw(tmp_path, "precision", measurements)["attention"]) == {"eager"}


def test_numbers_in_the_grid_contrast_with_every_colour():
    """WCAG 2.2 asks for 4.5 to 1 of text of this size; the factors are its relative luminance."""
    grid = part("grid", "figures.grid")

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for colour in colormaps[grid.COLOURS](range(256)):
        dark, light = sorted([luminance(colour), luminance(grid._ink_on(colour))])
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_grid_names_what_became_of_every_cell(tmp_path):
    measurements = demo_measurements()
    big_fp32 = (measurements["precision"] == "fp32") & (measurements["batch_size"] == 4)
    spoil(
        measurements, big_fp32 & (measurements["attention"] == "sdpa"), status="oom", reason="out of memory"
    )
    data = draw(tmp_path, "grid", measurements)
    assert len(data) == 24
    # 8 flash cells are unsupported, one cell is out of memory, the other 15 have a number.
    assert data["status"].value_counts().to_dict() == {"ok": 15, "unsupported": 8, "oom": 1}
    assert (data["value"] != "").sum() == 15
    words = svg_words(tmp_path, "grid")
    assert "unsupported" in words
    assert "out of" in words
    assert "24 cells: 15 ok, 8 unsupported, 1 out of memory" in words


def test_a_flagged_cell_keeps_its_number_but_not_its_validity(tmp_path):
    measurements = demo_measurements()
    int8 = (measurements["precision"] == "int8") & (measurements["status"] == "ok")
    data = draw(tmp_path, "grid", spoil(measurements, int8, flags="throttled"))
    flagged = data[(data["precision"] == "int8") & (data["status"] == "ok")]
    assert set(flagged["valid"]) == {False}
    # eager, batch 1: 10 * sqrt(1.02)
    assert float(flagged["value"].iloc[0]) == 10.0995
    assert "throttled" in svg_words(tmp_path, "grid")


def test_interval_is_drawn_where_there_is_one(tmp_path):
    measurements = demo_measurements(replicate=(1, 2, 3))
    summary = demo_summary(measurements)
    draw(tmp_path, "throughput", measurements, summary)
    assert "95% interval" not in svg_words(tmp_path, "throughput")
    summary["decode_tokens_per_s_low"] = summary["decode_tokens_per_s"] * 0.9
    summary["decode_tokens_per_s_high"] = summary["decode_tokens_per_s"] * 1.1
    draw(tmp_path, "throughput", measurements, summary)
    assert "95% interval" in svg_words(tmp_path, "throughput")


def several_lengths(*model):
    """Measurements at two prompt lengths, the longer at half the speed."""
    parts = []
    for length, share in ((32, 1.0), (2048, 0.5)):
        part = demo_measurements(*model).assign(workload=f"p{length}", prompt_tokens=length)
        part["cell"] = part["cell"] + f"--p{length}"
        parts.append(part.assign(decode_tokens_per_s=part["decode_tokens_per_s"] * share))
    return pd.concat(parts, ignore_index=True)


def test_synthetic_models_are_labelled(tmp_path):
    measurements = several_lengths("llama-3.1-8b", "synthetic")
    for figure in FIGURES:
        draw(tmp_path, figure.name, measurements)
        assert "llama-3.1-8b (synthetic)" in svg_words(tmp_path, figure.name)


def test_every_kind_of_device_is_named_beside_the_title_or_counted_where_it_has_no_room(tmp_path):
    measurements = demo_measurements()
    halves = [["NVIDIA A100", "NVIDIA H100"][place % 2] for place in range(len(measurements))]
    draw(tmp_path, "ranking", measurements.assign(device_name="NVIDIA H100"))
    assert "<!-- NVIDIA H100 -->" in svg_words(tmp_path, "ranking")
    draw(tmp_path, "ranking", measurements.assign(device_name=halves))
    assert "<!-- NVIDIA A100, NVIDIA H100 -->" in svg_words(tmp_path, "ranking")
    draw(
        tmp_path,
        "ranking",
        measurements.assign(device_name=[f"{name} with a long name" * 2 for name in halves]),
    )
    assert "<!-- 2 kinds of device -->" in svg_words(tmp_path, "ranking")


def test_the_fastest_combination_stands_first_and_a_flagged_one_last(tmp_path):
    measurements = demo_measurements(attention=("sdpa",), batch_size=(1,))
    fastest = measurements["precision"] == "bf16"
    assert ranked_words(tmp_path, measurements) == ["bf16", "nf4", "fp32", "int8"]
    assert ranked_words(tmp_path, spoil(measurements, fastest, flags="throttled"))[-1] == "bf16"


def ranked_words(tmp_path, measurements):
    """The labels of the ranking figure's rows, from top to bottom."""
    draw(tmp_path, "ranking", measurements)
    precisions = set(measurements["precision"])
    words = [word.strip() for word in re.findall("<!-- (.*?) -->", svg_words(tmp_path, "ranking"))]
    return [word for word in words if word in precisions][: len(precisions)]


def test_context_is_drawn_where_prompts_have_several_lengths(tmp_path):
    data = draw(tmp_path, "context", several_lengths())
    decode = data[
        (data["quantity"] == "decode_tokens_per_s") & (data["replicate"] == "") & (data["value"] != "")
    ]
    bf16 = decode[
        (decode["precision"] == "bf16") & (decode["attention"] == "eager") & (decode["batch_size"] == 1)
    ]
    # 40 * sqrt(1.02), and half of it
    assert bf16[["prompt_tokens", "value"]].astype(float).to_numpy().tolist() == [
        [32, 40.398],
        [2048, 20.199],
    ]


@pytest.mark.parametrize("name", [figure.name for figure in FIGURES])
def test_a_campaign_with_no_ok_cell_still_has_its_figures(tmp_path, name):
    draw(tmp_path, name, demo_measurements(attention=("flash_attention_2",)))
    words = svg_words(tmp_path, name)
    assert any(
        said in words for said in ("No cell ended ok", "No combination ended ok", "0 ok, 8 unsupported")
    )


@pytest.mark.parametrize("name", [figure.name for figure in FIGURES])
def test_one_cell_is_enough(tmp_path, name):
    one = demo_measurements(precision=("nf4",), attention=("eager",), batch_size=(1,), replicate=(1,))
    data = draw(tmp_path, name, one)
    # nf4, eager, batch 1 decodes 25 tokens/s: TPOT is 40 ms, and TTFT four times that.
    drawn = set(data.loc[data["value"] != "", "value"].astype(float))
    expected = {
        "precision": {119e6, 25.0},
        "throughput": set(),  # one batch size, and one length: nothing to draw against
        "latency": set(),
        "context": set(),
        "memory": {119e6, 1_290_240.0, 1_019e6},
        "roofline": set(),
        "breakdown": set(),
        "spending": set(),
    }
    assert drawn == expected.get(name, {25.0})


def test_hundreds_of_cells_use_marks_instead_of_words(tmp_path):
    measurements = demo_measurements(batch_size=tuple(range(1, 41)), replicate=(1,))
    data = draw(tmp_path, "grid", measurements)
    assert len(data) == 480
    assert (data["status"] == "unsupported").sum() == 160
    # In words once, in the legend and in the count, and not in each of 160 cells.
    assert 1 <= svg_words(tmp_path, "grid").count("<!-- unsupported -->") <= 2


def test_each_precision_has_its_own_look_whichever_others_are_there():
    names = ["nf4", "fp32", "int8", "bf16", "fp16", "fp4", "nf4-double", "int8-threshold0", "fp8"]
    styles = precision_styles(names)
    assert list(styles)[:3] == ["fp32", "fp16", "bf16"]
    for attribute in ("colour", "marker", "hatch"):
        assert len({getattr(style, attribute) for style in styles.values()}) == len(names)
    assert precision_styles(["nf4"])["nf4"] == styles["nf4"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (538.0608, "538"),
        (44.4378, "44.4"),
        (1234.5, "1,230"),
        (0.00129, "0.00129"),
        (9.999, "10.0"),
        (0, "0"),
        (pd.NA, "-"),
    ],
)
def test_numbers_have_three_digits_and_no_exponent(value, shown):
    assert number(value) == shown
