"""Small random models of many architectures, with windows of 16 tokens where they have any."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from inferbench.models.prompts import pad_left
from inferbench.settings.job import Lengths, MeasureConfig
from tiny_models import CPU, benchmark_config

PROMPT, NEW, BATCH = 48, 16, 2
VOCABULARY = 512

_SIZES = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
_GPT = {"n_embd": 64, "n_layer": 2, "n_head": 4}
_LLAMA = {**_SIZES, "intermediate_size": 128, "num_key_value_heads": 2, "head_dim": 16}
_WINDOW = {**_LLAMA, "sliding_window": 16}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_THREE_AND_ONE = [*["sliding_attention"] * 3, "full_attention"]

ARCHITECTURES = {
    "llama": _LLAMA,
    "gpt2": {**_GPT, "n_positions": 128},
    "opt": {**_SIZES, "ffn_dim": 128, "word_embed_proj_dim": 64, "max_position_embeddings": 128},
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4},
    "falcon": _SIZES,
    "gpt_bigcode": {**_GPT, "n_positions": 128},
    "gpt_neo": {
        "hidden_size": 64,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 16,
        "max_position_embeddings": 128,
    },
    "mistral": _WINDOW,
    "gemma2": _WINDOW,
    "gemma3_text": {**_WINDOW, "layer_types": _THREE_AND_ONE},
    "gemma4_text": {
        **_WINDOW,
        "layer_types": _THREE_AND_ONE,
        "num_kv_shared_layers": 0,
        "vocab_size_per_layer_input": VOCABULARY,
        "hidden_size_per_layer_input": 16,
        "global_head_dim": 16,
    },
    "gemma3n_text": {
        **_WINDOW,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        # The last two read the keys of the first two.
        "num_kv_shared_layers": 2,
        "vocab_size_per_layer_input": VOCABULARY,
        "hidden_size_per_layer_input": 16,
        "laurel_rank": 8,
        "intermediate_size": [128] * 4,
        "activation_sparsity_pattern": [0.0] * 4,
    },
    "cohere2": _WINDOW,
    "llama4_text": {**_LLAMA, "intermediate_size_mlp": 128, "attention_chunk_size": 16, **_EXPERTS},
    "gpt_oss": {**_WINDOW, **_EXPERTS, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "deepseek_v3": {
        **_SIZES,
        "intermediate_size": 128,
        "moe_intermediate_size": 32,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "num_key_value_heads": 4,
        "q_lora_rank": 32,
        "kv_lora_rank": 32,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 16,
    },
    "falcon_h1": {
        **_LLAMA,
        "num_hidden_layers": 2,
        "mamba_d_ssm": 128,
        "mamba_n_heads": 4,
        "mamba_d_head": 32,
        "mamba_d_state": 16,
        "mamba_n_groups": 1,
    },
    "mamba": {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8},
    "mamba2": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "state_size": 8,
        "num_heads": 8,
        "head_dim": 16,
        "n_groups": 2,
    },
    "lfm2": {**_LLAMA, "layer_types": ["conv", "full_attention"] * 2},
    "qwen3_next": {
        **_LLAMA,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
    },
    "granitemoehybrid": {
        **_LLAMA,
        "layer_types": ["mamba", "attention"] * 2,
        "mamba_n_heads": 4,
        "mamba_d_head": 32,
        "mamba_d_state": 16,
        "num_local_experts": 0,
        "shared_intermediate_size": 64,
    },
    "recurrent_gemma": {
        **_LLAMA,
        "num_hidden_layers": 3,
        "num_key_value_heads": 1,
        "lru_width": 64,
        "attention_window_size": 16,
    },
}
#: Those that transformers has no sdpa for.
EAGER = {"bloom", "gemma2", "gpt_neo", "gpt_oss", "mamba", "mamba2"}


def small_config(kind, **changes):
    tokens = {"vocab_size": VOCABULARY, "pad_token_id": 0}
    return AutoConfig.for_model(kind, **{**ARCHITECTURES[kind], **tokens, **changes})


def small_model(kind, attention=None, **changes):
    """The same weights each time, spread widely enough that tokens differ."""
    torch.manual_seed(0)
    attention = attention or ("eager" if kind in EAGER else "sdpa")
    model = AutoModelForCausalLM.from_config(small_config(kind, **changes), attn_implementation=attention)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(std=0.15)
    return model.eval()


def prompts(longest=PROMPT):
    """Two prompts of unequal length."""
    draws = torch.Generator().manual_seed(1)
    rows = [torch.randint(1, VOCABULARY, (length,), generator=draws) for length in (longest, longest - 8)]
    return pad_left([row.tolist() for row in rows], padding=0, device=CPU)


def small_cell(kind, folder, mode, prompt=PROMPT, new=NEW, batch_size=BATCH, **changes):
    """The configuration of a cell whose checkpoint lies in `folder`, timed once."""
    attention = "eager" if kind in EAGER else "sdpa"
    once = MeasureConfig(
        warmup_min_iterations=1, warmup_max_iterations=1, min_iterations=1, max_iterations=1, min_seconds=0
    )
    config = benchmark_config(mode, attention, measure=once, batch_size=batch_size, **changes)
    config.model.path = str(folder)
    config.workload.prompt_tokens, config.workload.new_tokens = prompt, new
    config.workload.lengths = Lengths.unequal
    return config
