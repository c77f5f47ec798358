"""What bitsandbytes makes of weights, and what a precision may say of it."""

import pytest
import torch
from bitsandbytes import functional

from inferbench.models.load import load_model
from inferbench.precision import bitsandbytes
from inferbench.settings.job import Dtype, PrecisionConfig
from tiny_models import CPU, benchmark_config, tiny_llama

INT8 = PrecisionConfig("int8", Dtype.float16, "bitsandbytes", {"quantisation": "int8"})


def test_int8_weights_are_scaled_row_by_row_and_of_the_rounded_half_precision(tmp_path):
    tiny_llama(dtype=torch.bfloat16).save_pretrained(tmp_path)
    plain = dict(tiny_llama(dtype=torch.bfloat16).named_parameters())
    config = benchmark_config(precision=INT8)
    config.model.path = str(tmp_path)
    quantised = {
        name: weight
        for name, weight in load_model(config, CPU).named_parameters()
        if weight.dtype == torch.int8
    }
    assert len(quantised) == 2 * 7  # the linear layers of both blocks; the head stays
    for name, weight in quantised.items():
        half = plain[name].to(torch.float16).float()
        largest = half.abs().amax(dim=1)
        assert torch.equal(weight.SCB, largest)
        exact = 127 * half / largest[:, None]
        assert (weight - exact).abs().max() <= 0.501  # a half may be rounded either way


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"quantisation": "nf4"}, "nf4"),
        ({"quantisation": "fp4"}, "fp4"),
        ({"quantisation": "nf4", "double_quantisation": True}, "nf4"),
    ],
)
def test_as_many_bytes_are_predicted_as_bitsandbytes_takes(options, kind):
    weights = torch.randn(1024, 1024)
    double = options.get("double_quantisation", False)
    codes, state = functional.quantize_4bit(weights, quant_type=kind, compress_statistics=double)
    taken = codes.nbytes + state.absmax.nbytes + (state.state2.absmax.nbytes if double else 0)
    precision = PrecisionConfig("four-bit", Dtype.bfloat16, "bitsandbytes", options)
    assert bitsandbytes.predicted_bytes(precision, layers=1024**2, experts=0, others=0) == taken
    # Experts, embedding and head stay in 16 bit.
    assert bitsandbytes.predicted_bytes(precision, layers=0, experts=100, others=10) == 220
