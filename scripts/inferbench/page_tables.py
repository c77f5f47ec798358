"""Tables as the report prints them: every value already a text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

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


def table_of(texts: dict[str, Iterable[str]], words: set[str]) -> Table:
    """Columns of text as a table, without those that say nothing; `words` are not numbers."""
    table = pd.DataFrame({title: list(values) for title, values in texts.items()})
    table = table.loc[:, ~table.isin(["-", ""]).all()]
    rows = table.head(MAX_ROWS).to_numpy().tolist()
    return Table(list(table), set(table) - words, rows, max(0, len(table) - MAX_ROWS))
