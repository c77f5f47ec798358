"""What a model keeps of its past, counted without data, against what it holds when it runs."""

import pytest
import torch
from transformers import AutoConfig, DynamicCache

from inferbench.engines.decoding import LoopDecoder, decode
from inferbench.models import facts, memory
from inferbench.models.cache import cache_bytes
from inferbench.settings.outcomes import NotKnown, Unsupported
from small_models import ARCHITECTURES, BATCH, NEW, PROMPT, prompts, small_cell, small_config, small_model
from tiny_models import engine_with, tiny_llama

#: The last new token is never fed back.
HELD = PROMPT + NEW - 1


def held_by_name(cache):
    """Bytes of the keys, values and states of a cache, by the names that transformers has for them."""
    total = 0
    for layer in cache.layers:
        tensors = [getattr(layer, name, None) for name in ("keys", "values")]
        for name in ("conv_states", "recurrent_states"):
            tensors += getattr(layer, name, {}).values()
        total += sum(t.nelement() * t.element_size() for t in tensors if t is not None)
    return total


@pytest.mark.parametrize("kind", [kind for kind in ARCHITECTURES if kind != "recurrent_gemma"])
def test_the_cache_is_counted_as_generate_holds_it(kind):
    model = small_model(kind)
    generating, stepping = (engine_with(name, model, prompts(), NEW) for name in ("generate", "loop"))
    tokens = [engine.run(prompts(), NEW).tokens for engine in (generating, stepping)]
    held = held_by_name(generating.cache)
    assert facts.model_shape(small_config(kind)).cache(BATCH, HELD).kept == held
    assert generating.cache_bytes() == stepping.cache_bytes() == held
    assert torch.equal(*tokens)


def test_a_window_keeps_one_token_less_than_it_attends():
    # 2 layers x (keys, values) x 2 heads x 32 x 2 bytes = 512 bytes a token. The formula says 8.42 MB.
    shape = facts.model_shape(small_config("mistral", num_hidden_layers=2, head_dim=32), dtype=torch.bfloat16)
    assert shape.cache(4, 4096 + 15).kept == 4 * 15 * 512
    assert memory.kv_bytes_per_token(shape, 2) == 512
    assert memory.true_bytes_per_token(shape, 4, 4096 + 15) is None
    # What is not longer than the window is all there.
    assert memory.true_bytes_per_token(shape, 4, 15) == 512


def test_latent_attention_keeps_the_latent():
    # 4 layers x (32 of the latent + 8 of the rotary key) x 4 bytes; the formula takes 2 x 4 heads of it.
    shape = facts.model_shape(small_config("deepseek_v3"))
    assert shape.cache(BATCH, HELD).kept == BATCH * HELD * 4 * (32 + 8) * 4
    assert memory.true_bytes_per_token(shape, BATCH, HELD) is None


def test_recurrent_states_are_counted_beside_keys_and_values():
    # Keys and values: 2 layers x 2 x 2 heads x 16 x 4 bytes. States of a layer: 4 x (128 + 2 x 16) before the
    # convolution and 128 x 16 recurrent ones, of 4 bytes.
    kept = facts.model_shape(small_config("falcon_h1")).cache(BATCH, HELD).kept
    states = BATCH * 2 * (4 * (128 + 2 * 16) + 128 * 16) * 4
    assert states == 43_008
    assert kept == states + BATCH * HELD * 512 == 107_520


def test_a_model_that_keeps_states_in_its_modules_has_no_number():
    shape = facts.model_shape(small_config("recurrent_gemma"))
    # Two recurrent layers, each with a state and one before its convolution.
    for count in (
        shape.require_past_in_cache,
        lambda: shape.cache(BATCH, HELD),
        lambda: shape.cache(BATCH, HELD),
    ):
        with pytest.raises(NotKnown, match="4 states of the model are kept in its modules"):
            count()


def test_what_is_no_cache_has_no_number():
    for past in (None, [torch.zeros(2, 3)]):
        with pytest.raises(NotKnown, match="no cache of transformers with layers"):
            cache_bytes(past)
    with pytest.raises(NotKnown, match="leaves the cache that it is given empty"):
        cache_bytes(DynamicCache())


def test_a_model_that_leaves_its_cache_empty_is_not_decoded_step_by_step():
    """RWKV keeps a state of its own: after the prompt each step would start anew."""
    config = AutoConfig.for_model("rwkv", hidden_size=64, num_hidden_layers=2, vocab_size=512)
    model = facts.AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(Unsupported, match="leaves the cache that it is given empty"):
        decode(LoopDecoder(model), prompts(), NEW)


def test_tables_of_positions_are_no_matrices():
    # gpt2: 512 tokens and 128 positions of 64, two layers of 12 x 64^2 weights, 13 x 64 biases and norms, and a norm.
    shape = facts.model_shape(small_config("gpt2"))
    assert (shape.embedding_weights, shape.table_weights, shape.head_weights) == (512 * 64, 128 * 64, 0)
    assert shape.layer_weights == 2 * (12 * 64**2 + 13 * 64) + 2 * 64
    assert (shape.layers, shape.heads, shape.head_dim, shape.intermediate) == (2, 4, 16, 256)


def test_the_numbers_of_a_llama_are_as_ever():
    found = facts.model_shape(tiny_llama().config).numbers()
    assert found == {
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 32,
        "vocabulary": 512,
        "width": 128,
        "intermediate": 256,
        # per layer 128 x (128 + 2 x 64 + 128) of attention, 3 x 128 x 256 of the MLP, two norms; and a norm
        "layer_weights": 2 * (128 * 384 + 3 * 128 * 256 + 2 * 128) + 128,
        "expert_weights": 0,
        "embedding_weights": 512 * 128,
        "head_weights": 512 * 128,
        "table_weights": 0,
        "active_experts": 1.0,
    }
    assert facts.model_shape(AutoConfig.for_model("llama", tie_word_embeddings=True)).head_weights == 0


def test_experts_that_the_configuration_does_not_count_leave_the_shares_unknown():
    facts.model_shape(small_config("deepseek_v3")).require_known_weights()
    unsaid = AutoConfig.for_model("aria_text", num_hidden_layers=1)
    with pytest.raises(NotKnown, match="how many of its experts"):
        facts.model_shape(unsaid).require_known_weights()


@pytest.mark.parametrize(
    ("kind", "plain"),
    [("llama", True), ("falcon", True), ("mistral", False), ("deepseek_v3", False), ("gpt_neo", False)],
)
def test_operations_are_counted_for_plain_attention_alone(kind, plain):
    shape = facts.model_shape(small_config(kind))
    if plain:
        shape.require_plain_attention(BATCH, HELD)
    else:
        with pytest.raises(NotKnown, match="attend"):
            shape.require_plain_attention(BATCH, HELD)


NO_SDPA = "GPTNeoForCausalLM does not support sdpa in transformers: ask for another attention, such as eager"


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"model_type": "t5"}, "t5 is an encoder-decoder model; measured are models that continue their prompt"),
        ({"model_type": "bart"}, "bart is an encoder-decoder model; measured are models that continue their prompt"),
        ({"model_type": "vit"}, "transformers has no causal language model of type vit"),
        ({"model_type": "gpt_neo"}, NO_SDPA),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_said_in_one_sentence(config, sentence, tmp_path):
    AutoConfig.for_model(**config).save_pretrained(tmp_path)
    with pytest.raises(Unsupported) as refused:
        facts.load_shape(small_cell("llama", tmp_path, "generate"))
    assert str(refused.value) == sentence


def test_the_language_model_of_a_multimodal_one_is_counted_and_its_shares_are_not():
    text = {"vocab_size": 512, "num_hidden_layers": 4, "hidden_size": 64, "sliding_window": 16}
    shape = facts.model_shape(
        AutoConfig.for_model("gemma3", text_config={**ARCHITECTURES["gemma3_text"], **text})
    )
    alone = facts.model_shape(small_config("gemma3_text", **text))
    assert shape.cache(BATCH, HELD) == alone.cache(BATCH, HELD)
    assert shape.vocabulary == 512
    with pytest.raises(NotKnown, match="parts beside its language model"):
        shape.require_known_weights()
