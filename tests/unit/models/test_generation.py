"""A checkpoint's generation config changes no measurement, and is named where it would have."""

import pytest
import torch
from transformers import DynamicCache

from checkpoints import cell_of, edit, outcome
from inferbench.engines.protocol import WrongCount
from inferbench.models.generation import neutralised
from inferbench.models.load import load_model
from inferbench.models.requests import until_end
from inferbench.tables.derive import measurement
from made_up_record import ITERATIONS, PROVENANCE, RECORD
from tiny_models import CPU, NEW, engine_with, generated, naive_tokens, rows_of, tiny_llama, unequal_batch


@pytest.fixture(scope="module")
def expected():
    """Greedy tokens of the batch by the definition: no cache, no padding, no generate()."""
    return [naive_tokens(tiny_llama(), row) for row in rows_of(unequal_batch())]


@pytest.fixture
def folder(tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    return tmp_path


def settings_against(tokens):
    """Each would change, end, slow or break a greedy run that says these tokens."""
    first, second = tokens[0][:2]
    return {
        "repetition_penalty": 1.3,
        "no_repeat_ngram_size": 1,
        "suppress_tokens": [first],
        "begin_suppress_tokens": [first],
        "bad_words_ids": [[first]],
        "sequence_bias": [[[first], -100.0]],
        "exponential_decay_length_penalty": [1, 3.0],
        "forced_bos_token_id": 5,
        "forced_eos_token_id": 3,
        "min_length": 400,
        "max_new_tokens": 2,
        "max_time": 1e-9,
        "stop_strings": ["a"],
        "use_cache": False,
        "cache_implementation": "static",
        "num_beams": 4,
        "num_return_sequences": 2,
        "prompt_lookup_num_tokens": 3,
        "assistant_early_exit": 1,
        "penalty_alpha": 0.6,
        "guidance_scale": 2.0,
        "do_sample": True,
        "temperature": 3.0,
        "output_hidden_states": True,
        "compile_config": {"mode": "default"},
    }


NAMES = sorted(settings_against([[0, 0]]))


@pytest.mark.parametrize("name", NAMES)
def test_no_setting_of_a_checkpoint_reaches_generate(folder, expected, name):
    value = settings_against(expected)[name]
    edit(folder, "generation_config.json", **{name: value})
    model = load_model(cell_of(folder), CPU)
    batch = unequal_batch()
    engine = engine_with("generate", model, batch)
    timeline = engine.run(batch, NEW)
    assert timeline.tokens.tolist() == expected
    assert len(timeline.marks) == NEW + 1
    assert type(engine.cache) is DynamicCache
    # 3 sequences of 7 slots of prompt and 5 of new tokens, 1,024 bytes a token.
    assert engine.cache_bytes() == 3 * 12 * 1024
    assert neutralised(folder) == f"{name}={value}"


@pytest.mark.parametrize("mode", ["generate", "loop"])
def test_a_cell_names_what_it_neutralised(folder, mode):
    plain = outcome(cell_of(folder, mode=mode))[2]
    assert plain["neutralised"] == ""
    edit(folder, "generation_config.json", repetition_penalty=1.3, forced_eos_token_id=2, use_cache=False)
    edit(
        folder,
        "generation_config.json",
        num_beams=4,
        prompt_lookup_num_tokens=3,
        stop_strings=["a"],
        top_k=50,
    )
    status, reason, record = outcome(cell_of(folder, mode=mode))
    assert (status, reason) == ("ok", None)
    assert record["sample_tokens"] == plain["sample_tokens"]
    # top_k=50 is what transformers takes anyway.
    assert record["neutralised"] == (
        "forced_eos_token_id=2, num_beams=4, prompt_lookup_num_tokens=3, repetition_penalty=1.3, stop_strings=['a'],"
        " use_cache=False"
    )
    row = measurement(PROVENANCE, {**RECORD, "neutralised": record["neutralised"]}, ITERATIONS)
    assert row["neutralised"] == record["neutralised"]


def test_settings_of_a_checkpoint_without_a_generation_config_are_those_in_its_config(folder, expected):
    (folder / "generation_config.json").unlink()
    edit(folder, repetition_penalty=1.3, eos_token_id=9)
    model = load_model(cell_of(folder), CPU)
    assert until_end([4, 9, 5], model) == [4, 9]
    assert generated(model, unequal_batch(), NEW).tokens.tolist() == expected
    assert neutralised(folder) == "repetition_penalty=1.3"


@pytest.mark.parametrize(("ends", "text"), [(7, [5, 6, 7]), ([6, 7], [5, 6]), (None, [5, 6, 7, 8])])
def test_experiments_still_know_where_the_model_ends_an_answer(folder, ends, text):
    edit(folder, "generation_config.json", eos_token_id=ends, repetition_penalty=1.3)
    assert until_end([5, 6, 7, 8], load_model(cell_of(folder), CPU)) == text


def test_a_long_setting_is_named_in_short(folder):
    edit(folder, "generation_config.json", suppress_tokens=list(range(1000)))
    assert neutralised(folder) == "suppress_tokens=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1"


@pytest.mark.parametrize("setting", [{"eos_token_id": "first"}, {"max_time": 0.0}])
def test_tokens_that_did_not_come_are_an_error_and_not_divided_by(expected, setting):
    model = tiny_llama()
    batch = unequal_batch().last(7)
    engine = engine_with("generate", model, batch)
    single = type(batch)(batch.input_ids[:1], None)
    for name, value in setting.items():
        setattr(model.generation_config, name, expected[0][0] if value == "first" else value)
    with pytest.raises(WrongCount, match=r"gave 1 tokens in 1 steps where 6 were asked for"):
        engine.run(single, NEW)
    with torch.inference_mode():
        model.generation_config.eos_token_id = model.generation_config.max_time = None
        assert engine.run(single, NEW).tokens.tolist() == expected[:1]
