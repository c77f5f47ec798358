"""Streaming: whole characters only, tokens that arrive while others are made, and the script that shows them."""

import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma2Config, PreTrainedTokenizerFast

from inferbench.engines.decoding import LoopDecoder, decode
from inferbench.engines.streaming import StreamClosed, TextPieces, TokenStream, new_tokens, stream_tokens
from inferbench.experiments.streaming import measure as experiment
from inferbench.models.prompts import PromptBatch
from inferbench.models.requests import end_tokens, request_ids
from inferbench.settings.repository import REPOSITORY
from tiny_models import tiny_llama

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
def spoken(folder):
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


def test_the_script_streams_the_greedy_answer_to_its_end(folder, spoken):
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


def test_the_script_says_that_a_model_has_not_this_attention(tmp_path, bytewise):
    config = Gemma2Config(vocab_size=512, hidden_size=64, num_hidden_layers=1, intermediate_size=64)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    bytewise.save_pretrained(tmp_path)
    done = stream_text(f"model.path={tmp_path}", "prompt=Hi", "device=cpu", "attention=sdpa")
    assert done.returncode == 1 and done.stdout == ""
    assert "Gemma2ForCausalLM does not support sdpa" in done.stderr and "Traceback" not in done.stderr


def test_the_script_says_speed_of_known_times():
    from stream_text import speed

    assert speed([10.0, 10.5, 11.0, 11.5]) == "TTFT 500 ms, then 2.0 tokens/s (3 tokens)"
    assert speed([10.0, 10.25]) == "TTFT 250 ms (1 token)"
