"""The bundled model, real weights: in fp32 every execution mode says the same."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from inferbench.engines.decoding import LoopDecoder, decode
from inferbench.experiments.batching import measure as batching
from inferbench.models.load import load_model
from inferbench.models.prompts import PromptBatch, make_batch, pad_left
from inferbench.settings.job import Dtype, ModelConfig, PrecisionConfig, Source
from tiny_models import CPU, benchmark_config, engine_with, growing, speculation, static

NEW = 12


@pytest.fixture(scope="session")
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def batch(folder, model):
    workload = benchmark_config().workload
    workload.prompt_tokens = 24
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    return make_batch(workload, 2, 0, tokenizer, model)


@pytest.mark.parametrize("mode", ["generate", "cuda_graph", "compiled"])
def test_every_mode_gives_the_loops_greedy_tokens(model, batch, mode):
    expected = decode(LoopDecoder(model), batch, NEW).tokens
    found = engine_with(mode, model, batch, NEW).run(batch, NEW).tokens
    for row in range(2):
        parted = (found[row] != expected[row]).nonzero().flatten().tolist()
        if parted:
            # They may part only where the two likeliest tokens are within rounding of each other.
            assert top_two_margin(model, batch, expected, row, parted[0]) < 1e-3


@pytest.mark.parametrize("kind", [growing, static])
@pytest.mark.parametrize("draft", ["nf4 copy", "prompt_lookup"])
def test_greedy_speculation_gives_the_loops_tokens(model, folder, batch, kind, draft):
    if draft == "nf4 copy":
        copy = benchmark_config(
            model=ModelConfig("smollm2-135m", Source.bundled, str(folder)),
            precision=PrecisionConfig("nf4", Dtype.float32, "bitsandbytes", {"quantisation": "nf4"}),
        )
        draft = load_model(copy, CPU)
    prompt = batch.input_ids[0]
    new = 48
    expected = decode(LoopDecoder(model), PromptBatch(prompt[None], None), new).tokens
    run = speculation(kind, model, draft).decode(prompt, new)
    found = torch.tensor([run.tokens])
    parted = (found != expected).nonzero()[:, 1].tolist()
    assert not parted or top_two_margin(model, PromptBatch(prompt[None], None), expected, 0, parted[0]) < 1e-3
    assert sum(run.accepted) > 0


def top_two_margin(model, batch, tokens, row, step):
    ids = torch.cat([batch.input_ids[row], tokens[row, :step]])[None]
    with torch.inference_mode():
        best = model(ids).logits[0, -1].topk(2).values
    return (best[0] - best[1]).item()


def test_a_padded_batch_gives_each_prompt_the_text_that_it_gets_alone(model, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = batching.unequal_prompts("config/prompts.yaml", 4, 0, tokenizer, model)
    assert len({len(prompt) for prompt in prompts}) > 1
    together = decode(LoopDecoder(model), pad_left(prompts, 0, CPU), NEW).tokens
    singles = [pad_left([prompt], 0, CPU) for prompt in prompts]
    alone = [decode(LoopDecoder(model), single, NEW).tokens[0] for single in singles]
    partings = [batching.parting(model, *texts) for texts in zip(singles, alone, together)]
    assert all(parting["parted_at"] is None or parting["parted_gap"] < 1e-3 for parting in partings)
