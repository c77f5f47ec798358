"""Models in memory: loaded with the precision and attention asked for, and counted as they are."""

from __future__ import annotations

import logging
import runpy
from collections.abc import Iterator

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from inferbench.config import Fault, ModelConfig, PrecisionConfig, Quantisation, RunConfig, in_repository

#: What a tokenizer is read from; the first that is there says how.
TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def load_model(config: RunConfig, device: torch.device) -> PreTrainedModel:
    """The cell's model on `device` in eval mode; no network, no pickles, no code from the checkpoint
    unless the config says so."""
    # bitsandbytes logs a line for every int8 product.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if config.precision.quantisation is Quantisation.int8:
        _quantise_where_weights_lie()
    if config.attention.code:
        runpy.run_path(str(in_repository(config.attention.code)))
    model = AutoModelForCausalLM.from_pretrained(
        in_repository(config.model.path),
        dtype=DTYPES[config.precision.dtype.value],
        attn_implementation=config.attention.implementation,
        quantization_config=_quantisation(config.precision),
        # Several GPUs share the layers; one device takes all. Quantised models cannot be moved later.
        device_map="auto" if config.model.gpus > 1 and device.type == "cuda" else {"": device},
        trust_remote_code=config.model.trust_remote_code,
        use_safetensors=True,
        local_files_only=True,
    )
    return model.eval()


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

    All of them but the input embedding, of which a step reads a row per sequence (a tied one is read
    as the head). Of a mixture of experts, the share that a step is expected to touch.
    """
    embedding = model.get_input_embeddings().weight
    head = model.get_output_embeddings()
    tied = head is not None and head.weight.data_ptr() == embedding.data_ptr()
    total = weight_bytes(model) - (0 if tied else embedding.untyped_storage().nbytes())
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
    computed = {str(p.dtype).removeprefix("torch.") for p in model.parameters() if not _is_quantised(p)}
    packed = {_packed_name(p) for p in model.parameters() if _is_quantised(p)}
    return "+".join(sorted(computed)) + (f" ({'+'.join(sorted(packed))})" if packed else "")


def _packed_name(parameter: nn.Parameter) -> str:
    state = getattr(parameter, "quant_state", None)
    return state.quant_type if state is not None else str(parameter.dtype).removeprefix("torch.")


def _is_quantised(parameter: nn.Parameter) -> bool:
    return getattr(parameter, "quant_state", None) is not None or parameter.dtype is torch.int8


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
