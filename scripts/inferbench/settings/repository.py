"""Where this checkout lies, and paths inside it."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
SCRIPTS = REPOSITORY / "scripts"
HYDRA_DIR = REPOSITORY / "config" / "hydra"
#: Templates and scripts of the report's page.
PAGE_DIR = REPOSITORY / "workflow" / "report"


def in_repository(path: str) -> Path:
    """A path of the configuration: relative ones are the repository's, wherever the command was typed."""
    return REPOSITORY / path
