"""On a CUDA GPU: texts drawn beside a captured step are those of ordinary calls."""

import pytest
import torch

from inferbench.engines.captured_decoder import CapturedDecoder
from inferbench.engines.decoding import LoopDecoder, decode
from inferbench.experiments.sampling.measure import SamplingDecoder, row_shares
from inferbench.settings.strategy import Strategy
from tiny_models import tiny_llama, unequal_batch

pytestmark = pytest.mark.gpu
GPU = torch.device("cuda", 0)
NEW = 12


def test_a_captured_step_draws_the_texts_of_the_loop_in_fp32():
    model, batch = tiny_llama(device=GPU), unequal_batch(GPU)
    strategy = Strategy("hot", temperature=1.5, top_k=50, top_p=0.95)
    shares = torch.stack([row_shares("prompt", seed, 0, NEW) for seed in range(3)]).to(GPU)
    captured = CapturedDecoder(model, 3, batch.input_ids.shape[1] + NEW)
    captured.capture(batch)
    assert captured.graph is not None
    expected = decode(SamplingDecoder(LoopDecoder(model), strategy, shares), batch, NEW).tokens
    for _ in range(2):
        assert torch.equal(decode(SamplingDecoder(captured, strategy, shares), batch, NEW).tokens, expected)
