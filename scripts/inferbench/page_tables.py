"""Tables as the report prints them: every value already a text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from inferbench.presentation import number

#: Rows that are shown at a time.
PAGE = 50
#: Rows of a table that the page itself holds; above it the Parquet file has the rest.
MAX_ROWS = 20_000


@dataclass(frozen=True)
class Table:
    """A table ready to print: `numeric` names the columns to align right."""

    columns: list[str]
    numeric: set[str]
    rows: list[list[str]]
    left_out: int = 0

    @property
    def first_page(self) -> list[list[str]]:
        return self.rows[:PAGE]

    @property
    def other_pages(self) -> list[list[str]]:
        """What the page holds as data, and shows on demand."""
        return self.rows[PAGE:]


def table_of(texts: dict[str, Iterable[str]], words: set[str], most: int = MAX_ROWS) -> Table:
    """Columns of text as a table of at most `most` rows, without columns that say nothing.

    words: the columns that are not numbers.
    """
    table = pd.DataFrame({title: list(values) for title, values in texts.items()})
    table = table.loc[:, ~table.isin(["-", ""]).all()]
    rows = table.head(most).to_numpy().tolist()
    return Table(list(table), set(table) - words, rows, max(0, len(table) - most))


def intervals(lows: pd.Series, highs: pd.Series, digits: int = 3) -> list[str]:
    """'19.8 to 20.6': the ends of intervals, '-' where there is none."""
    return [
        "-" if pd.isna(low) else f"{number(low, digits)} to {number(high, digits)}"
        for low, high in zip(lows, highs, strict=True)
    ]


def with_interval(centres: pd.Series, lows: pd.Series, highs: pd.Series) -> list[str]:
    """'20.2 (19.8 to 20.6)': numbers with the ends of their intervals where they have any."""
    columns = (values.astype(float) for values in (centres, lows, highs))
    return [
        number(centre) + (f" ({number(low)} to {number(high)})" if pd.notna(low) else "")
        for centre, low, high in zip(*columns, strict=True)
    ]
