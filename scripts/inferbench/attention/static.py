"""Attention over a static cache, as a captured decode step needs it: which slots are filled stands on the device.

Shapes: B sequences, H heads, K key heads, Q query positions, L slots of the cache, D width of a head.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from inferbench.attention.registered import STATIC_ATTENTION


def sdpa_static(module, query, key, value, attention_mask, scaling=None, prefill=False, **kwargs):
    """`scaled_dot_product_attention` over a static cache. Returns (B, Q, H, V).

    query: (B, H, Q, D); key: (B, K, L, D); value: (B, K, L, V), of which a prefill fills the first Q slots;
    mask: (B or 1, 1, Q, L), True = attend. After the prefill the H / K heads that share a key head
    become query positions of it, so that keys and values are read in place: transformers' own path
    copies them H / K times each step when there is a mask.
    """
    batch, heads, length, width = query.shape
    if prefill:
        mask = None if attention_mask is None else attention_mask[..., :length]
        key, value = key[:, :, :length], value[:, :, :length]
        return sdpa_attention_forward(module, query, key, value, mask, scaling=scaling)
    shared = heads // key.shape[1]
    folded = query.reshape(batch, key.shape[1], shared * length, width)
    mask = attention_mask if length == 1 else attention_mask.repeat(1, 1, shared, 1)
    out = functional.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scaling)
    return out.reshape(batch, heads, length, value.shape[-1]).transpose(1, 2), None


def flash_static(
    module, query, key, value, attention_mask, scaling=None, lengths=None, padding=None, **kwargs
):
    """FlashAttention-2 over a static cache; what is filled and what is padding stands on the device.

    query: (B, H, Q, D); key, value: (B, K, L, D); lengths (filled slots), padding: (B,) int32.
    transformers' own path attends the empty slots too, or reads the mask back to the host.
    """
    from flash_attn import flash_attn_with_kvcache

    query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))
    out = flash_attn_with_kvcache(
        query, key, value, cache_seqlens=lengths, cache_leftpad=padding, softmax_scale=scaling, causal=True
    )
    return out, None


def slot_mask(open_slots: torch.Tensor, model: PreTrainedModel, implementation: str) -> torch.Tensor:
    """(B, 1, Q, L), True = attend, in the form that the backend reads."""
    if implementation == "eager":
        shut = torch.finfo(model.dtype).min
        return torch.zeros_like(open_slots, dtype=model.dtype).masked_fill(~open_slots, shut)
    return open_slots


AttentionInterface.register(STATIC_ATTENTION["sdpa"], sdpa_static)
AttentionMaskInterface.register(STATIC_ATTENTION["sdpa"], sdpa_mask)
AttentionInterface.register(STATIC_ATTENTION["flash_attention_2"], flash_static)
