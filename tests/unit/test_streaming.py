"""Streaming: whole characters only, tokens that arrive while others are made, and percentiles by hand."""

import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

import plot_streaming
from experiment_jobs import experiment_table, measured
from inferbench.decoding import LoopDecoder, decode
from inferbench.experiments import streaming as experiment
from inferbench.experiments.requests import end_tokens, request_ids
from inferbench.experiments.streaming_report import section
from inferbench.experiments.streaming_settings import Settings as Streaming
from inferbench.experiments.streaming_table import latencies, overhead, rows, token_times
from inferbench.prompts import PromptBatch
from inferbench.streaming import (
    StreamClosed,
    TextPieces,
    TokenStream,
    new_tokens,
    stream_tokens,
)
from models import tiny_llama
from test_smollm2 import folder  # noqa: F401

REPOSITORY = Path(__file__).resolve().parents[2]
PROMPT = PromptBatch(torch.tensor([[5, 6, 7]]), None)


@pytest.fixture(scope="session")
def bytewise():
    """A tokenizer whose every token is one byte, and one special token that is no text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>")


@pytest.fixture(scope="session")
def spoken(folder):  # noqa: F811
    return AutoTokenizer.from_pretrained(folder)


def pieces_of(tokenizer, ids):
    pieces = TextPieces(tokenizer)
    return [pieces.add(token) for token in ids], pieces.end()


def test_a_character_waits_for_its_last_byte(bytewise):
    # 1, 2, 3 and 4 bytes
    assert pieces_of(bytewise, bytewise("aé€🌊").input_ids) == (
        ["a", "", "é", "", "", "€", "", "", "", "🌊"],
        "",
    )


def test_a_text_that_ends_inside_a_character_ends_before_it(bytewise):
    ids = bytewise("so 🌊").input_ids[:-1]
    assert pieces_of(bytewise, ids) == (["s", "o", " ", "", "", ""], "")


def test_bytes_that_are_no_character_do_not_hold_up_the_text(bytewise):
    stray = bytewise("€").input_ids[1]
    assert pieces_of(bytewise, [stray, *bytewise("ab").input_ids]) == (["", "\ufffda", "b"], "")


def test_special_tokens_are_no_text(bytewise):
    ids = bytewise("é").input_ids
    assert pieces_of(bytewise, [ids[0], ids[1], bytewise.eos_token_id]) == (["", "é", ""], "")


TEXTS = [
    "Plain words, then a line\nand  two spaces.",
    "naïve façade, Größe, žluťoučký kůň",
    "日本語のテキストと한국어, العربية, हिन्दी",
    "👩‍👩‍👧‍👦 and 🏳️‍🌈 and 🌊🌊🌊",
]


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_of_the_bundled_models_tokens_are_whole_and_join_to_the_text(spoken, text):
    ids = spoken(text).input_ids
    pieces, rest = pieces_of(spoken, ids)
    assert "".join(pieces) + rest == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_whatever_tokens_come_the_pieces_join_to_their_text(spoken):
    rng = np.random.default_rng(0)
    for _ in range(50):
        ids = rng.integers(3, len(spoken), size=30).tolist()
        pieces, rest = pieces_of(spoken, ids)
        assert "".join(pieces) + rest == spoken.decode(ids, skip_special_tokens=True).rstrip("\ufffd")


def test_pieces_of_a_tokenizer_whose_first_token_loses_its_space():
    """As SentencePiece has it: '▁' is a space, but at the beginning nothing."""
    vocabulary = {"<unk>": 0, "▁Hello": 1, "▁wide": 2, "▁world": 3, "!": 4}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    assert tokenizer.decode([1]) == "Hello"
    assert pieces_of(tokenizer, [1, 2, 3, 4]) == (["Hello", " wide", " world", "!"], "")


def test_new_tokens_are_those_of_the_decoder_and_end_with_the_end_token():
    model = tiny_llama()
    [expected] = decode(LoopDecoder(model), PROMPT, 8).tokens.tolist()
    assert list(new_tokens(LoopDecoder(model), PROMPT, 8)) == expected
    end = expected[3]
    until = expected[: expected.index(end) + 1]
    assert list(new_tokens(LoopDecoder(model), PROMPT, 8, frozenset({end}))) == until
    assert list(new_tokens(LoopDecoder(model), PROMPT, 1)) == expected[:1]


def test_end_tokens_are_the_checkpoints_and_the_tokenizers(bytewise):
    model = tiny_llama()
    model.generation_config.eos_token_id = [7, 9]
    assert end_tokens(model, bytewise) == {7, 9, bytewise.eos_token_id}
    model.generation_config.eos_token_id = None
    assert end_tokens(model, bytewise) == {bytewise.eos_token_id}


def test_the_prompt_has_the_models_chat_format_where_there_is_one(spoken, bytewise):
    assert spoken.decode(request_ids("Why?", spoken)).endswith(
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert request_ids("Why?", bytewise) == bytewise("Why?").input_ids


class SlowDecoder:
    """Tokens 1, 2, ... after the given seconds each, the first of them the prefill."""

    def __init__(self, seconds):
        self.seconds = seconds

    def prefill(self, batch):
        self.made = 0
        return self._next()

    def step(self, token):
        return self._next()

    def _next(self):
        time.sleep(self.seconds[self.made])
        self.made += 1
        return torch.tensor([[self.made]])


#: Seconds before each token: a long prefill, and one long gap. In each the reader, whom other processes may
#: hold up, has the token before.
SECONDS = [0.3, 0.3, 0.9, 0.02]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_slow_decoder_is_seen_with_its_gaps(streamed):
    with ThreadPoolExecutor(1) as decoding:
        arguments = (decoding, SlowDecoder(SECONDS), PROMPT, len(SECONDS))
        times = experiment.run_streamed(*arguments, None) if streamed else experiment.run_plain(*arguments)
    found = pd.DataFrame(times)
    at = found["seen_ms" if streamed else "made_ms"]
    # No token can be there before the sleeps up to it are over.
    assert (at >= 1000 * np.cumsum(SECONDS)).all()
    assert np.diff(at).argmax() == 1
    if streamed:
        assert (found["seen_ms"] >= found["made_ms"]).all()
        # The reader has each token while the next is being made.
        assert found["seen_ms"][0] < found["made_ms"][1] and found["seen_ms"][1] < found["made_ms"][2]


def test_the_reader_is_another_thread_and_gets_every_token_in_order():
    threads = set()

    class Watched(SlowDecoder):
        def _next(self):
            threads.add(threading.get_ident())
            return super()._next()

    stream = TokenStream()
    with ThreadPoolExecutor(1) as decoding:
        decoding.submit(stream_tokens, stream, new_tokens(Watched([0] * 50), PROMPT, 50))
        assert list(stream) == list(range(1, 51))
    assert len(threads) == 1 and threading.get_ident() not in threads


def test_a_decoder_that_fails_ends_the_stream_and_raises_in_the_reader():
    with ThreadPoolExecutor(1) as decoding, pytest.raises(IndexError):
        experiment.run_streamed(decoding, SlowDecoder([0, 0]), PROMPT, 5, None)


def test_a_reader_that_leaves_ends_the_decoding():
    decoder, stream = SlowDecoder([0.01] * 1000), TokenStream()
    with ThreadPoolExecutor(1) as decoding:
        ended = decoding.submit(stream_tokens, stream, new_tokens(decoder, PROMPT, 1000))
        next(iter(stream))
        stream.close()
        with pytest.raises(StreamClosed):
            ended.result()
    assert decoder.made < 1000


def samples_of(rounds):
    """Samples of rounds, each (times not streamed, times streamed) in ms; a token is seen 1 ms after it is made."""
    return pd.DataFrame(
        {
            "cell": "cell",
            "replicate": 1,
            "round": number,
            "streamed": streamed,
            "token": place,
            "made_ms": at - 1.0 if streamed else float(at),
            "seen_ms": float(at) if streamed else None,
        }
        for number, both in enumerate(rounds, start=1)
        for streamed, run in zip((False, True), both)
        for place, at in enumerate(run, start=1)
    )


#: Gaps of 10, 10, 20, 20 ms, streamed of 10, 20, 30, 40 ms; the whole run takes 160 and 200 ms.
ROUND = ([100, 110, 120, 140, 160], [100, 110, 130, 160, 200])


def test_percentiles_of_known_gaps():
    runs = token_times(samples_of([ROUND]))
    seen = latencies(runs[runs["way"] == "streamed"])
    assert (seen["new_tokens"], seen["ttft_ms"], seen["run_ms"]) == (5, 100, 200)
    # Of 10, 20, 30, 40: p50 halfway from 20 to 30; p90 at 0.9 x 3 = 2.7, p99 at 2.97 of the way along them.
    found = [seen[f"itl_{name}_ms"] for name in ("p50", "p90", "p99", "max")]
    assert found == pytest.approx([25, 37, 39.7, 40])
    assert seen["itl_late_early"] == pytest.approx(35 / 15)
    assert (seen["handover_p50_ms"], seen["handover_p99_ms"]) == pytest.approx((1, 1))
    made = latencies(runs[runs["way"] == "not streamed"])
    assert (made["itl_p50_ms"], made["itl_max_ms"], made["run_ms"]) == (15, 20, 160)
    assert "handover_p50_ms" not in made


def test_gaps_do_not_reach_from_one_run_into_the_next():
    runs = token_times(samples_of([ROUND, ROUND]))
    assert runs["itl_ms"].isna().sum() == 4
    assert runs["itl_ms"].min() == 10


#: Whole runs whose ratios are 1.2, 1 and 1 / 1.2: on logs, a mean of 0 and a standard deviation of ln 1.2;
#: Student's t for 2 degrees of freedom is 4.3027.
RATIOS = [([1, 2, 100], [1, 2, 120]), ([1, 2, 100], [1, 2, 100]), ([1, 2, 120], [1, 2, 100])]
HALF = 4.3027 * np.log(1.2) / 3**0.5
OF_RATIOS = [0, np.exp(-HALF) - 1, np.exp(HALF) - 1]


def test_the_overhead_of_a_job_is_that_of_its_pairs_with_an_interval_from_three_on():
    two = overhead(token_times(samples_of([ROUND] * 2).drop(columns="replicate")))
    assert two["overhead"] == pytest.approx(0.25) and np.isnan(two["overhead_low"])
    three = overhead(token_times(samples_of(RATIOS).drop(columns="replicate")))
    assert list(three.values()) == pytest.approx(OF_RATIOS, abs=1e-4)


def test_the_overhead_of_several_replicates_counts_each_of_them_once():
    each = [samples_of([pair] * 4).assign(replicate=place) for place, pair in enumerate(RATIOS, start=1)]
    found = overhead(token_times(pd.concat(each)))
    assert list(found.values()) == pytest.approx(OF_RATIOS, abs=1e-4)
    assert np.isnan(overhead(token_times(pd.concat(each[:2])))["overhead_low"])


def streaming_rows(samples, **common):
    config = {"experiment": {"prompt_tokens": 3}}
    record = {"host_bound": False}
    job = samples.drop(columns=["cell", "replicate"])
    return [row | common for row in rows(config, record, job.to_dict("records"))]


def test_a_job_has_two_rows_and_a_time_for_every_token(tmp_path):
    settings = Streaming(prompts="config/prompts.yaml", prompt_tokens=3, new_tokens=4, rounds=3)
    config, record, samples = measured(experiment, settings, tmp_path)
    assert len(samples) == 2 * 3 * 4
    table = experiment_table("streaming", rows(config, record, samples)).set_index("way")
    assert sorted(table.index) == ["not streamed", "streamed"]
    assert (table[["ttft_ms", "itl_p50_ms", "run_ms"]] > 0).all(axis=None)
    assert table["new_tokens"].tolist() == [4, 4]
    assert table["overhead_low"].notna().to_dict() == {"streamed": True, "not streamed": False}


def test_the_section_says_what_the_reader_waits_for_and_what_it_costs():
    job = samples_of([ROUND] * 3)
    samples = pd.concat(job.assign(replicate=replicate) for replicate in (1, 2, 3))
    words = "\n".join(section(experiment_table("streaming", streaming_rows(job)), samples).sentences)
    assert (
        "smollm2-135m, bf16, sdpa: the reader has the first token after 100 ms (not streamed 100 ms), then one every "
        "25.0 ms in the median (not streamed 15.0 ms), and 1% of them after more than 40.0 ms (not streamed 20.0 ms)."
        in words
    )
    assert "streaming changes the time of the whole run by +25.0% (95% interval +25.0% to +25.0%)" in words
    assert "not told apart" not in words
    assert "A token is with the reader 1.00 ms after the decoding thread has it" in words


def test_the_figure_has_the_sequence_and_the_distribution():
    samples = samples_of([ROUND, ([100, 112, 122, 142, 162], [100, 112, 132, 162, 202])])
    figure, data = plot_streaming.draw(
        experiment_table("streaming", streaming_rows(samples)), samples, pd.DataFrame()
    )
    seen = data[data["way"] == "streamed"].set_index(["panel", "position"])
    assert seen.loc["sequence"].index.tolist() == [2, 3, 4, 5]
    assert seen.loc[("sequence", 2), ["itl_ms", "low", "high"]].tolist() == [11, 10, 12]
    # Of 10, 12, 20, 20, 30, 30, 40, 40
    assert seen.loc[
        [("distribution", 0), ("distribution", 50), ("distribution", 100)], "itl_ms"
    ].tolist() == [
        10,
        25,
        40,
    ]
    plt.close(figure)


def test_without_an_ok_job_section_and_figure_say_so():
    failed = experiment_table("streaming", [{"status": "failed", "reason": "killed"}])
    assert section(failed, pd.DataFrame({"cell": []})).sentences == []
    figure, data = plot_streaming.draw(failed, pd.DataFrame(), pd.DataFrame())
    assert data.empty
    plt.close(figure)


def test_the_script_takes_a_prompt_as_it_is_typed():
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    from stream_text import literal_prompt

    for text in (
        "Why, oh why?",
        "What's ${x} (up)?",
        'say "hi"\nto [a, b] \\ {c: d}',
        "100",
        "null",
        "🌊 'q'",
    ):
        model, prompt = literal_prompt(["model=tiny", f"prompt={text}"])
        assert model == "model=tiny"
        [override] = OverridesParser.create().parse_overrides([prompt])
        assert OmegaConf.create({"prompt": override.value()}).prompt == text


def stream_text(*arguments):
    command = [sys.executable, str(REPOSITORY / "scripts" / "stream_text.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_script_streams_the_greedy_answer_to_its_end(folder, spoken):  # noqa: F811
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    question = "What is the capital of France? Answer in one word, please."
    ids = spoken.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=40)
    answer = out[0, ids.shape[1] :]
    assert answer[-1] == spoken.eos_token_id, "the question shall have an answer that ends by itself"
    done = stream_text(f"model.path={folder}", "precision=fp32", "device=cpu", f"prompt={question}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == spoken.decode(answer, skip_special_tokens=True) + "\n"
    assert re.fullmatch(
        rf"TTFT \d+ ms, then [\d.]+ tokens/s \({len(answer)} tokens\)", done.stderr.splitlines()[-1]
    )


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "prompt: Structured config of type `StreamConfig` has missing mandatory value: prompt"),
        (["prompt="], "prompt is empty: give the model something to answer."),
        (["prompt=Hi", "new_tokens=0"], "new_tokens is 0: give a number of at least 1."),
        (["prompt=Hi", "model.path=nowhere"], "there is no checkpoint in"),
    ],
)
def test_the_script_says_what_is_wrong_in_one_sentence(arguments, words):
    done = stream_text(*arguments)
    assert done.returncode == 1
    assert words in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_script_says_that_a_model_has_no_tokenizer(tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    done = stream_text(f"model.path={tmp_path}", "prompt=Hi", "device=cpu")
    assert done.returncode == 1
    assert "has no tokenizer, so it has no text to stream; choose another model." in done.stderr


def test_the_script_says_speed_of_known_times():
    from stream_text import speed

    assert speed([10.0, 10.5, 11.0, 11.5]) == "TTFT 500 ms, then 2.0 tokens/s (3 tokens)"
    assert speed([10.0, 10.25]) == "TTFT 250 ms (1 token)"
