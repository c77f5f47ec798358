"""One cell in one process: load, check, time, energy, profile, in this order.

Nothing may be profiled before it is timed: what torch's profiler has loaded stays in the process, and from
then on a CUDA graph of 1,600 kernels takes 0.9 ms to launch instead of 0.01.
"""

from __future__ import annotations

import gc
from contextlib import nullcontext
from functools import partial
from statistics import median
from typing import Any

import torch
from transformers import PreTrainedModel

from inferbench.device.ceilings import measure_ceilings
from inferbench.device.device import gpus_of, wait
from inferbench.device.profiling import StepProfile, profile_call
from inferbench.engines.by_name import engine_module
from inferbench.engines.decoding import unread_step_s
from inferbench.engines.protocol import Engine, Stepper, Timeline
from inferbench.measure import checks
from inferbench.measure.energy import Meter, measure_energy
from inferbench.measure.setup import begin
from inferbench.measure.stages import Stages
from inferbench.measure.timing import came_to_rest, timed, warm_up
from inferbench.models import load, memory, weights
from inferbench.models.facts import ModelShape, load_shape
from inferbench.models.generation import neutralised
from inferbench.models.prompts import PromptBatch, make_batch
from inferbench.settings.job import AttentionConfig, BenchmarkConfig
from inferbench.settings.outcomes import CompiledAnew, known
from inferbench.settings.repository import in_repository

#: Runs whose tokens stay on the device, fewer where they take longer than a cell is timed.
UNREAD_RUNS = 3
#: Kernels of a profiled step that are worth a line in the record.
TOP_KERNELS = 12


def measure(config: BenchmarkConfig, device: torch.device, stages: Stages, record: dict[str, Any]) -> None:
    """Fill `record` with all that this process measures. Raises what the cell dies of."""
    second = "compile_cache" in record
    gpus = begin(config, device, stages, record)
    engine: Engine = engine_module(config.execution).Engine(config, device)
    new_tokens = config.workload.new_tokens

    shape = load_shape(config)
    record["shape"] = shape.numbers()
    engine.require(shape.model, config.workload.prompt_tokens, new_tokens)
    record["device_memory_bytes"] = memory.device_bytes(device)
    with known(record, "predicted_bytes"):
        record["predicted_bytes"] = memory.predict_bytes(config, shape, device)
        memory.require_hope(record["predicted_bytes"], record["device_memory_bytes"])

    with stages("ceilings"):
        record |= measure_ceilings(device)
    with stages("load"):
        engine.load()
        wait(device)
    with stages("check"):
        tokenizer = load.load_tokenizer(config.model)
        batch = engine.ask(partial(make_batch, config.workload, config.batch_size, config.seed, tokenizer))
        record["random_prompts"] = tokenizer is None
        record |= engine.ask(partial(describe, batch, config))
        count_cache(record, batch, config, shape)
    with stages("compile") if engine.captures else nullcontext():
        engine.prepare(batch, new_tokens)
    # What the process before this one found of the cache, if there was one, stands.
    record |= {**engine.compilation(), **record}
    # Kernels that are tuned here are not all those that later processes find on disk.
    if record.get("compile_cache") == "cold" and not second:
        raise CompiledAnew
    with stages("check"):
        checks.check_compiled(record)
        record |= check(engine, batch, config)
        if device.type == "cuda":
            # The reference of a check is not the cell's memory.
            torch.cuda.empty_cache()
            for gpu in gpus_of(device):
                torch.cuda.reset_peak_memory_stats(gpu)

    def run() -> Timeline:
        return engine.run(batch, new_tokens)

    # Collecting garbage inside a timed step is noise of this harness, not of the cell.
    gc.collect()
    gc.freeze()
    with stages("warmup"):
        steady = warm_up(run, config.measure)
    with stages("measure"):
        meter = Meter(gpus)
        timelines = timed(run, config.measure)
        spent = meter.spent(sum(timeline.tokens.numel() for timeline in timelines))
    record["iterations"] = [iteration(timeline) for timeline in timelines]
    if not came_to_rest([median(one["itl_ms"]) for one in record["iterations"]], steady):
        stages.guard.add("unstable")
    record["new_tokens"] = timelines[-1].tokens.shape[1]
    record |= sample(timelines[-1], tokenizer)
    with known(record, "kv_cache_bytes"):
        shape.require_past_in_cache()
        record["kv_cache_bytes"] = engine.cache_bytes()
    record |= memory.peaks(device)
    if device.type == "cuda":
        record["process_gpu_bytes"] = gpus.process_bytes() if gpus else None
        if engine.stepper:
            with stages("measure"), known(record, "tpot_unread_ms"):
                record |= time_unread(engine.stepper, batch, config)
    if gpus and config.measure.energy_seconds > 0:
        with stages("energy"), known(record, "joules_per_token"):
            record |= measure_energy(engine, batch, config, gpus, spent)
    with stages("profile"):
        if shape.attends:
            record |= check_attention(engine, batch, device, config.attention)
        if device.type == "cuda":
            record |= profile_step(engine, batch, device)


def describe(batch: PromptBatch, config: BenchmarkConfig, model: PreTrainedModel) -> dict[str, Any]:
    """What was really loaded. Raises CheckFailed where that is not what was asked for."""
    return {
        "parameters": weights.parameter_count(model),
        "weight_bytes": weights.weight_bytes(model),
        "decode_weight_bytes": weights.decode_weight_bytes(model, config.batch_size),
        "quantised_share": checks.check_quantisation(model, config),
        "effective_dtype": checks.check_dtype(model, config),
        "neutralised": neutralised(in_repository(config.model.path)),
        "prompt_tokens": batch.input_ids.shape[1],
        "prompt_tokens_mean": sum(batch.lengths) / len(batch.lengths),
    }


def count_cache(
    record: dict[str, Any], batch: PromptBatch, config: BenchmarkConfig, shape: ModelShape
) -> None:
    """Add to `record` the bytes of a token in the cache where the formula gives them, else what a step reads of the
    cache at its mean context; and why the shares of bandwidth and arithmetic are not known, where they are not."""
    size, width, new = config.batch_size, batch.input_ids.shape[1], config.workload.new_tokens
    with known(record, "decode_mbu"):
        per_token = memory.true_bytes_per_token(shape, size, width + new)
        record["kv_bytes_per_token"] = per_token
        if per_token is None:
            context = sum(batch.lengths) / size + new / 2
            record["cache_read_bytes"] = shape.cache(size, round(context)).kept
        else:
            record["kv_cache_formula_bytes"] = size * (width + new - 1) * per_token
    with known(record, "decode_mbu", "prefill_mfu"):
        shape.require_known_weights()
    with known(record, "prefill_mfu"):
        shape.require_plain_attention(size, width + new)


def check(engine: Engine, batch: PromptBatch, config: BenchmarkConfig) -> dict[str, Any]:
    """What must hold of an engine's tokens before timing. Raises CheckFailed."""
    if engine.stepper:
        checks.check_replay(engine.stepper, batch)
    if engine.captures or config.attention.implementation not in ("sdpa", "eager"):
        error = engine.ask(lambda model: checks.check_logits(model, engine.comparable(), batch, config))
        return {"check_max_error": error}
    return {}


def check_attention(
    engine: Engine, batch: PromptBatch, device: torch.device, attention: AttentionConfig
) -> dict[str, Any]:
    """The attention that ran. Raises CheckFailed where it is not the one asked for."""
    profiles = profile_attention(engine, batch, device, attention)
    ran = [checks.check_attention(profile, attention.implementation) for profile in profiles]
    return {"effective_attention": "prefill {}, decode {}".format(*ran)}


def profile_attention(
    engine: Engine, batch: PromptBatch, device: torch.device, attention: AttentionConfig
) -> tuple[StepProfile, StepProfile]:
    """Profiles of prefill and of a step, a captured one as ordinary calls, whose operators have names. Of an engine
    that gives only whole runs, of one token and of two."""
    stepper = engine.stepper
    if stepper is None:
        prefill = profile_call(lambda: engine.run(batch, 1), device, attention)
        return prefill, profile_call(lambda: engine.run(batch, 2), device, attention)
    with stepper.uncaptured():
        token = stepper.prefill(batch)
        prefill = profile_call(lambda: stepper.prefill(batch), device, attention)
        return prefill, profile_call(lambda: stepper.step(token), device, attention)


def iteration(timeline: Timeline) -> dict[str, Any]:
    """Time to first token and each later inter-token time, in milliseconds."""
    marks = timeline.marks
    gaps = [1000 * (later - earlier) for earlier, later in zip(marks, marks[1:])]
    return {"ttft_ms": gaps[0], "itl_ms": gaps[1:], "new_tokens": timeline.tokens.shape[1]}


def sample(timeline: Timeline, tokenizer) -> dict[str, Any]:
    """What the first sequence said: tokens, and text where there is a tokenizer."""
    tokens = timeline.tokens[0].tolist()
    return {"sample_tokens": tokens, "sample_text": tokenizer.decode(tokens) if tokenizer else None}


def time_unread(stepper: Stepper, batch: PromptBatch, config: BenchmarkConfig) -> dict[str, Any]:
    """The step time without reading tokens back."""
    tokens = config.workload.new_tokens
    token = stepper.prefill(batch)
    unread_s = [unread_step_s(stepper, token, tokens - 1)]
    while len(unread_s) < UNREAD_RUNS and sum(unread_s) * tokens < config.measure.max_seconds:
        unread_s.append(unread_step_s(stepper, token, tokens - 1))
    return {"tpot_unread_ms": 1000 * median(unread_s)}


def profile_step(engine: Engine, batch: PromptBatch, device: torch.device) -> dict[str, Any]:
    """Kernel times of one decode step. Of an engine that gives only whole runs, the difference of a longer and a
    shorter one is four steps."""
    stepper = engine.stepper
    if stepper is None:
        longer = profile_call(lambda: engine.run(batch, 6), device)
        return kernel_record(longer, profile_call(lambda: engine.run(batch, 2), device), steps=4)
    token = stepper.step(stepper.prefill(batch))
    return kernel_record(profile_call(lambda: stepper.step(token), device))


def kernel_record(profile: StepProfile, less: StepProfile | None = None, steps: int = 1) -> dict[str, Any]:
    """Kernel times per step; nothing when the profiler saw no kernel, which is not the same as no time."""
    if not profile.kernels:
        return {}

    def per_step(value: float, subtracted: float) -> float:
        return max(0.0, value - subtracted) / steps

    return {
        "step_busy_ms": per_step(profile.busy_ms, less.busy_ms if less else 0.0),
        "step_class_ms": {
            name: per_step(spent, less.class_ms[name] if less else 0.0)
            for name, spent in profile.class_ms.items()
        },
        "kernels": profile.kernels[:TOP_KERNELS],
    }
