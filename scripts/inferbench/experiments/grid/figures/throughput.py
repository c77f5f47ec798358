"""Draw decode tokens/s against batch size: a line per precision, panels by attention, execution and model."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from inferbench.presentation.batch_panels import draw_against_batch


def draw(measurements: pd.DataFrame, summary: pd.DataFrame) -> tuple[plt.Figure, pd.DataFrame]:
    """The figure and its data; decode tokens/s are of the whole batch."""
    title = "Decode throughput against batch size"
    return draw_against_batch(measurements, summary, ["decode_tokens_per_s"], title)
