"""Tables of a campaign of 10 000 cells, made up without the time that summarising them would take."""

from __future__ import annotations

import pandas as pd

from inferbench.tables import schema, terms
from made_up_tables import demo_measurements

MODELS, ATTENTIONS, BATCHES = 10, 5, 50


def many_cells() -> tuple[pd.DataFrame, pd.DataFrame]:
    """(measurements, summary): 10 models x 4 precisions x 5 attentions x 50 batch sizes, one replicate."""
    measurements = pd.concat(
        [
            demo_measurements(
                f"model-{place}",
                attention=tuple(f"attention_{n}" for n in range(ATTENTIONS)),
                batch_size=tuple(range(1, BATCHES + 1)),
                replicate=(1,),
            )
            for place in range(MODELS)
        ],
        ignore_index=True,
    )
    # Numbers as long as measured ones are, and different in every row.
    spread = 1 + measurements.index.to_numpy() / 7_777
    for metric in (*terms.METRICS, *terms.SIZES):
        measurements[metric] = (measurements[metric].astype(float).fillna(1e9) * spread).round(
            0 if metric in terms.SIZES else 9
        )
    shared = [name for name in schema.summary.columns if name in measurements]
    summary = measurements[shared].assign(
        replicates_declared=1, replicates_ok=1, replicates_valid=1, is_baseline=False, finding="1 replicate"
    )
    for metric in terms.METRICS:
        summary[f"{metric}_low"] = summary[metric] * 0.98765
        summary[f"{metric}_high"] = summary[metric] * 1.01234
    return measurements, schema.validate(summary, schema.summary)
