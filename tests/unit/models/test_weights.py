"""Weights are counted as they are held."""

from types import SimpleNamespace

import pytest

from inferbench.models import weights
from small_models import small_model
from tiny_models import tiny_llama


def test_weights_are_counted_by_storage_and_tied_ones_once():
    model = tiny_llama()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    assert weights.weight_bytes(model) == 4 * parameters + buffers
    model.lm_head.weight = model.model.embed_tokens.weight
    assert weights.weight_bytes(model) == 4 * (parameters - 512 * 128) + buffers


def test_a_decode_step_reads_all_but_an_untied_embedding():
    model = tiny_llama()
    assert weights.weight_bytes(model) - weights.decode_weight_bytes(model, 1) == 512 * 128 * 4
    model.lm_head.weight = model.model.embed_tokens.weight
    assert weights.weight_bytes(model) == weights.decode_weight_bytes(model, 1)


def test_a_step_reads_no_row_of_a_table_but_its_own():
    model = small_model("gpt2")
    # The head is the embedding; of the 128 positions of 64 a step reads one a sequence.
    assert weights.weight_bytes(model) - weights.decode_weight_bytes(model, 1) == 128 * 64 * 4


def test_expected_share_of_experts():
    # 8 of 64: one token touches 1/8; of two independent ones 1 - (7/8)^2 = 15/64 are touched.
    config = SimpleNamespace(num_experts=64, num_experts_per_tok=8)
    assert weights.expert_share(config, 1) == pytest.approx(1 / 8)
    assert weights.expert_share(config, 2) == pytest.approx(15 / 64)
    assert weights.expert_share(SimpleNamespace(), 4) == 1
