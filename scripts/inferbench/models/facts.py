"""What a model is, counted and not guessed: on the model built on the meta device, which holds no data, and on the
cache that it fills there."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    DynamicCache,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

from inferbench.models.cache import cache_argument, cache_bytes, cache_tensors
from inferbench.models.weights import DTYPES, expert_share
from inferbench.settings.job import RunConfig
from inferbench.settings.outcomes import NotKnown, Unsupported
from inferbench.settings.repository import in_repository


class KeptElsewhere(NotKnown):
    """The model keeps some of its past outside of the cache that it is given."""


@dataclass(frozen=True)
class FilledCache:
    """The cache after a prompt.

    kept: bytes of what it keeps. allocated: bytes of the memory behind that, which is more until the next step where
    a layer keeps the last keys of a window as a view of all. attends: whether any layer keeps keys. stateful: whether
    any keeps more than keys and values. plain: whether all keep the keys and values of every token, in one shape.
    """

    kept: int
    allocated: int
    attends: bool
    stateful: bool
    plain: bool


@dataclass
class ModelShape:
    """The numbers that the formulas need, and the model without data that they were counted on.

    What only the configuration tells is None where it does not.
    """

    model: PreTrainedModel = field(repr=False)
    layers: int | None
    heads: int | None
    kv_heads: int | None
    head_dim: int | None
    vocabulary: int
    #: of the hidden states, and of the MLP
    width: int
    intermediate: int
    #: weights of matrices inside the layers, experts apart
    layer_weights: int
    expert_weights: int
    #: input embedding, the head if it is not the same tensor, and other tables of which a token reads a row
    embedding_weights: int
    head_weights: int
    table_weights: int
    #: experts that one token uses / experts
    active_experts: float | None

    def numbers(self) -> dict[str, Any]:
        """What a record keeps of it."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "model"}

    def cache(self, batch_size: int, tokens: int) -> FilledCache:
        """The cache after prompts of that many tokens, which the model fills as ever. Raises NotKnown where it does not
        run without data, or keeps its past elsewhere."""
        key = batch_size, tokens
        if key not in self._caches:
            self._caches[key] = _fill_cache(self.model, *key)
        return self._caches[key]

    @cached_property
    def _caches(self) -> dict[tuple[int, int], FilledCache]:
        return {}

    @property
    def attends(self) -> bool:
        """Whether any layer keeps keys; taken to be so where that cannot be counted."""
        try:
            return self.cache(1, 1).attends
        except NotKnown:
            return True

    def require_past_in_cache(self) -> None:
        """Raise NotKnown where what the model's cache holds is not all that it keeps of its past."""
        try:
            self.cache(1, 1)
        except KeptElsewhere:
            raise
        except NotKnown:
            # Of a cache that is filled with data it can still be told what it holds.
            return

    def require_known_weights(self) -> None:
        """Raise NotKnown where what a token uses of the weights is not told."""
        if self.model.config.get_text_config(decoder=True) is not self.model.config:
            raise NotKnown(
                "the model has parts beside its language model, and how much of it a token uses is not told"
            )
        if self.active_experts is None:
            raise NotKnown("its configuration does not tell how many of its experts a token uses")

    def require_plain_attention(self, batch_size: int, tokens: int) -> None:
        """Raise NotKnown where a layer's tokens do not attend all before them, as the FLOP of prefill are counted."""
        text = self.model.config.get_text_config(decoder=True)
        # GPT-Neo keeps what is beyond its windows.
        windows = {*(getattr(text, "attention_layers", None) or ())} - {"global"}
        if windows or not self.cache(batch_size, tokens).plain:
            raise NotKnown(
                "its operations are counted where all tokens before are attended in every layer, which is not so here"
            )


def load_config(config: RunConfig) -> PreTrainedConfig:
    """Configuration of the checkpoint. Raises Unsupported where it is no causal language model of transformers, or one
    whose own class refuses the attention asked for."""
    folder, trusted = in_repository(config.model.path), config.model.trust_remote_code
    found = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted)
    if found.is_encoder_decoder:
        raise Unsupported(
            f"{found.model_type} is an encoder-decoder model; measured are models that continue their prompt"
        )
    if "AutoModelForCausalLM" in (getattr(found, "auto_map", None) or {}):
        with torch.device("meta"):  # the checkpoint's own code, whose class is known once it is built
            model = type(AutoModelForCausalLM.from_config(found, trust_remote_code=trusted))
    elif type(found) in MODEL_FOR_CAUSAL_LM_MAPPING:
        model = MODEL_FOR_CAUSAL_LM_MAPPING[type(found)]
    else:
        raise Unsupported(f"transformers has no causal language model of type {found.model_type}")
    if not _supports(model, config.attention.implementation):
        raise Unsupported(
            f"{model.__name__} does not support {config.attention.implementation} in transformers: ask for another"
            " attention, such as eager"
        )
    return found


def _supports(model: type[PreTrainedModel], attention: str) -> bool:
    """Whether a model's class says that it works with the attention."""
    if attention.startswith("flash_attention"):
        # transformers would silently take another of these.
        return model._supports_flash_attn and attention in (
            model._compatible_flash_implementations or [attention]
        )
    flag = {"sdpa": "_supports_sdpa", "flex_attention": "_supports_flex_attn"}.get(attention)
    return flag is None or getattr(model, flag)


def load_shape(config: RunConfig) -> ModelShape:
    """Shape of the cell's checkpoint. Raises Unsupported as load_config does."""
    return model_shape(
        load_config(config), DTYPES[config.precision.dtype.value], config.model.trust_remote_code
    )


def model_shape(
    config: PreTrainedConfig, dtype: torch.dtype = torch.float32, trust_remote_code: bool = False
) -> ModelShape:
    """Shape of a model from its config alone. Raises Unsupported where building it takes a package that is missing."""
    try:
        with torch.device("meta"):
            # Neither of these looks at a mask or at what was routed where, and the cache is the same.
            runs = {"attn_implementation": "eager", "experts_implementation": "batched_mm"}
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
                config, dtype=dtype, trust_remote_code=trust_remote_code, **runs
            ).eval()
    except ImportError as error:
        raise Unsupported(" ".join(str(error).split()).split(". ")[0]) from error
    text = model.config.get_text_config(decoder=True)
    embedding = model.get_input_embeddings().weight
    outputs = model.get_output_embeddings()
    head = embedding if outputs is None else outputs.weight
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    apart = {id(parameter) for parameter in (*tables, embedding, head)}
    inner = {name: p for name, p in model.named_parameters() if id(p) not in apart}
    experts = sum(p.numel() for name, p in inner.items() if ".experts." in name)
    heads = _told(text, "num_attention_heads")
    return ModelShape(
        model=model,
        layers=_told(text, "num_hidden_layers"),
        heads=heads,
        kv_heads=_told(text, "num_key_value_heads") or heads,
        head_dim=_told(text, "head_dim") or (heads and embedding.shape[1] // heads),
        vocabulary=embedding.shape[0],
        width=embedding.shape[1],
        intermediate=_told(text, "intermediate_size") or _widest_input(model),
        layer_weights=sum(p.numel() for p in inner.values()) - experts,
        expert_weights=experts,
        embedding_weights=embedding.numel(),
        head_weights=0 if head is embedding else head.numel(),
        table_weights=sum(table.numel() for table in tables if table is not embedding and table is not head),
        # Of a batch of none no expert is used: 1 is what stands where the configuration does not tell.
        active_experts=None if experts and expert_share(text, 0) == 1 else expert_share(text, 1),
    )


def _told(config: PreTrainedConfig, name: str) -> int | None:
    """The number of that name; None where the configuration has none, or another for each layer."""
    try:
        value = getattr(config, name, None)
    except RuntimeError:  # transformers' AmbiguousGlobalPerLayerAttributeError
        return None
    return value if isinstance(value, int) else None


def _widest_input(model: nn.Module) -> int:
    """Columns of the widest matrix: the last one of an MLP is given what is inside of it."""
    linear = (module.in_features for module in model.modules() if isinstance(module, nn.Linear))
    transposed = (module.nx for module in model.modules() if isinstance(module, Conv1D))
    return max((*linear, *transposed), default=0)


def _fill_cache(model: PreTrainedModel, batch_size: int, tokens: int) -> FilledCache:
    cache = _run(model, torch.zeros(batch_size, tokens, dtype=torch.long, device="meta"))
    held = cache_tensors(cache)
    pairs = [(layer.keys, layer.values) for layer in cache.layers if getattr(layer, "keys", None) is not None]
    stateful = sum(map(len, held)) > 2 * len(pairs)
    shapes = {tensor.shape for pair in pairs for tensor in pair}
    alike = len(pairs) == len(held) and len(shapes) == 1 and shapes.pop()[-2] == tokens
    return FilledCache(
        kept=cache_bytes(cache),
        allocated=sum(tensor.untyped_storage().nbytes() for layer in held for tensor in layer),
        attends=bool(pairs),
        stateful=stateful,
        plain=alike and not stateful,
    )


@torch.inference_mode()
def _run(model: PreTrainedModel, ids: torch.Tensor) -> DynamicCache:
    """The cache that the model fills as it reads the tokens. Raises NotKnown where it needs to know what they are, and
    KeptElsewhere."""
    before = _states(model)
    # Without a mask some look for padding among the tokens; others look into a mask.
    for mask in (None, torch.ones_like(ids)):
        cache = DynamicCache(config=model.config)
        inputs = {"input_ids": ids, "attention_mask": mask, cache_argument(model): cache}
        try:
            model(**inputs, use_cache=True, logits_to_keep=1)
            break
        except Exception as error:  # whatever a model does that takes data
            cause = error
    else:
        words = " ".join(str(cause).split())[:100]
        raise NotKnown(
            f"its cache cannot be counted before it runs: without data there is {type(cause).__name__}, {words}"
        )
    new = [place for place, state in _states(model).items() if before.get(place) is not state]
    if new:
        raise KeptElsewhere(f"{len(new)} states of the model are kept in its modules, outside of its cache")
    return cache


def _states(model: nn.Module) -> dict[tuple[nn.Module, str], torch.Tensor]:
    """The tensors that modules have beside their parameters and buffers."""
    return {
        (module, name): value
        for module in model.modules()
        for name, value in vars(module).items()
        if isinstance(value, torch.Tensor)
    }
