"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class UnwritableError(RuntimeError):
    """A file cannot be written. The message has its path and the system's word."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it becomes `path` when the body ends, and is removed if it does not.

    Its name is unique to this process, so that an orphan of an earlier job cannot overwrite the file.
    Raises UnwritableError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        # Arrow puts a story of its own in place of the system's word.
        reason = os.strerror(error.errno) if error.errno else error
        raise UnwritableError(f"cannot write {path}: {reason}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
