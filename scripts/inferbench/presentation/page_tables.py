"""Tables as the report prints them: every value already a text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from inferbench.presentation.words import ends, number

#: Rows that are shown at a time.
PAGE = 50
#: Rows of a table that the page itself holds; above it the Parquet file has the rest.
MAX_ROWS = 20_000


@dataclass(frozen=True)
class Table:
    """A table ready to print: `numeric` names the columns to align right, `common` is what all rows have."""

    columns: list[str]
    numeric: set[str]
    rows: list[list[str]]
    left_out: int = 0
    common: str = ""

    @property
    def first_page(self) -> list[list[str]]:
        return self.rows[:PAGE]

    @property
    def other_pages(self) -> list[list[str]]:
        """What the page holds as data, and shows on demand."""
        return self.rows[PAGE:]


def table_of(texts: dict[str, Iterable[str]], words: set[str], most: int = MAX_ROWS) -> Table:
    """Columns of text as a table of at most `most` rows, without columns that say nothing.

    words: the columns that are not numbers. One in which all rows have the same word is said once, as `common`.
    """
    table = pd.DataFrame({title: list(values) for title, values in texts.items()})
    table = table.loc[:, ~table.isin(["-", ""]).all()]
    same = [title for title in table if title in words and table[title].nunique() == 1]
    common = ", ".join(f"{title} {table[title].iloc[0]}" for title in same)
    table = table.drop(columns=same)
    rows = table.head(most).to_numpy().tolist()
    return Table(list(table), set(table) - words, rows, max(0, len(table) - most), common)


def with_interval(centres: pd.Series, lows: pd.Series, highs: pd.Series) -> list[str]:
    """'20.2 (19.8 to 20.6)': numbers with the ends of their intervals where they have any."""
    columns = (values.astype(float) for values in (centres, lows, highs))
    return [number(centre) + ends(low, high) for centre, low, high in zip(*columns, strict=True)]
