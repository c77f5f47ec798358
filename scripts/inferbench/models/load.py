"""Models in memory: loaded with the precision and attention asked for, and counted as they are."""

from __future__ import annotations

import logging
import re
import runpy
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from inferbench.models.generation import neutral
from inferbench.models.quantised import own_quantisation
from inferbench.plan.context_length import checkpoint_config
from inferbench.settings.job import Dtype, Fault, ModelConfig, PrecisionConfig, Quantisation, RunConfig
from inferbench.settings.repository import in_repository

#: What a tokenizer is read from; the first that is there says how.
TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
#: Tensors that only quantised weights have, in the formats that transformers reads.
PACKED = re.compile(
    r"(weight|proj)_(packed|scale|scales|scale_inv|blocks|zero_point)$|\.(qweight|qzeros|scales|g_idx)$"
)
#: What is added to the name of a type whose scales are quantised in turn.
DOUBLE = " with double quantisation"


def load_model(config: RunConfig, device: torch.device) -> PreTrainedModel:
    """The cell's model on `device` in eval mode; no network, no pickles, no code from the checkpoint
    unless the config says so. Of its generation config the tokens that end a sequence are kept, and nothing
    else. Raises Unsupported before any weights load, Fault after."""
    # bitsandbytes logs a line for every int8 product.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if config.precision.quantisation is Quantisation.int8:
        _quantise_where_weights_lie()
    if config.attention.code:
        runpy.run_path(str(in_repository(config.attention.code)))
    folder = in_repository(config.model.path)
    # A checkpoint that is quantised says how itself: even None here would overwrite that.
    quantisation = (
        _quantisation(config.precision) if own_quantisation(checkpoint_config(folder)) is None else None
    )
    model, found = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=DTYPES[config.precision.dtype.value],
        attn_implementation=config.attention.implementation,
        **({"quantization_config": quantisation} if quantisation else {}),
        generation_config=neutral(folder),
        # Several GPUs share the layers; one device takes all. Quantised models cannot be moved later.
        device_map="auto" if config.model.gpus > 1 and device.type == "cuda" else {"": device},
        trust_remote_code=config.model.trust_remote_code,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    _require_whole(config.model.name, model, found)
    return model.eval()


def _require_whole(name: str, model: PreTrainedModel, found: dict[str, Any]) -> None:
    """Raises Fault where transformers dropped what codes are scaled by, or drew a parameter at random."""
    if scales := [key for key in found["unexpected_keys"] if PACKED.search(key)]:
        raise Fault(
            f"the checkpoint of {name} has {min(scales)}, as quantised weights have, and its config.json does not say"
            " how they are quantised: give its unquantised checkpoint"
        )
    if missing := found["missing_keys"] & {key for key, _ in model.named_parameters()}:
        raise Fault(
            f"the checkpoint of {name} has no {min(missing)}, which the model in its config.json has: complete it"
        )


def load_tokenizer(model: ModelConfig):
    """The tokenizer beside the weights, padding on the left; None if the folder has none (synthetic). Raises Fault
    where it cannot be read."""
    folder = in_repository(model.path)
    files = [name for name in TOKENIZER_FILES if (folder / name).exists()]
    if not files:
        return None
    # tokenizer.json is a whole tokenizer. Without a config that names its class, AutoTokenizer would put together
    # one of the class that the model's architecture usually has.
    kind = PreTrainedTokenizerFast if files[0] == "tokenizer.json" else AutoTokenizer
    try:
        return kind.from_pretrained(folder, padding_side="left", local_files_only=True)
    except Exception as error:  # of tokenizers, a plain one
        reason = " ".join(str(error).split())
        raise Fault(
            f"the tokenizer of model {model.name} ({folder / files[0]}) cannot be read: {reason}"
        ) from error


def _quantisation(precision: PrecisionConfig) -> BitsAndBytesConfig | None:
    if precision.quantisation is Quantisation.none:
        return None
    if precision.quantisation is Quantisation.int8:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=precision.outlier_threshold)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=precision.quantisation.value,
        bnb_4bit_use_double_quant=precision.double_quantisation,
        bnb_4bit_compute_dtype=DTYPES[precision.dtype.value],
    )


def _quantise_where_weights_lie() -> None:
    """transformers takes every weight to the host and back before bitsandbytes makes int8 of it on the GPU:
    7B took 25 s to load, and 5 s to nf4."""
    from bitsandbytes.nn import Int8Params
    from transformers.integrations import bitsandbytes
    from transformers.pytorch_utils import Conv1D

    def convert(self, input_dict, model=None, **kwargs):
        converted = {}
        for name, value in input_dict.items():
            value = value[0] if isinstance(value, list) else value
            module, _ = bitsandbytes.get_module_from_name(model, name)
            if issubclass(module.source_cls, Conv1D):
                value = value.T
            fp16 = model.get_parameter_or_buffer(name).has_fp16_weights
            weight = Int8Params(value, requires_grad=False, has_fp16_weights=fp16)
            converted[name] = weight._quantize(value.device)
        return converted

    bitsandbytes.Bnb8bitQuantize.convert = convert


def parameter_count(model: PreTrainedModel) -> int:
    """Weights of the model, tied ones once, packed ones as the weights that they stand for."""
    return sum(_numel(parameter) for parameter in model.parameters())


def weight_bytes(model: nn.Module) -> int:
    """Bytes of the storages behind parameters, buffers and quantisation states, each once."""
    return sum({s.data_ptr(): s.nbytes() for s in _storages(model)}.values())


def decode_weight_bytes(model: PreTrainedModel, batch_size: int) -> int:
    """Bytes of weights that one decode step must read.

    All of them but the embeddings, of tokens or of positions, of which a step reads a row per sequence (a tied one is
    read as the head). Of a mixture of experts, the share that a step is expected to touch.
    """
    head = model.get_output_embeddings()
    read = None if head is None else head.weight.data_ptr()
    tables = {m.weight.data_ptr(): m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    rows = sum(table.untyped_storage().nbytes() for place, table in tables.items() if place != read)
    total = weight_bytes(model) - rows
    experts = sum(p.untyped_storage().nbytes() for name, p in model.named_parameters() if ".experts." in name)
    return round(total - experts * (1 - expert_share(model.config, batch_size)))


def expert_share(config, batch_size: int) -> float:
    """Expected share of experts that a batch touches: 1 - (1 - k/E)^batch, routing as if at random."""
    experts = getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None)
    chosen = getattr(config, "num_experts_per_tok", None)
    return 1 - (1 - chosen / experts) ** batch_size if experts and chosen else 1.0


def quantised_share(model: PreTrainedModel) -> float:
    """Share of the weights of matrices inside the layers that are held quantised.

    Embedding and head are not asked for (bitsandbytes leaves them out by design); experts are,
    whether they are `nn.Linear` or not.
    """
    embeddings = {model.get_input_embeddings().weight.data_ptr()}
    if (head := model.get_output_embeddings()) is not None:
        embeddings.add(head.weight.data_ptr())
    asked = quantised = 0
    for parameter in model.parameters():
        packed = _is_quantised(parameter)
        if parameter.data_ptr() not in embeddings and (packed or parameter.ndim > 1):
            asked += _numel(parameter)
            quantised += _numel(parameter) if packed else 0
    return quantised / asked if asked else 0.0


def effective_dtype(model: PreTrainedModel) -> str:
    """What the layers compute in: the dtype of the norms and, if quantised, of the weights beside it."""
    packed = packed_types(model)
    return "+".join(sorted(computed_dtypes(model))) + (f" ({'+'.join(sorted(packed))})" if packed else "")


def computed_dtypes(model: nn.Module, apart: Collection[str] = ()) -> set[str]:
    """Dtypes of the parameters that are not quantised, without those named."""
    return {
        _dtype_name(parameter)
        for name, parameter in model.named_parameters()
        if name not in apart and not _is_quantised(parameter)
    }


def packed_types(model: nn.Module) -> set[str]:
    """What quantised weights are held as, by name; the names of tensors that only such weights have among them."""
    held = (name for name, _ in (*model.named_parameters(), *model.named_buffers()))
    found = {name.rpartition(".")[2] for name in held if PACKED.search(name)}
    return found | {_packed_type(parameter) for parameter in model.parameters() if _is_quantised(parameter)}


def packed_types_asked(precision: PrecisionConfig) -> set[str]:
    """What `packed_types` has to find in a model of this precision."""
    if precision.quantisation is Quantisation.none:
        return set()
    double = precision.double_quantisation and precision.quantisation is not Quantisation.int8
    return {precision.quantisation.value + (DOUBLE if double else "")}


def _packed_type(parameter: nn.Parameter) -> str:
    state = getattr(parameter, "quant_state", None)
    return _dtype_name(parameter) if state is None else state.quant_type + (DOUBLE if state.nested else "")


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _is_quantised(parameter: nn.Parameter) -> bool:
    # Codes of bitsandbytes in 4 bit, or in a type of 8 bits, in which no layer computes.
    return getattr(parameter, "quant_state", None) is not None or parameter.dtype.itemsize == 1


def kept_in_float32(model: PreTrainedModel, asked: Dtype) -> set[str]:
    """Names of the parameters that the model's own class keeps in float32 when it is loaded in 16 bit: some always,
    some in float16 alone."""
    kept = set(model._keep_in_fp32_modules_strict or ())
    if asked is Dtype.float16:
        kept |= set(model._keep_in_fp32_modules or ())
    patterns = [re.compile(pattern.replace("*", ".*")) for pattern in kept]
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.dtype is torch.float32 and any(pattern.search(name) for pattern in patterns)
    }


def _numel(parameter: nn.Parameter) -> int:
    state = getattr(parameter, "quant_state", None)
    return state.shape.numel() if state is not None else parameter.numel()


def _storages(model: nn.Module) -> Iterator[torch.UntypedStorage]:
    # bitsandbytes hangs its constants on the parameter (4 bit), or on it and the layer's state (int8).
    holders = [*model.parameters(), *(m.state for m in model.modules() if hasattr(m, "state"))]
    constants = [value for holder in holders for value in vars(holder).values()]
    states = [getattr(parameter, "quant_state", None) for parameter in model.parameters()]
    states += [getattr(state, "state2", None) for state in states]
    constants += [value for state in states if state is not None for value in vars(state).values()]
    for held in (*model.parameters(), *model.buffers(), *constants):
        if isinstance(held, torch.Tensor):
            yield held.untyped_storage()
