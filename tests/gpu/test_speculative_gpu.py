"""On a CUDA GPU: captured drafts and checks give what ordinary calls give."""

import pytest
import torch

from inferbench.engines.decoding import LoopDecoder, decode
from inferbench.models.prompts import PromptBatch
from inferbench.settings.strategy import Strategy
from tiny_models import growing, perturbed, speculation, static, tiny_llama

pytestmark = pytest.mark.gpu
GPU = torch.device("cuda", 0)
NEW = 48


@pytest.fixture
def prompt():
    return torch.tensor([5, 6, 7, 8, 9, 5, 6, 7], device=GPU)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_captured_greedy_speculation_equals_plain_greedy_in_fp32(attention, prompt):
    model = tiny_llama(attention, device=GPU)
    draft = perturbed(tiny_llama(attention, device=GPU), 0.005)
    expected = decode(LoopDecoder(model), PromptBatch(prompt[None], None), NEW).tokens[0].tolist()
    for proposing in (draft, "prompt_lookup", None):
        decoder = speculation(static, model, proposing)
        for run in (decoder.decode(prompt, NEW), decoder.decode(prompt, NEW)):
            assert run.tokens == expected
        assert decoder.check.graphs
    decoder = speculation(static, model, draft)
    run = decoder.decode(prompt, NEW)
    # Both shapes of a draft's pass: one token, and two after a proposal that was kept whole.
    assert len(decoder.draft.step.graphs) == 2
    assert 0 in run.accepted and 4 in run.accepted


def test_captured_flash_attention_speculates_as_the_growing_cache_does(prompt):
    pytest.importorskip("flash_attn")
    model = tiny_llama("flash_attention_2", torch.bfloat16, GPU, head_dim=64)
    fed = torch.tensor([20, 21, 22], device=GPU)
    found = []
    for kind in (growing, static):
        sequence = kind(model)
        sequence.prefill(prompt)
        sequence.extend(fed + 100, 8, keep=3)
        found.append(sequence.extend(fed, 9, keep=3).float())
    # rounding alone: a wrong mask or a trace of what was taken back differs by about the whole
    error = (found[0] - found[1]).square().mean().sqrt() / found[0].std()
    assert error < 0.12


def test_replays_draw_anew_and_a_seed_repeats_them(prompt):
    model = tiny_llama(device=GPU)
    draft = perturbed(tiny_llama(device=GPU), 0.005)
    strategy = Strategy(do_sample=True, temperature=1.5)
    decoder = speculation(static, model, draft, strategy=strategy)
    decoder.decode(prompt, NEW)

    def text(seed):
        decoder.generator.manual_seed(seed)
        return decoder.decode(prompt, NEW).tokens

    assert text(1) == text(1)
    assert text(1) != text(2)
    drawn = speculation(growing, model, None, strategy=strategy).decode(prompt, NEW).tokens
    assert len(set(drawn)) > 1 and len(set(text(1))) > 1


def test_a_draft_that_is_the_model_itself_is_always_kept_when_captured(prompt):
    model = tiny_llama(device=GPU)
    run = speculation(static, model, tiny_llama(device=GPU), strategy=Strategy(do_sample=True)).decode(
        prompt, 41
    )
    # The same pass over one token and over five rounds otherwise: now and then by that much.
    assert sum(run.accepted) >= 0.9 * sum(run.proposed)
