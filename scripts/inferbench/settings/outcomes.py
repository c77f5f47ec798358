"""What a cell may end as beside a number: raised where it is found, told apart by the worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Unsupported(RuntimeError):
    """This cell cannot run here. Raised before any weights load."""


class CompiledAnew(RuntimeError):
    """The step had to be compiled here: the next process measures it with what this one left on disk."""


class Hopeless(RuntimeError):
    """This cell is predicted not to fit by far. Raised before any weights load."""


class NotKnown(RuntimeError):
    """A number that cannot be had of this model, and why. What else the cell measures stands."""


@contextmanager
def known(record: dict[str, Any], *columns: str) -> Iterator[None]:
    """Where the body raises NotKnown, these columns of the record's row are empty, and the record says why."""
    try:
        yield
    except NotKnown as reason:
        record.setdefault("not_known", {}).update(dict.fromkeys(columns, str(reason)))
