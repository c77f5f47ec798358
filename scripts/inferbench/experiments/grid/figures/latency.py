"""Draw the time to first token and the time per output token against batch size, a line per precision."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from inferbench.presentation.batch_panels import draw_against_batch


def draw(measurements: pd.DataFrame, summary: pd.DataFrame) -> tuple[plt.Figure, pd.DataFrame]:
    """The figure and its data, in milliseconds."""
    title = "Time to first token, and per output token"
    return draw_against_batch(measurements, summary, ["ttft_ms", "tpot_ms"], title)
