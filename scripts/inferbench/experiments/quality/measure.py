"""What a precision costs in quality: how far the model's next-token distributions are from those of a
reference precision over a fixed text, and where its greedy continuations leave the reference's.

Shapes: T tokens of a window, V vocabulary. A window predicts T - 1 tokens.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedModel

from inferbench.engines.decoding import LoopDecoder, decode
from inferbench.experiments.quality.settings import Settings
from inferbench.measure.reasons import unsupported_reason
from inferbench.measure.setup import load_checked
from inferbench.measure.stages import Stages
from inferbench.models.load import load_tokenizer
from inferbench.models.prompts import PromptBatch, beginning, pad_left, require_known
from inferbench.models.requests import choose_prompts, request_ids, until_end
from inferbench.settings.experiment import ExperimentConfig
from inferbench.settings.job import ConfigError, Source
from inferbench.settings.outcomes import Unsupported
from inferbench.settings.repository import in_repository

#: Positions compared at a time: in float64 a whole window of a large vocabulary would be gigabytes.
_CHUNK = 64
WINDOW = ("window", "predicted_tokens", "nll", "reference_nll", "kl", "top1")
CONTINUATION = (
    "prompt",
    "text",
    "reference_text",
    "compared_tokens",
    "leaves_at",
    "leaves_with",
    "reference_token",
)


def measure(config: ExperimentConfig, device: torch.device, stages: Stages, record: dict[str, Any]) -> None:
    """Fill `record`; a sample is one window, or one continuation. The reference model comes first and is
    gone before the other is loaded; of it the log-probabilities stay, on the host."""
    settings: Settings = config.experiment
    reference = replace(config, precision=settings.reference)
    require_comparable(config, reference, device)
    tokenizer = load_tokenizer(config.model)
    if tokenizer is None:
        raise Unsupported(f"{config.model.name} has no tokenizer, so there is no text for it to continue")
    windows = text_windows(settings, tokenizer)
    prompts = choose_prompts(settings.prompts, settings.continuations, config.seed)
    requests = [request_ids(prompt, tokenizer) for prompt in prompts]
    batch = pad_left(requests, padding=0, device=device)

    # All that concerns the reference is one stage: `load` is the time of the precision itself.
    model, _ = load_checked(reference, device, lambda _: stages("reference"), {})
    require_known([*requests, *(window.tolist() for window in windows)], model)
    with stages("reference"):
        expected = [log_probabilities(model, window).cpu() for window in windows]
        asked_for = greedy_answers(model, batch, settings.new_tokens)
    del model
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()

    model, _ = load_checked(config, device, stages, record)
    with stages("measure"):
        found = [
            {"window": place, **compare(known, log_probabilities(model, window), window[1:])}
            for place, (window, known) in enumerate(zip(windows, expected))
        ]
        answers = greedy_answers(model, batch, settings.new_tokens)
    found += [
        {"prompt": prompt, **departure(theirs, own, tokenizer)}
        for prompt, theirs, own in zip(prompts, asked_for, answers)
    ]
    record["samples"] = [{name: sample.get(name) for name in (*WINDOW, *CONTINUATION)} for sample in found]


def require_comparable(config: ExperimentConfig, reference: ExperimentConfig, device: torch.device) -> None:
    """Raises Unsupported where there is nothing to compare, or nothing to compare with."""
    if config.model.source is Source.synthetic:
        raise Unsupported(f"{config.model.name} has random weights: its text has no quality to lose")
    if reason := unsupported_reason(reference, device):
        raise Unsupported(f"reference precision {reference.precision.name}: {reason}")


def text_windows(settings: Settings, tokenizer) -> list[torch.Tensor]:
    """Windows (T,) of the text, spread evenly over it, each begun as the tokenizer begins a text and not ended. Raises
    ConfigError when the text is too short."""
    begin = beginning(tokenizer)
    length = settings.window_tokens - len(begin)
    text = in_repository(settings.text).read_text(encoding="utf-8")
    ids = tokenizer(text, add_special_tokens=False).input_ids
    apart = len(ids) // settings.windows
    if apart < length:
        raise ConfigError(
            f"{settings.text} has {len(ids)} tokens: ask for fewer than {settings.windows} windows of "
            f"{settings.window_tokens}, or for shorter ones."
        )
    starts = range(0, apart * settings.windows, apart)
    return [torch.tensor(begin + ids[start : start + length]) for start in starts]


@torch.inference_mode()
def log_probabilities(model: PreTrainedModel, window: torch.Tensor) -> torch.Tensor:
    """(T,) -> (T - 1, V) float32: what the model expects after each token but the last."""
    logits = model(input_ids=window[None].to(model.device), use_cache=False).logits[0, :-1]
    return logits.float().log_softmax(-1)


def compare(reference: torch.Tensor, found: torch.Tensor, following: torch.Tensor) -> dict[str, Any]:
    """Two log-distributions (T - 1, V) after the same tokens, and the tokens (T - 1,) that followed:
    means over the window, in nats where they are information."""
    reference, following = reference.to(found.device), following.to(found.device)[:, None]
    return {
        "predicted_tokens": len(following),
        "nll": -found.gather(1, following).double().mean().item(),
        "reference_nll": -reference.gather(1, following).double().mean().item(),
        "kl": divergence(reference, found).mean().item(),
        "top1": (reference.argmax(-1) == found.argmax(-1)).double().mean().item(),
    }


def divergence(reference: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Two log-distributions (T, V) -> (T,) float64, KL(reference || found) in nats.

    Kullback and Leibler, "On information and sufficiency", 1951. The sum of p log(p / q) gets q - p, which
    sums to nothing but rounding: so each term is at least 0, and small divergences keep their digits.
    """
    parts = []
    for log_p, log_q in zip(reference.split(_CHUNK), found.split(_CHUNK)):
        log_p, log_q = log_p.double(), log_q.double()
        p = log_p.exp()
        parts.append((p * (log_p - log_q) + log_q.exp() - p).sum(-1))
    return torch.cat(parts)


def greedy_answers(model: PreTrainedModel, batch: PromptBatch, new_tokens: int) -> list[list[int]]:
    """The tokens that the model says after each prompt of the batch, to where it ends."""
    tokens = decode(LoopDecoder(model), batch, new_tokens).tokens
    return [until_end(row, model) for row in tokens.tolist()]


def departure(reference: list[int], found: list[int], tokenizer) -> dict[str, Any]:
    """Both texts, and the first token at which `found` leaves `reference`, counted from 1; None if never."""
    pairs = list(zip(reference, found))
    place = next((index for index, (theirs, own) in enumerate(pairs) if theirs != own), None)
    return {
        "text": tokenizer.decode(found, skip_special_tokens=True),
        "reference_text": tokenizer.decode(reference, skip_special_tokens=True),
        "compared_tokens": len(reference),
        "leaves_at": None if place is None else place + 1,
        "leaves_with": None if place is None else tokenizer.decode([found[place]]),
        "reference_token": None if place is None else tokenizer.decode([reference[place]]),
    }
