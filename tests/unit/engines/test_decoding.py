"""Decoding: every mode gives the tokens that the model means, and exactly as many as asked for."""

import pytest
import torch

from inferbench.engines.decoding import LoopDecoder, decode, unread_step_s
from inferbench.models.facts import model_shape
from inferbench.models.memory import kv_bytes_per_token
from inferbench.models.prompts import pad_left
from tiny_models import CPU, NEW, engine_with, naive_tokens, rows_of, tiny_llama, unequal_batch


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("mode", ["generate", "loop", "cuda_graph", "compiled"])
def test_padded_batch_equals_single_prompts_without_a_cache(mode, attention):
    model = tiny_llama(attention)
    batch = unequal_batch()
    assert batch.attention_mask is not None
    expected = [naive_tokens(model, row) for row in rows_of(batch)]
    assert engine_with(mode, model, batch).run(batch, NEW).tokens.tolist() == expected


@pytest.mark.parametrize("mode", ["generate", "loop", "cuda_graph", "compiled"])
def test_an_end_of_sequence_token_is_a_token(mode):
    """Greedy output that contains the model's own end token still has the length asked for."""
    model = tiny_llama()
    batch = unequal_batch()
    model.generation_config.eos_token_id = naive_tokens(model, rows_of(batch)[0])[1]
    timeline = engine_with(mode, model, batch).run(batch, NEW)
    assert timeline.tokens.shape == (3, NEW)
    assert len(timeline.marks) == NEW + 1
    assert timeline.marks == sorted(timeline.marks)


@pytest.mark.parametrize("mode", ["loop", "cuda_graph"])
def test_decoding_again_does_not_see_the_last_run(mode):
    model = tiny_llama()
    batch = unequal_batch()
    decoder = engine_with(mode, model, batch).stepper
    first = decode(decoder, batch, NEW).tokens
    assert torch.equal(decode(decoder, batch, NEW).tokens, first)


@pytest.mark.parametrize("mode", ["loop", "cuda_graph"])
def test_rewinding_repeats_the_same_tokens(mode):
    model = tiny_llama()
    batch = unequal_batch()
    decoder = engine_with(mode, model, batch).stepper
    start = decoder.prefill(batch).clone()

    def three_steps():
        token, read = start, []
        for _ in range(3):
            token = decoder.step(token)
            read.append(token.flatten().tolist())
        return read

    first = three_steps()
    decoder.rewind(3)
    assert three_steps() == first


def test_timing_unread_steps_leaves_the_decoder_where_it_was():
    decoder = LoopDecoder(tiny_llama())
    token = decoder.prefill(unequal_batch())
    held = decoder.cache_bytes()
    assert unread_step_s(decoder, token, 3) > 0
    assert decoder.cache_bytes() == held
    expected = LoopDecoder(decoder.model)
    assert decoder.step(token).tolist() == expected.step(expected.prefill(unequal_batch())).tolist()


def test_cache_bytes_are_the_formula():
    # 2 (keys and values) x 2 layers x 2 kv heads x 32 head dim x 4 bytes = 1024 bytes a token.
    model = tiny_llama()
    assert kv_bytes_per_token(model_shape(model.config), 4) == 1024
    batch = unequal_batch()
    loop = LoopDecoder(model)
    decode(loop, batch, NEW)
    # 7 slots of prompt and 5 of new tokens: the last token is never fed back.
    assert loop.cache_bytes() == 3 * 12 * 1024


def test_prompts_of_one_length_have_no_mask():
    batch = pad_left([[1, 2], [3, 4]], padding=0, device=CPU)
    assert batch.attention_mask is None
    assert batch.positions.tolist() == [[0, 1], [0, 1]]


def test_left_padding_aligns_ends_and_positions_count_tokens_only():
    batch = pad_left([[5, 6, 7], [8]], padding=0, device=CPU)
    assert batch.input_ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert batch.positions.tolist() == [[0, 1, 2], [0, 0, 0]]
    assert batch.lengths == [3, 1]
