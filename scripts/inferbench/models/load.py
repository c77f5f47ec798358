"""Models loaded into memory, with the precision and attention asked for."""

from __future__ import annotations

import runpy
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from inferbench.models.generation import neutral
from inferbench.models.quantised import own_quantisation
from inferbench.models.weights import DTYPES, PACKED
from inferbench.plan.context_length import checkpoint_config
from inferbench.precision.by_name import library
from inferbench.settings.job import Fault, ModelConfig, RunConfig
from inferbench.settings.repository import in_repository

#: What a tokenizer is read from; the first that is there says how.
TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def load_model(config: RunConfig, device: torch.device) -> PreTrainedModel:
    """The cell's model on `device` in eval mode; no network, no pickles, no code from the checkpoint
    unless the config says so. Of its generation config the tokens that end a sequence are kept, and nothing
    else. Raises Unsupported before any weights load, Fault after."""
    weights = library(config.precision)
    weights.prepare(config.precision)
    if config.attention.code:
        runpy.run_path(str(in_repository(config.attention.code)))
    folder = in_repository(config.model.path)
    # A checkpoint that is quantised says how itself: even None here would overwrite that.
    quantised = own_quantisation(checkpoint_config(folder)) is not None
    model, found = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=DTYPES[config.precision.dtype.value],
        attn_implementation=config.attention.implementation,
        **({} if quantised else weights.load_arguments(config.precision)),
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
