"""How far logits may differ by rounding alone, which depends on the dtype of the computation."""

from __future__ import annotations

from inferbench.precision.protocol import Tolerance
from inferbench.settings.job import Dtype

#: Kernels that compute the same thing differ by about 0.05 in bfloat16 through 32 layers of random weights; a wrong
#: mask or a stale cache differs by about the whole.
SHARES = {Dtype.float32: 0.001, Dtype.float16: 0.03, Dtype.bfloat16: 0.12}


def rounding(dtype: Dtype) -> Tolerance:
    """Of two ways to compute the same logits from the same weights in this dtype."""
    return Tolerance(SHARES[dtype], f"more than rounding in {dtype.value} explains")
