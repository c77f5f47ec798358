"""Speculation changes the speed and nothing else; each fault of a hand-written version is caught."""

import numpy as np
import pytest
import torch
from scipy.stats import binom, chisquare

from inferbench.engines import speculative
from inferbench.engines.sampling import draw
from inferbench.engines.sequences import GrowingSequence
from inferbench.engines.speculative import (
    ModelDraft,
    PromptLookup,
    SpeculativeDecoder,
    fit,
    require_same_tokenizer,
)
from inferbench.settings.outcomes import Unsupported
from inferbench.settings.strategy import Strategy
from tiny_models import CPU, growing, perturbed, speculation, static, tiny_llama, word_tokenizer

GREEDY = Strategy(do_sample=False)
STRATEGY = Strategy(temperature=0.7, top_k=5)
VOCABULARY = 6
LENGTH = 2


@pytest.fixture(autouse=True)
def one_thread():
    """Six numbers shared between two threads wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# Tables stand in for models: what follows depends on the place in a block of three tokens and, inside
# the block, on the token before. So a long run is many independent blocks, and with proposals of two
# tokens blocks begin at every place of a round.


class TableSequence:
    """logits: (3, V, V), of the token at each place of a block, given the one before."""

    vocabulary = VOCABULARY
    device = CPU

    def __init__(self, logits):
        self.logits = logits

    def prefill(self, prompt):
        self.tokens = []
        return self.extend(prompt, 0, keep=1)

    def extend(self, tokens, start, keep):
        assert start <= len(self.tokens)
        self.tokens[start:] = tokens.tolist()
        places = torch.arange(len(self.tokens) - keep, len(self.tokens))
        return self.logits[(places + 1) % 3, self.tokens[-keep:]]

    def prepare(self, function, generator):
        return function


#: Under STRATEGY 7.4, 4.2, 2.7, 1.8, 1.3 and 0 parts of 17.4: a block's chance is at least 0.0765^3, so
#: that 20 000 blocks have 9 of the rarest.
LADDER = torch.tensor([1.4, 1.0, 0.7, 0.4, 0.2, -1.0])


def tables(shift):
    """The ladder turned by place and by the token before; the first token of a block heeds no other."""
    rows = [
        LADDER.roll(shift + place + turn * token)
        for place, turn in enumerate((0, 1, 5))
        for token in range(VOCABULARY)
    ]
    return torch.stack(rows).reshape(3, VOCABULARY, VOCABULARY)


MAIN, DRAFT = tables(0), tables(3)


def by_hand(logits, strategy=STRATEGY):
    """The distribution of the strategy in plain numpy."""
    weights = np.exp(logits.double().numpy() / strategy.temperature)
    least = np.sort(weights, axis=-1)[..., -strategy.top_k, None]
    weights = np.where(weights < least, 0, weights)
    return weights / weights.sum(-1, keepdims=True)


def speculate(main, draft, new_tokens, strategy=STRATEGY, seed=0):
    draws = generator(seed)
    proposing = ModelDraft(TableSequence(draft), LENGTH, VOCABULARY, strategy, draws)
    decoder = SpeculativeDecoder(TableSequence(main), proposing, strategy, draws)
    return decoder.decode(torch.tensor([0, 1, 2]), new_tokens)


def p_value_of_blocks(tokens):
    """Chi-squared of the blocks against the joint distribution of the main model."""
    first, second, third = by_hand(MAIN)
    joint = first[0][:, None, None] * second[:, :, None] * third[None]
    counts = np.zeros_like(joint)
    np.add.at(counts, tuple(np.reshape(tokens, (-1, 3)).T), 1)
    if counts[joint == 0].any():
        return 0.0
    return chisquare(counts[joint > 0], counts.sum() * joint[joint > 0]).pvalue


def test_three_tokens_across_drafts_have_the_main_models_joint_distribution():
    distances = np.abs(by_hand(MAIN) - by_hand(DRAFT)).sum(-1) / 2
    assert distances.min() >= 0.3
    run = speculate(MAIN, DRAFT, 3 * 20_000)
    # Rounds of one, two and three tokens, so blocks are cut at each of their places.
    assert set(run.accepted) == {0, 1, 2}
    assert p_value_of_blocks(run.tokens) > 0.01


def test_a_lookup_too_leaves_the_main_models_distribution():
    draws = generator(3)
    decoder = SpeculativeDecoder(TableSequence(MAIN), PromptLookup(LENGTH, VOCABULARY, CPU), STRATEGY, draws)
    run = decoder.decode(torch.tensor([0, 1, 2]), 3 * 4_000)
    assert set(run.accepted) == {0, 1, 2}
    assert p_value_of_blocks(run.tokens) > 0.01


# The same p and the same q for every token: acceptance is one number.
P = torch.tensor([0.40, 0.25, 0.15, 0.10, 0.06, 0.04])
Q = torch.tensor([0.05, 0.10, 0.15, 0.20, 0.20, 0.30])
#: 0.05 + 0.10 + 0.15 + 0.10 + 0.06 + 0.04
SUM_OF_MINIMA = 0.50
#: 0.02 + 0.025 + 0.0225 + 0.02 + 0.012 + 0.012
SUM_OF_PRODUCTS = 0.1115
PLAIN = Strategy()


def alike(distribution):
    return distribution.log().expand(3, VOCABULARY, VOCABULARY)


def acceptance_interval(run, chance):
    """Whether `chance` explains the kept share of the examined tokens, at 99%."""
    low, high = binom.interval(0.99, run.examined, chance)
    return low <= sum(run.accepted) <= high


def test_acceptance_is_the_sum_of_minima():
    run = speculate(alike(P), alike(Q), 20_000, PLAIN)
    assert acceptance_interval(run, SUM_OF_MINIMA)
    # 1 + 0.5 + 0.25 tokens per pass of the main model
    assert len(run.tokens) / run.main_passes == pytest.approx(1.75, rel=0.02)


def equality_rule(main, draft, proposed, generator):
    """Keeps a proposed token if the main model's own draw is the same."""
    own = draw(main, generator)[:, 0]
    accepted = (own[:-1] == proposed).long().cumprod(0).sum(0, keepdim=True)
    return accepted, own[accepted]


def test_keeping_what_two_draws_agree_on_accepts_the_sum_of_products(monkeypatch):
    monkeypatch.setattr(speculative, "verify", equality_rule)
    run = speculate(alike(P), alike(Q), 20_000, PLAIN)
    assert not acceptance_interval(run, SUM_OF_MINIMA)
    assert acceptance_interval(run, SUM_OF_PRODUCTS)


def test_temperature_on_the_draft_alone_is_caught():
    run = speculate(MAIN * STRATEGY.temperature, DRAFT, 3 * 4_000)
    assert p_value_of_blocks(run.tokens) < 1e-6


def test_checking_the_first_token_alone_is_caught(monkeypatch):
    def first_only(main, draft, proposed, generator, right=speculative.verify):
        kept, token = right(main[:2], draft[:1], proposed[:1], generator)
        return (kept, token) if kept == 0 else (kept * len(proposed), draw(main[-1:], generator)[0])

    monkeypatch.setattr(speculative, "verify", first_only)
    assert p_value_of_blocks(speculate(MAIN, DRAFT, 3 * 4_000).tokens) < 1e-6


def test_logits_read_a_chunk_late_are_caught(monkeypatch):
    def late(main, draft, proposed, generator, right=speculative.verify):
        return right(main[-1:].expand_as(main), draft, proposed, generator)

    monkeypatch.setattr(speculative, "verify", late)
    assert p_value_of_blocks(speculate(MAIN, DRAFT, 3 * 4_000).tokens) < 1e-6
    # and a draft that is the main model itself is no longer always kept
    assert not kept_whole(speculate(MAIN, MAIN, 300))


def kept_whole(run):
    """A draft equal to the main model is always kept: k + 1 tokens per pass."""
    return run.accepted == run.proposed and run.main_passes == -(-299 // (LENGTH + 1))


def test_a_draft_equal_to_the_main_model_is_always_kept():
    assert kept_whole(speculate(MAIN, MAIN, 300))


def test_the_missing_extra_token_is_caught(monkeypatch):
    def no_extra_token(main, draft, proposed, generator, right=speculative.verify):
        kept, token = right(main, draft, proposed, generator)
        return (kept, token) if kept < len(proposed) else (kept - 1, proposed[-1:])

    monkeypatch.setattr(speculative, "verify", no_extra_token)
    assert not kept_whole(speculate(MAIN, MAIN, 300))


# Real models


def naive_tokens(model, prompt, new_tokens):
    """The definition: the whole sequence through the model for every token, no cache."""
    ids = prompt[None]
    for _ in range(new_tokens):
        with torch.inference_mode():
            ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    return ids[0, len(prompt) :].tolist()


PROMPT = torch.tensor([5, 6, 7, 8, 9, 5, 6, 7])
NEW = 40


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", [growing, static])
def test_greedy_equals_plain_greedy_token_for_token(kind, attention):
    model, draft = tiny_llama(attention), perturbed(tiny_llama(attention), 0.005)
    expected = naive_tokens(model, PROMPT, NEW)
    for proposing in (draft, "prompt_lookup", None):
        decoder = speculation(kind, model, proposing)
        # twice: a second run does not see the first
        for run in (decoder.decode(PROMPT, NEW), decoder.decode(PROMPT, NEW)):
            assert run.tokens == expected
    run = speculation(kind, model, draft).decode(PROMPT, NEW)
    assert 0 < sum(run.accepted) < sum(run.proposed)
    assert 0 in run.accepted and 4 in run.accepted  # taken back wholly, and kept wholly


@pytest.mark.parametrize("length", [1, 2, 7])
def test_any_draft_length_gives_the_same_tokens(length):
    model, draft = tiny_llama(), perturbed(tiny_llama(), 0.005)
    run = speculation(growing, model, draft, length).decode(PROMPT, NEW)
    assert run.tokens == naive_tokens(model, PROMPT, NEW)
    assert run.draft_passes == length * run.main_passes


def test_sampling_over_a_static_cache_draws_what_a_growing_one_draws():
    model, draft = tiny_llama(), perturbed(tiny_llama(), 0.005)
    strategy = Strategy(temperature=1.3, top_p=0.95)
    runs = [speculation(kind, model, draft, 3, strategy).decode(PROMPT, NEW) for kind in (growing, static)]
    assert runs[0].tokens == runs[1].tokens
    assert runs[0].accepted == runs[1].accepted
    assert runs[0].tokens != naive_tokens(model, PROMPT, NEW)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", [growing, static])
def test_tokens_taken_back_leave_no_trace(kind, attention):
    model = tiny_llama(attention)
    sequence = kind(model)
    sequence.prefill(PROMPT)
    sequence.extend(torch.tensor([100, 101, 102, 103]), 8, keep=1)
    found = sequence.extend(torch.tensor([20, 21, 22]), 9, keep=3)
    with torch.inference_mode():
        whole = model(torch.tensor([[*PROMPT.tolist(), 100, 20, 21, 22]])).logits[0]
    torch.testing.assert_close(found, whole[-3:], rtol=1e-4, atol=1e-4)


def tokens_per_pass(model, decode):
    """How many tokens each forward pass of `model` was fed while `decode` ran."""
    fed = []
    hook = model.register_forward_pre_hook(
        lambda module, given, named: fed.append(named["input_ids"].shape[1]), with_kwargs=True
    )
    decode()
    hook.remove()
    return fed


class NoCache(GrowingSequence):
    """Feeds the whole sequence in every pass."""

    def prefill(self, prompt):
        self.tokens = torch.empty(0, dtype=torch.long)
        return super().prefill(prompt)

    def extend(self, tokens, start, keep):
        self.tokens = torch.cat([self.tokens[:start], tokens])
        return super().extend(self.tokens, 0, keep)


@pytest.mark.parametrize("kind, is_right", [(growing, True), (NoCache, False)])
def test_each_token_passes_once_and_a_missing_cache_is_caught(kind, is_right):
    model, draft = tiny_llama(), perturbed(tiny_llama(), 0.005)
    decoder = speculation(kind, model, draft)
    fed = tokens_per_pass(model, lambda: decoder.decode(PROMPT, NEW))
    # the prompt, then the last token and four proposed ones
    assert (set(fed[1:]) == {5}) is is_right
    fed = tokens_per_pass(draft, lambda: decoder.decode(PROMPT, NEW))
    # one token a pass, two after a proposal that was kept whole
    assert (set(fed[1:]) == {1, 2}) is is_right


def test_a_run_counts_passes_and_times_tokens():
    model = tiny_llama()
    run = speculation(growing, model, tiny_llama(), 4).decode(PROMPT, 11)
    # The first token comes with the prompt; a draft that is the model itself gives 5 more with each pass.
    assert (run.main_passes, run.draft_passes) == (2, 8)
    assert (run.accepted, run.proposed, run.examined) == ([4, 4], [4, 4], 8)
    assert len(run.tokens) == 11
    assert len(run.seconds) == 4
    assert run.seconds == sorted(run.seconds)


def test_lookup_by_hand():
    def find(sequence, length=3):
        lookup = PromptLookup(length, 10, CPU)
        lookup.prefill(torch.tensor(sequence))
        return lookup.find(sequence)

    assert find([1, 2, 3, 4, 5, 1, 2]) == [3, 4, 5]
    # the longer match wins over the later one
    assert find([1, 2, 3, 9, 3, 8, 2, 3], 1) == [9]
    # of equal ones the latest
    assert find([1, 5, 1, 6, 1], 1) == [6]
    # a copy that reads itself
    assert find([7, 8, 8], 3) == [8, 8, 8]
    assert find([1, 2, 3, 4]) == []


def test_lookup_sees_what_was_decoded_since():
    lookup = PromptLookup(2, 10, CPU)
    lookup.prefill(torch.tensor([1, 2]))
    assert lookup.find([1, 2]) == []
    assert lookup.find([1, 2, 3, 4, 1, 2]) == [3, 4]
    lookup.prefill(torch.tensor([1, 2]))
    assert lookup.find([5, 1, 2]) == []


def test_a_draft_of_another_width_fits():
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    assert fit(logits, 2).tolist() == [[1.0, 2.0]]
    assert fit(logits, 4).tolist() == [[1.0, 2.0, 3.0, -torch.inf]]


def test_another_tokenizer_is_one_clear_sentence():
    main = word_tokenizer("a", "b", "c")
    require_same_tokenizer(main, word_tokenizer("a", "b", "c"), "big", "small")
    require_same_tokenizer(None, None, "synthetic", "synthetic")
    with pytest.raises(
        Unsupported,
        match="small cannot be the draft of big.*differ in 1 tokens .token 1 is 'b' for big, 'x' for small.*lookup",
    ):
        require_same_tokenizer(main, word_tokenizer("a", "x", "c"), "big", "small")
    with pytest.raises(Unsupported, match="token 0 is 'a' for big, None for small"):
        require_same_tokenizer(main, None, "big", "small")
