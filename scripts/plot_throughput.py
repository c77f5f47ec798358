"""Draw decode tokens/s against batch size: a line per precision, panels by attention, execution and model."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from inferbench.batch_panels import draw_against_batch
from inferbench.figures import run


def draw(measurements: pd.DataFrame, summary: pd.DataFrame) -> tuple[plt.Figure, pd.DataFrame]:
    """The figure and its data; decode tokens/s are of the whole batch."""
    title = "Decode throughput against batch size"
    return draw_against_batch(measurements, summary, ["decode_tokens_per_s"], title)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    run(draw, __doc__, argv)


if __name__ == "__main__":
    main()
