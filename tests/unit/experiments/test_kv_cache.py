"""The experiment kv_cache: bytes and lines worked out by hand, and a cache that is off when it says so."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from experiment_jobs import experiment_config, experiment_table, measured
from inferbench.engines.captured_decoder import CapturedDecoder
from inferbench.engines.decoding import LoopDecoder, decode
from inferbench.experiments.batching.settings import Settings as Batching
from inferbench.experiments.kv_cache import figures as plot_kv_cache
from inferbench.experiments.kv_cache import measure as kv_cache
from inferbench.experiments.kv_cache.section import section
from inferbench.experiments.kv_cache.settings import Cache
from inferbench.experiments.kv_cache.settings import Settings as KvCache
from inferbench.experiments.kv_cache.table import rows, slopes
from inferbench.experiments.streaming.settings import Settings as Streaming
from inferbench.models.prompts import PromptBatch
from inferbench.settings.job import ConfigError
from inferbench.settings.outcomes import Unsupported
from tiny_models import CPU, tiny_llama

#: Of the tiny model in fp32: 2 (keys and values) x 2 layers x 2 kv heads x 32 head dim x 4 bytes.
BYTES = 1024
NEW = 6


def settings(cache="dynamic", lengths=(8, 16), steps=3):
    return KvCache(prompts="config/prompts.yaml", cache=Cache(cache), lengths=list(lengths), steps=steps)


def prompt(length=7):
    return PromptBatch(torch.randint(1, 512, (1, length), generator=torch.Generator().manual_seed(2)), None)


def decoder_of(cache, model):
    return kv_cache.make_decoder(experiment_config(settings(cache, steps=NEW)), model, prompt())


def test_the_kinds_of_cache_are_what_they_say():
    model = tiny_llama()
    kinds = {"off": kv_cache.UncachedDecoder, "dynamic": LoopDecoder, "static": CapturedDecoder}
    assert {cache: type(decoder_of(cache, model)) for cache in kinds} == kinds


@pytest.mark.parametrize("cache", ["off", "dynamic", "static"])
def test_every_kind_gives_the_tokens_of_the_whole_sequence_run_again(cache):
    model = tiny_llama()
    ids = prompt().input_ids
    for _ in range(NEW):
        with torch.inference_mode():
            ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    tokens = decode(decoder_of(cache, model), prompt(), NEW).tokens
    assert tokens.tolist() == ids[:, 7:].tolist()


def test_off_runs_every_token_again_and_holds_nothing():
    model = tiny_llama()
    widths, caches = [], []

    def note(module, args, kwargs, out):
        widths.append(kwargs["input_ids"].shape[1])
        caches.append(out.past_key_values)

    model.model.register_forward_hook(note, with_kwargs=True)
    decoder = decoder_of("off", model)
    decode(decoder, prompt(), NEW)
    assert widths == [7, 8, 9, 10, 11, 12]
    assert caches == [None] * NEW
    assert decoder.cache_bytes() == 0


@pytest.mark.parametrize(
    "cache, held",
    [
        ("off", {8: 0, 16: 0}),
        # after 3 steps the prompt and 3 tokens
        ("dynamic", {8: 11 * BYTES, 16: 19 * BYTES}),
        # whatever is filled, room for 16 and for the 6 tokens that the check decodes
        ("static", {8: 22 * BYTES, 16: 22 * BYTES}),
    ],
)
def test_a_job_measures_bytes_that_are_the_formula(cache, held, tmp_path):
    config, record, samples = measured(kv_cache, settings(cache), tmp_path)
    assert record["kv_bytes_per_token"] == BYTES
    assert [sample["context_tokens"] for sample in samples] == [9, 10, 11, 17, 18, 19]
    table = experiment_table("kv_cache", [{"cache": cache, **row} for row in rows(config, record, samples)])
    assert table.set_index("prompt_tokens")["cache_bytes"].to_dict() == held
    assert table.set_index("prompt_tokens")["cache_formula_bytes"].to_dict() == held
    assert (table["step_ms"] > 0).all() and not table["host_bound"].any()


@pytest.mark.parametrize("cache", ["off", "dynamic", "static"])
def test_every_step_that_is_timed_was_run_before_at_its_context(cache, tmp_path, monkeypatch):
    make, lengths, contexts = kv_cache.make_decoder, [], []

    def noted(*arguments):
        decoder = make(*arguments)
        prefill, step = decoder.prefill, decoder.step

        def prefilled(batch):
            lengths.append(batch.input_ids.shape[1])
            return prefill(batch)

        def stepped(token):
            lengths[-1] += 1
            contexts.append(lengths[-1])
            return step(token)

        decoder.prefill, decoder.step = prefilled, stepped
        return decoder

    monkeypatch.setattr(kv_cache, "make_decoder", noted)
    _, _, samples = measured(kv_cache, settings(cache), tmp_path)
    timed = [sample["context_tokens"] for sample in samples]
    assert timed == [9, 10, 11, 17, 18, 19]
    assert contexts == [9, 10, 11] * 2 + [17, 18, 19] * 2


def test_a_backend_without_a_static_step_is_unsupported():
    config = experiment_config(settings("static"), attention="flex_attention")
    with pytest.raises(Unsupported, match="no decode step over a static cache is written for flex_attention"):
        kv_cache.measure(config, CPU, None, {})


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: experiment_config(settings(lengths=[8, 0])), "experiment.lengths is 0"),
        (lambda: Batching(batch_size=2, new_tokens=1, rounds=1), "experiment.new_tokens is 1"),
        (lambda: Streaming(prompt_tokens=2, new_tokens=2, rounds=1), "experiment.new_tokens is 2"),
    ],
)
def test_numbers_that_measure_nothing_are_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_a_row_has_the_median_step_at_the_mean_context():
    samples = [
        {"prompt_tokens": 30, "context_tokens": 31 + step, "step_ms": ms, "cache_bytes": 100}
        for step, ms in enumerate((5.0, 1.0, 2.0))
    ]
    config = {"experiment": {"cache": "static"}}
    record = {"kv_bytes_per_token": 10, "cache_slots": 50, "host_bound": True}
    assert rows(config, record, samples) == [
        {
            "prompt_tokens": 30,
            "context_tokens": 32,
            "step_ms": 2.0,
            "cache_bytes": 100,
            "cache_formula_bytes": 500,
            "host_bound": True,
        }
    ]


def made_up(points, cache="dynamic", **common):
    """A row per (context, ms)."""
    return [
        {
            "cache": cache,
            "cell": f"cell-{cache}-{common.get('precision', 'bf16')}",
            "prompt_tokens": context,
            "context_tokens": context,
            "step_ms": ms,
            "cache_bytes": 0 if cache == "off" else 1000 * context,
            "cache_formula_bytes": 0 if cache == "off" else 1000 * context,
            "host_bound": False,
            **common,
        }
        for context, ms in points
    ]


def line(*replicates):
    """base, slope and its interval of these replicates, each a list of (context, ms)."""
    rows_ = [row for n, points in enumerate(replicates, start=1) for row in made_up(points, replicate=n)]
    [found] = slopes(experiment_table("kv_cache", rows_)).to_dict("records")
    return [found[name] for name in ("base_ms", "slope_ms", "slope_low", "slope_high")]


def test_points_on_a_line_give_that_line_and_one_process_no_interval():
    # 10 ms at no context and 2 ms for each 1 000 tokens
    found = line([(500, 11.0), (1000, 12.0), (2000, 14.0)])
    assert found == pytest.approx([10, 2, float("nan"), float("nan")], nan_ok=True)


def test_the_interval_of_a_slope_is_over_the_processes_whatever_their_levels():
    # Slopes of 1, 2 and 3 ms from 10, 50 and 90 ms: a mean of 2 with a deviation of 1, and Student's t for 2
    # degrees of freedom is 4.30265.
    lines = [
        [(context, base + slope * context / 1000) for context in (0, 500, 1000)]
        for base, slope in ((10, 1), (50, 2), (90, 3))
    ]
    half = 4.30265 / 3**0.5
    assert line(*lines) == pytest.approx([50, 2, 2 - half, 2 + half], abs=1e-4)


def test_one_context_gives_no_line():
    rows_ = [row | {"replicate": n} for n in (1, 2, 3) for row in made_up([(500, 1.0 + n)])]
    found = slopes(experiment_table("kv_cache", rows_))
    assert found[["base_ms", "slope_ms", "slope_low", "slope_high"]].isna().all(axis=None)


@pytest.fixture
def two_precisions():
    """Without a cache a step takes 100 ms at 1 000 tokens, with one 25 ms; fp32 takes twice as long."""
    tables = []
    for precision, times in (("bf16", 1), ("fp32", 2)):
        for cache, points in {
            "off": [(250, 25.0), (500, 50.0), (1000, 100.0)],
            "dynamic": [(250, 22.0), (500, 23.0), (1000, 25.0)],
        }.items():
            scaled = [(context, times * ms) for context, ms in points]
            tables += made_up(scaled, cache, precision=precision)
    return experiment_table("kv_cache", tables)


def test_the_section_says_slopes_and_ratios(two_precisions):
    words = "\n".join(section(two_precisions, pd.DataFrame()).sentences)
    assert "smollm2-135m, bf16, sdpa, cache off: 100 ms a step for each 1,000 more tokens of context" in words
    assert "smollm2-135m, fp32, sdpa, cache dynamic: 8.00 ms a step for each 1,000 more tokens" in words
    assert (
        "smollm2-135m, bf16, sdpa: after a prompt of 1,000 tokens a step without a cache takes 4.00 times as long as "
        "with the dynamic cache, 100 ms against 25.0 (no interval)." in words
    )


def test_caches_on_different_cards_are_compared_with_that_said(two_precisions):
    slow = two_precisions["cache"] == "off"
    elsewhere = two_precisions.assign(device_uuid=slow.map({True: "GPU-2", False: "GPU-1"}))
    words = "\n".join(section(elsewhere, pd.DataFrame()).sentences)
    assert "100 ms against 25.0 (no interval, different cards)." in words


def test_processes_that_differ_more_than_the_caches_tell_none_apart():
    """Geometric means of 50, 100, 200 and of 40, 80, 160: 1.25 times, far within their spread."""
    rows_ = [
        row
        for n, ms in enumerate((40.0, 80.0, 160.0), start=1)
        for cache, times in (("off", 1.25), ("dynamic", 1.0))
        for row in made_up([(250, times * ms), (500, times * ms)], cache, replicate=n)
    ]
    [sentence] = [
        one
        for one in section(experiment_table("kv_cache", rows_), pd.DataFrame()).sentences
        if "as long" in one
    ]
    assert "1.25 times as long as with the dynamic cache, 100 ms against 80.0 (95% interval 0." in sentence
    assert sentence.endswith("which is not told apart.")


def test_the_section_names_cells_that_the_host_holds_back(two_precisions):
    assert "Host-bound" not in "\n".join(section(two_precisions, pd.DataFrame()).sentences)
    slow = two_precisions.assign(host_bound=two_precisions["cache"] == "off")
    words = section(slow, pd.DataFrame()).sentences[-1]
    assert words.startswith("Host-bound: cell-off-bf16, cell-off-fp32. Their decode steps were not captured")
    together = "Only the second of these steps is captured: that is what cache and capture do together."
    assert any(line.endswith(together) for line in section(slow, pd.DataFrame()).sentences)
    for alike in (True, False):
        told = section(two_precisions.assign(host_bound=alike), pd.DataFrame()).sentences
        assert not any(line.endswith(together) for line in told)


def test_the_figure_draws_a_row_of_panels_per_precision(two_precisions):
    figure, data = plot_kv_cache.draw(two_precisions, pd.DataFrame(), pd.DataFrame())
    assert len(figure.axes) == 4
    assert len(data) == 12
    assert set(zip(data["precision"], data["cache"], data["slope_ms"])) == {
        ("bf16", "off", 100.0),
        ("bf16", "dynamic", 4.0),
        ("fp32", "off", 200.0),
        ("fp32", "dynamic", 8.0),
    }
    plt.close(figure)


def test_without_an_ok_job_section_and_figure_say_so():
    table = experiment_table("kv_cache", [{"cache": "off", "status": "failed", "reason": "killed"}])
    assert section(table, pd.DataFrame()).sentences == []
    figure, data = plot_kv_cache.draw(table, pd.DataFrame(), pd.DataFrame())
    assert data.empty
    plt.close(figure)
