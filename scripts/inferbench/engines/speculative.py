"""Speculative decoding: a draft proposes tokens, one pass of the main model checks them all.

Leviathan, Kalman and Matias, "Fast inference from transformers via speculative decoding", ICML 2023
(2211.17192), and Chen et al., "Accelerating large language model decoding with speculative sampling"
(2302.01318): proposed tokens are kept with probability min(1, p/q); the first that is not is drawn anew
from max(0, p - q), normalised; when all are kept, the same pass gives one token more. So the output has
exactly the main model's distribution, p, whatever the draft.

Shapes: k proposed tokens, V vocabulary. Batch 1. An end-of-sequence token is a token.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch.nn import functional

from inferbench.engines.sampling import draw, probabilities
from inferbench.engines.sequences import Sequence
from inferbench.settings.outcomes import Unsupported
from inferbench.settings.strategy import Strategy


def verify(
    main: torch.Tensor, draft: torch.Tensor, proposed: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """How many of the proposed tokens are kept, (1,), and the token that follows them, (1,).

    main: (k + 1, V), what the main model draws from at each proposed token and after the last; draft:
    (k, V), what they were drawn from; proposed: (k,). Algorithm 1 of 2211.17192. Reads nothing on the host.
    """
    count = len(proposed)
    p, q = (side[:count].gather(1, proposed[:, None])[:, 0] for side in (main, draft))
    kept = torch.rand(count, generator=generator, device=main.device) * q < p
    accepted = kept.long().cumprod(0).sum(0, keepdim=True)
    # Past the last proposal nothing was proposed, so nothing is taken off: the extra token's row.
    remainder = (main - functional.pad(draft, (0, 0, 0, 1))).clamp(min=0)[accepted]
    # Where p and q agree to the last bit but one, rounding can leave nothing of a rejected row.
    nothing_left = remainder.sum(-1, keepdim=True) == 0
    token = draw(torch.where(nothing_left, main[accepted], remainder), generator)
    return accepted, token[:, 0]


class Draft(Protocol):
    """What proposes tokens, `length` of them or none."""

    length: int

    def prefill(self, prompt: torch.Tensor) -> None:
        """Start anew from `prompt` (P,)."""

    def propose(self, sequence: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens to follow `sequence`, (k,), and the distribution that each was drawn from, (k, V)."""

    def warm_up(self, prompt: torch.Tensor) -> None:
        """Run once, after a prefill with `prompt` (P,), every shape of a pass that proposing may need."""

    @property
    def passes(self) -> int:
        """Forward passes of a model since the prefill."""


class ModelDraft:
    """A smaller or more coarsely quantised model that shares the main model's tokenizer."""

    def __init__(
        self,
        sequence: Sequence,
        length: int,
        vocabulary: int,
        strategy: Strategy,
        generator: torch.Generator,
    ):
        """length: tokens per proposal; vocabulary: width of the main model's logits."""
        self.sequence = sequence
        self.length = length
        self.vocabulary = vocabulary
        self.strategy = strategy
        self.generator = generator
        self.step = sequence.prepare(self._step, generator)

    def prefill(self, prompt: torch.Tensor) -> None:
        self.sequence.prefill(prompt)
        self.cached = len(prompt)
        self.passes = 0

    def propose(self, sequence: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        # What was proposed and rejected is taken back; of a proposal that was kept whole, the last token
        # was never fed.
        start = min(self.cached, len(sequence) - 1)
        fed = torch.tensor(sequence[start:], device=self.sequence.device)
        tokens, distributions = [], []
        for _ in range(self.length):
            token, distribution = self.step(fed, start)
            start += len(fed)
            # Copies, because a replayed step overwrites what it returned.
            fed = token.clone()
            tokens.append(fed)
            distributions.append(distribution.clone())
        self.cached = start
        self.passes += self.length
        return torch.cat(tokens), torch.cat(distributions)

    def warm_up(self, prompt: torch.Tensor) -> None:
        for tokens in (1, 2):
            self.step(prompt[-1:].repeat(tokens), len(prompt) - 1)

    def _step(self, tokens: torch.Tensor, start: int | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = fit(self.sequence.extend(tokens, start, keep=1), self.vocabulary)
        distribution = probabilities(logits, self.strategy)
        return draw(distribution, self.generator)[0], distribution


def fit(logits: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """(k, any) -> (k, vocabulary): models of one family pad the same tokenizer to different widths."""
    return functional.pad(logits, (0, vocabulary - logits.shape[1]), value=-torch.inf)


class PromptLookup:
    """Proposes what followed the last tokens where they stood before, and is sure of it: q is 1.

    Saxena, "Prompt lookup decoding", 2023. The longest n-gram of the last `max_ngram` tokens and down
    that has been there, its latest place; past the end of the sequence the copy reads itself.
    """

    passes = 0

    def __init__(self, length: int, vocabulary: int, device: torch.device, max_ngram: int = 3):
        self.length = length
        self.vocabulary = vocabulary
        self.device = device
        self.sizes = range(max_ngram, 0, -1)

    def prefill(self, prompt: torch.Tensor) -> None:
        #: n-gram -> index of the token that followed it last
        self.followed: dict[tuple[int, ...], int] = {}
        self.indexed = 0

    def propose(self, sequence: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = torch.tensor(self.find(sequence), dtype=torch.long, device=self.device)
        return tokens, functional.one_hot(tokens, self.vocabulary).float()

    def warm_up(self, prompt: torch.Tensor) -> None:
        """There is no pass."""

    def find(self, sequence: list[int]) -> list[int]:
        """`length` tokens, or none."""
        for end in range(self.indexed + 1, len(sequence)):
            for size in self.sizes:
                if size <= end:
                    self.followed[tuple(sequence[end - size : end])] = end
        self.indexed = len(sequence) - 1
        for size in self.sizes:
            found = self.followed.get(tuple(sequence[-size:]))
            if found is not None:
                period = len(sequence) - found
                return [sequence[found + offset % period] for offset in range(self.length)]
        return []


class NoDraft:
    """Proposes nothing: each pass of the main model gives one token, which is plain decoding."""

    length = 0
    passes = 0

    def __init__(self, vocabulary: int, device: torch.device):
        self.nothing = (
            torch.zeros(0, dtype=torch.long, device=device),
            torch.zeros(0, vocabulary, device=device),
        )

    def prefill(self, prompt: torch.Tensor) -> None:
        pass

    def warm_up(self, prompt: torch.Tensor) -> None:
        """There is no pass."""

    def propose(self, sequence: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return self.nothing


@dataclass
class Speculation:
    """What one run gave. The passes that prefill are not counted.

    tokens: the new tokens, exactly as many as asked for. proposed, accepted: per pass of the main model,
    the last one too, of whose tokens some may be more than were asked for. seconds: host times: start,
    first token, and each moment at which the tokens of a pass were on the host.
    """

    tokens: list[int]
    seconds: list[float]
    proposed: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    draft_passes: int = 0

    @property
    def main_passes(self) -> int:
        return len(self.accepted)

    @property
    def examined(self) -> int:
        """Proposed tokens that the rule decided on: those after a rejected one are dropped unseen."""
        return sum(min(kept + 1, given) for kept, given in zip(self.accepted, self.proposed))


class SpeculativeDecoder:
    """A main model, a draft, and the strategy by which both choose."""

    def __init__(self, main: Sequence, draft: Draft, strategy: Strategy, generator: torch.Generator):
        self.main = main
        self.draft = draft
        self.strategy = strategy
        self.generator = generator
        self.check = main.prepare(self._check, generator)

    @torch.inference_mode()
    def decode(self, prompt: torch.Tensor, new_tokens: int) -> Speculation:
        """`new_tokens` tokens after `prompt` (P,)."""
        clock = time.perf_counter
        started = clock()
        self.draft.prefill(prompt)
        first = draw(probabilities(self.main.prefill(prompt), self.strategy), self.generator)
        sequence = prompt.tolist() + first[0].tolist()
        run = Speculation([], [started, clock()])
        end = len(prompt) + new_tokens
        while len(sequence) < end:
            # First, because a copy from the host waits for what is queued on the device.
            last = torch.tensor(sequence[-1:], device=self.main.device)
            proposed, distributions = self.draft.propose(sequence)
            (outcome,) = self.check(torch.cat([last, proposed]), len(sequence) - 1, distributions)
            # The one read of a round: how many were kept, what follows them, what was proposed.
            accepted, token, *tokens = outcome.tolist()
            sequence += [*tokens[:accepted], token]
            run.seconds.append(clock())
            run.proposed.append(len(tokens))
            run.accepted.append(accepted)
        run.tokens = sequence[len(prompt) : end]
        run.draft_passes = self.draft.passes
        return run

    def _check(
        self, fed: torch.Tensor, start: int | torch.Tensor, distributions: torch.Tensor
    ) -> tuple[torch.Tensor]:
        logits = self.main.extend(fed, start, keep=len(fed))
        accepted, token = verify(probabilities(logits, self.strategy), distributions, fed[1:], self.generator)
        return (torch.cat([accepted, token, fed[1:]]),)


def require_same_tokenizer(main, draft, main_name: str, draft_name: str) -> None:
    """Raises Unsupported unless both tokenizers give the same token to every id.

    main, draft: tokenizers of transformers, or None for a model without one.
    """
    mains, drafts = (
        {} if tokenizer is None else {number: token for token, number in tokenizer.get_vocab().items()}
        for tokenizer in (main, draft)
    )
    differing = [n for n in sorted(mains.keys() | drafts.keys()) if mains.get(n) != drafts.get(n)]
    if differing:
        first = differing[0]
        raise Unsupported(
            f"{draft_name} cannot be the draft of {main_name}: their tokenizers differ in {len(differing)} tokens"
            f" (token {first} is {mains.get(first)!r} for {main_name}, {drafts.get(first)!r} for {draft_name});"
            " take a draft of the same model family, or prompt lookup"
        )
