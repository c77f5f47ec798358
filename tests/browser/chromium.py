"""This machine's Chromium."""

from __future__ import annotations

import shutil


def path_of_chromium() -> str | None:
    """Its path, whatever the distribution calls it; None when there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
