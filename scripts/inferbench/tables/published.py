"""A published campaign: its tables, its plotted data, and the checksums of them and of its pictures.

`results/published/<name>/` holds DATA_FILES, `figures/<figure>.csv` and SHA256SUMS, which lists these
and the pictures, `<sha256>  <path>` a line. Pictures themselves are not stored: they are drawn again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from inferbench.plan.figures import drawings, figure_files
from inferbench.tables import schema

DATA_FILES = (
    "measurements.parquet", "summary.parquet", "iterations.parquet", "provenance.json", "experiments.json"
)  # fmt: skip
SUMS = "SHA256SUMS"
#: Folders of results/ that are no campaign.
RESERVED = ("published", "published-redrawn")
#: Plotted numbers have 6 significant digits; on another CPU the sixth may round the other way.
TOLERANCE = 1e-5


def campaign_name(text: str) -> str:
    """A name as campaigns have them, for argparse: an empty one, or one with a slash, is a folder of many."""
    if not re.fullmatch("[a-z0-9][a-z0-9._-]*", text) or text in RESERVED:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a campaign")
    return text


def declared_experiments(folder: Path) -> list[str]:
    """The decoding experiments of the campaign whose tables are in `folder`."""
    return list(json.loads((folder / "experiments.json").read_text(encoding="utf-8")))


def grid_tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(measurements, summary) of the campaign whose tables are in `folder`. Raises schema.SchemaError."""
    return (
        schema.read_table(folder / DATA_FILES[0], schema.measurements),
        schema.read_table(folder / DATA_FILES[1], schema.summary),
    )


def experiment_files(experiments: Iterable[str]) -> list[str]:
    """Names of the tables of these experiments."""
    return [f"{name}{part}.parquet" for name in experiments for part in ("", "-samples")]


def published_tables(experiments: Iterable[str]) -> list[str]:
    """Names of the data files of a campaign that declares these experiments."""
    return [*DATA_FILES, *experiment_files(experiments)]


def published_figures(experiments: Iterable[str]) -> list[str]:
    """Names of the figures' files of a campaign that declares these experiments."""
    return figure_files(drawings(experiments))


def write_published(target: Path, experiments: list[str], data: Path, drawn: Path) -> None:
    """Write the folder `target` from tables in `data` and figures in `drawn`, whole or not at all; one that is
    there is replaced, and may itself be `data`."""
    tables, figures = published_tables(experiments), published_figures(experiments)
    sources = {name: data / name for name in tables} | {name: drawn / name for name in figures}
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        (beside / "figures").mkdir(parents=True)
        for name in (*tables, *(name for name in figures if name.endswith(".csv"))):
            shutil.copyfile(sources[name], beside / name)
        write_sums(beside, sources.items())
        if target.exists():
            old = target.with_name(f".{target.name}.{os.getpid()}.old")
            target.rename(old)
            beside.rename(target)
            shutil.rmtree(old)
        else:
            beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_sums(folder: Path, files: Iterable[tuple[str, Path]]) -> None:
    """Write SHA256SUMS into `folder` for (path to list, file to hash)."""
    lines = [f"{sha256(path)}  {name}\n" for name, path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def read_sums(folder: Path) -> dict[str, str]:
    """Listed path -> SHA-256. Raises ValueError with the line that is not of that form."""
    sums = {}
    for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name:
            raise ValueError(f"{folder / SUMS}: {line!r} is not '<sha256>  <path>'")
        sums[name] = digest
    return sums


def first_difference(published: Path, redrawn: Path) -> str | None:
    """Where two CSV files of plotted data first disagree, in words; None when they agree."""
    # As text: an empty value, a NaN and a 0 must not pass for each other.
    old, new = (pd.read_csv(path, dtype=str, keep_default_na=False) for path in (published, redrawn))
    if list(old) != list(new):
        return f"columns: published {', '.join(old)}; redrawn {', '.join(new)}"
    for row, (before, after) in enumerate(zip(old.to_numpy(), new.to_numpy(), strict=False), start=1):
        for column, was, now in zip(old, before, after, strict=True):
            if was != now and not _close(was, now):
                return f"row {row} ({before[0]}), column {column}: published {was!r}, redrawn {now!r}"
    if len(old) != len(new):
        return f"published {len(old)} rows, redrawn {len(new)}"
    return None


def _close(was: str, now: str) -> bool:
    try:
        return math.isclose(float(was), float(now), rel_tol=TOLERANCE)
    except ValueError:
        return False
