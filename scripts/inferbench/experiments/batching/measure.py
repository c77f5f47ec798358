"""What a batch is worth: real prompts of unequal length one by one, and as one batch padded on the left."""

from __future__ import annotations

import random
from typing import Any

import torch
import yaml
from transformers import PreTrainedModel

from inferbench.engines.decoding import decode
from inferbench.engines.protocol import Timeline
from inferbench.measure.checks import CheckFailed
from inferbench.measure.fastest_decoder import fastest_decoder, host_bound
from inferbench.measure.setup import load_checked
from inferbench.measure.stages import Stages
from inferbench.models.prompts import PromptBatch, pad_left, random_rows, require_known, text_ids
from inferbench.precision.by_name import library
from inferbench.settings.experiment import ExperimentConfig
from inferbench.settings.job import Dtype, PrecisionConfig
from inferbench.settings.repository import in_repository

#: Least and most tokens of a random prompt: about those of the shipped ones.
RANDOM_LENGTHS = (5, 40)


def measure(config: ExperimentConfig, device: torch.device, stages: Stages, record: dict[str, Any]) -> None:
    """Fill `record`; a sample is one prompt of one round, one by one or in the batch. Raises CheckFailed."""
    settings = config.experiment
    new_tokens = settings.new_tokens
    model, tokenizer = load_checked(config, device, stages, record)
    prompts = unequal_prompts(settings.prompts, settings.batch_size, config.seed, tokenizer, model)
    singles = [pad_left([prompt], padding=0, device=device) for prompt in prompts]
    together = pad_left(prompts, padding=0, device=device)
    longest = max(singles, key=lambda single: single.input_ids.shape[1])
    with stages("check"):
        single_decoder = fastest_decoder(config, model, longest, new_tokens)
        batch_decoder = fastest_decoder(config, model, together, new_tokens)
    record["host_bound"] = host_bound(batch_decoder, device)
    with stages("warmup"):
        decode(single_decoder, longest, new_tokens)
        decode(batch_decoder, together, new_tokens)
    record["samples"] = []
    for number in range(1, settings.rounds + 1):
        with stages("measure"):
            alone = [decode(single_decoder, single, new_tokens) for single in singles]
            batched = decode(batch_decoder, together, new_tokens)
        runs = [(False, timeline, 0) for timeline in alone]
        runs += [(True, batched, row) for row in range(len(prompts))]
        record["samples"] += [
            {"round": number, "batched": way, "prompt": place, "prompt_tokens": len(prompt)}
            | sample(timeline, row, tokenizer)
            for (way, timeline, row), (place, prompt) in zip(runs, 2 * [*enumerate(prompts, start=1)])
        ]
    with stages("check"):
        record["partings"] = [
            parting(model, single, one.tokens[0], other)
            for single, one, other in zip(singles, alone, batched.tokens)
        ]
        require_equal_texts(record["partings"], config.precision)


def unequal_prompts(path: str, count: int, seed: int, tokenizer, model: PreTrainedModel) -> list[list[int]]:
    """Token ids of `count` distinct prompts of unequal length: the shipped ones, whole, shuffled by
    the seed. A smaller count gives the first of a larger one's.

    Where more are asked for than are shipped, the next round joins each with the one that follows. A
    model without a tokenizer (synthetic) gets random ids, of random length. Raises Fault as `require_known` does.
    """
    rng = random.Random(seed)
    if tokenizer is None:
        return random_rows([rng.randint(*RANDOM_LENGTHS) for _ in range(count)], rng, model)
    texts = yaml.safe_load(in_repository(path).read_text())
    rng.shuffle(texts)
    joined = [
        [texts[(place + more) % len(texts)] for more in range(1 + place // len(texts))]
        for place in range(count)
    ]
    rows = [text_ids("\n\n".join(parts), tokenizer) for parts in joined]
    require_known(rows, model)
    return rows


def sample(timeline: Timeline, row: int, tokenizer) -> dict[str, Any]:
    """Times of the run that a prompt was part of, and what the model said to it."""
    start, first, *_, last = timeline.seconds[row]
    tokens = timeline.tokens[row].tolist()
    return {
        "ttft_ms": 1000 * (first - start),
        "seconds": last - start,
        "tokens": tokens,
        "text": tokenizer.decode(tokens, skip_special_tokens=True) if tokenizer else None,
    }


@torch.inference_mode()
def parting(
    model: PreTrainedModel, prompt: PromptBatch, alone: torch.Tensor, batched: torch.Tensor
) -> dict[str, Any]:
    """Where two texts of one prompt, (N,) tokens each, part: the first token that differs, from 1, and how
    far the two likeliest tokens are apart there, as a share of the logits' standard deviation. Null for
    both where they are equal."""
    differing = (alone != batched).nonzero().flatten().tolist()
    if not differing:
        return {"parted_at": None, "parted_gap": None}
    ids = torch.cat([prompt.input_ids[0], alone[: differing[0]].to(prompt.input_ids.device)])
    logits = model(ids[None], logits_to_keep=1).logits[0, -1].float()
    best, second = logits.topk(2).values
    return {"parted_at": differing[0] + 1, "parted_gap": ((best - second) / logits.std()).item()}


def require_equal_texts(partings: list[dict[str, Any]], precision: PrecisionConfig) -> None:
    """Raise CheckFailed where a text in fp32 differs in the batch, but for a tie within rounding."""
    weights = library(precision)
    if precision.dtype is not Dtype.float32 or weights.packed_types(precision):
        return
    tolerance = weights.logit_tolerance(precision).share
    for place, found in enumerate(partings, start=1):
        if found["parted_at"] is not None and found["parted_gap"] > tolerance:
            raise CheckFailed(
                f"prompt {place} has another text in the batch than alone from token {found['parted_at']} on, where"
                f" the two likeliest tokens are {found['parted_gap']:.2g} standard deviations of the logits apart"
                f" (tolerance {tolerance})"
            )
