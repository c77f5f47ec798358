"""What speculative decoding is worth: acceptance, tokens per pass and speed, against plain decoding of the
same model in the same process, and the costs of passes from which the speed can be expected."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from inferbench.engines.sequences import GrowingSequence, Sequence, StaticSequence
from inferbench.engines.speculative import (
    Draft,
    ModelDraft,
    NoDraft,
    PromptLookup,
    Speculation,
    SpeculativeDecoder,
    require_same_tokenizer,
)
from inferbench.experiments.speculative.settings import DraftMethod
from inferbench.measure import checks
from inferbench.measure.fastest_decoder import can_capture
from inferbench.measure.reasons import unsupported_reason
from inferbench.measure.setup import load_checked
from inferbench.measure.stages import Stages
from inferbench.models import load, weights
from inferbench.models.facts import load_config
from inferbench.models.prompts import make_batch
from inferbench.settings.experiment import ExperimentConfig
from inferbench.settings.job import Dtype, Lengths, WorkloadConfig
from inferbench.settings.outcomes import Unsupported

#: Times that each kind of pass is timed alone.
COST_ROUNDS = 8
#: In fp32 two texts may part only where the two likeliest tokens' logits are nearer than this.
NEAR_TIE = 1e-3


def measure(config: ExperimentConfig, device: torch.device, stages: Stages, record: dict[str, Any]) -> None:
    """Fill `record`; a sample is one prompt decoded in one mode, `plain` or `speculative`."""
    settings = config.experiment
    drafting = drafting_config(config)
    with stages("check"):
        captured = require_supported(config, drafting, device)
    record["host_bound"] = device.type == "cuda" and not captured
    model, tokenizer = load_checked(config, device, stages, record)
    draft_model = None
    if drafting is not None:
        with stages("load"):
            draft_model = load.load_model(drafting, device)
        checks.check_quantisation(draft_model, drafting)
        checks.check_dtype(draft_model, drafting)
        record["draft_weight_bytes"] = weights.weight_bytes(draft_model)

    slots = settings.prompt_tokens + settings.new_tokens + settings.draft_tokens
    generator = torch.Generator(device)
    main = make_sequence(model, slots, captured)
    if draft_model is None:
        draft: Draft = PromptLookup(settings.draft_tokens, main.vocabulary, device)
    else:
        proposing = make_sequence(draft_model, slots, captured)
        draft = ModelDraft(proposing, settings.draft_tokens, main.vocabulary, settings.strategy, generator)
    decoders = {
        "plain": SpeculativeDecoder(main, NoDraft(main.vocabulary, device), settings.strategy, generator),
        "speculative": SpeculativeDecoder(main, draft, settings.strategy, generator),
    }

    workload = WorkloadConfig("", settings.prompt_tokens, 2, Lengths.equal, settings.prompts)
    prompts = make_batch(workload, settings.prompt_count, config.seed, tokenizer, model).input_ids
    with stages("warmup"):
        for decoder in decoders.values():
            warm_up(decoder, prompts[0], settings.new_tokens)
    record["samples"] = []
    with stages("measure"):
        for number, prompt in enumerate(prompts):
            # The order turns with each prompt, so that drift favours no mode.
            for mode in list(decoders)[:: 1 if number % 2 == 0 else -1]:
                # Each process draws for itself; both modes of a prompt begin with the same seed.
                generator.manual_seed(config.seed + 1000 * config.replicate + number)
                run = decoders[mode].decode(prompt, settings.new_tokens)
                record["samples"].append({"prompt": number, "mode": mode, **sample(run, tokenizer)})
    with stages("check"):
        if not settings.strategy.do_sample and config.precision.dtype is Dtype.float32:
            require_equal_texts(main, prompts, record["samples"])
    with stages("costs"):
        record |= pass_costs(decoders["plain"], decoders["speculative"], prompts[-1].tolist(), run)


def drafting_config(config: ExperimentConfig) -> ExperimentConfig | None:
    """How the draft's model is loaded: the main one's configuration but for what the draft says; None if
    it has no model."""
    draft = config.experiment.draft
    if draft.method is DraftMethod.prompt_lookup:
        return None
    return replace(config, model=draft.model or config.model, precision=draft.precision or config.precision)


def require_supported(
    config: ExperimentConfig, drafting: ExperimentConfig | None, device: torch.device
) -> bool:
    """Whether every model's passes can be captured here. Raises Unsupported before any weights load."""
    models = [config] if drafting is None else [config, drafting]
    for one in models:
        if reason := unsupported_reason(one, device):
            raise Unsupported(reason)
    if drafting is not None:
        if drafting.model.name != config.model.name:
            tokenizers = [load.load_tokenizer(one.model) for one in models]
            require_same_tokenizer(*tokenizers, config.model.name, drafting.model.name)
        load_config(drafting)
    return all(can_capture(one, device) for one in models)


def make_sequence(model: PreTrainedModel, slots: int, captured: bool) -> Sequence:
    """The model with an empty cache. Raises Unsupported if nothing can be taken back from that."""
    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=model.config).layers):
        raise Unsupported(
            "a sliding window forgets what a rejected token pushed out, and a recurrent state what it was before it, so it"
            " cannot be undone"
        )
    return StaticSequence(model, slots) if captured else GrowingSequence(model)


def warm_up(decoder: SpeculativeDecoder, prompt: torch.Tensor, new_tokens: int) -> None:
    """One whole run, and every shape of a pass that it may not have met: the first of each may be captured."""
    decoder.decode(prompt, new_tokens)
    start, last = len(prompt) - 1, prompt[-1:]
    for proposed in (0, decoder.draft.length):
        nothing = torch.zeros(proposed, decoder.main.vocabulary, device=prompt.device)
        decoder.check(last.repeat(1 + proposed), start, nothing)
    if isinstance(decoder.draft, ModelDraft):
        for tokens in (1, 2):
            decoder.draft.step(last.repeat(tokens), start)


def sample(run: Speculation, tokenizer) -> dict[str, Any]:
    """One run: times in milliseconds, and per pass of the main model what was proposed and accepted."""
    start, first, *_, end = run.seconds
    return {
        "ttft_ms": 1000 * (first - start),
        # The first token comes with the prompt.
        "decode_ms": 1000 * (end - first),
        "decoded_tokens": len(run.tokens) - 1,
        "draft_passes": run.draft_passes,
        "proposed": run.proposed,
        "accepted": run.accepted,
        "tokens": run.tokens,
        "text": tokenizer.decode(run.tokens) if tokenizer else None,
    }


def require_equal_texts(main: Sequence, prompts: torch.Tensor, samples: list[dict[str, Any]]) -> None:
    """Greedy speculation in fp32 says what plain decoding says, near ties apart. Raises CheckFailed."""
    texts = {(one["prompt"], one["mode"]): one["tokens"] for one in samples}
    for number, prompt in enumerate(prompts):
        plain, speculative = texts[number, "plain"], texts[number, "speculative"]
        parted = next(
            (place for place, pair in enumerate(zip(plain, speculative)) if len(set(pair)) > 1), None
        )
        if parted is None:
            continue
        same = torch.tensor(plain[:parted], dtype=torch.long, device=prompt.device)
        best, second = main.prefill(torch.cat([prompt, same]))[0].topk(2).values.tolist()
        if best - second > NEAR_TIE:
            raise checks.CheckFailed(
                f"prompt {number}: greedy speculation leaves plain decoding at token {parted}, where the two likeliest"
                f" tokens are {best - second:.2g} apart"
            )


def pass_costs(
    plain: SpeculativeDecoder, speculative: SpeculativeDecoder, prompt: list[int], run: Speculation
) -> dict[str, float]:
    """Milliseconds of a plain step, of a check and of a proposal, each alone, at the middle of the text."""
    sequence = prompt + run.tokens[: len(run.tokens) // 2]
    # Leaves both caches filled past that place.
    speculative.draft.prefill(torch.tensor(sequence, device=speculative.main.device))
    speculative.main.prefill(torch.tensor(sequence, device=speculative.main.device))
    start = len(sequence) - 1
    last = torch.tensor(sequence[-1:], device=speculative.main.device)
    length = speculative.draft.length
    nothing = torch.zeros(length, speculative.main.vocabulary, device=last.device)
    passes = {
        "main_step_ms": lambda: plain.check(last, start, nothing[:0])[0],
        "check_ms": lambda: speculative.check(last.repeat(1 + length), start, nothing)[0],
        "proposal_ms": lambda: speculative.draft.propose(sequence)[0],
    }
    spent: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(COST_ROUNDS):
        for name, call in passes.items():
            started = time.perf_counter()
            call().tolist()
            spent[name].append(1000 * (time.perf_counter() - started))
    return {name: median(values) for name, values in spent.items()}
