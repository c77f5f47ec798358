"""What is held against a limit."""

import pandas as pd

from inferbench.analysis.experiment_tables import Experiment
from inferbench.analysis.limits import measured_divergences


def test_divergences_of_the_experiment_on_quality():
    rows = [
        ("m", "bf16", "fp32", "ok", 0.01, 0.02),
        ("m", "nf4", "fp32", "ok", 0.1, None),  # under 3 windows there is no interval
        ("m", "nf4", "bf16", "ok", 0.2, 0.3),
        ("m", "int8", "fp32", "failed", None, None),
        ("m", "fp4", "fp32", "ok", 0.3, 0.4),  # flagged
    ]
    table = pd.DataFrame(rows, columns=["model", "precision", "reference", "status", "kl", "kl_high"])
    table = table.astype({"kl": "Float64", "kl_high": "Float64"})
    table["valid"] = [True, True, True, False, False]
    found = measured_divergences({"quality": Experiment({}, table, table)})
    assert found == {
        ("m", "fp32"): (0, 0),  # the reference itself
        ("m", "bf16"): (0.01, 0.02),
        ("m", "nf4"): (0.2, 0.3),
    }
    assert measured_divergences({}) is None
