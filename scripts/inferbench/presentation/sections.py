"""What the report says of a decoding experiment. Each has its own words in
`inferbench/experiments/<name>/section.py`; this is the form they come in."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType

import pandas as pd

from inferbench.analysis.device_types import apart, of_cells, samples_of
from inferbench.presentation.flagged import flagged_sentences, unflagged
from inferbench.presentation.page_tables import Table
from inferbench.presentation.words import STATUS_WORDS, counted, model_label


@dataclass(frozen=True)
class Texts:
    """Texts to lay side by side, (label, text)."""

    heading: str
    note: str
    texts: list[tuple[str, str]]


@dataclass(frozen=True)
class Section:
    """title; what was asked; sentences with every number computed; (caption, table); texts."""

    title: str
    question: str
    sentences: list[str]
    tables: list[tuple[str, Table]] = field(default_factory=list)
    texts: list[Texts] = field(default_factory=list)


def section(module: ModuleType, table: pd.DataFrame, samples: pd.DataFrame) -> Section:
    """The section of the experiment whose module this is, of its jobs that may be ranked; those that may not, and those
    that did not end ok, are said at the end."""
    table = table.assign(model=list(map(model_label, table["model"], table["model_source"])))
    flagged, table = flagged_sentences(table), unflagged(table)
    every, kinds = table, of_cells(table)
    table = apart(table, kinds, kinds.nunique() > 1)
    own: Section = module.section(table, samples_of(table, samples))
    sentences = [*own.sentences, *_elsewhere(every, table), *flagged, *_not_ok(table)]
    return Section(own.title, own.question, sentences, own.tables, own.texts)


def _elsewhere(every: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """How many jobs ran on another kind of device than the rest of their cell."""
    jobs = [len(rows.drop_duplicates(["cell", "replicate"])) for rows in (every, table)]
    left_out = jobs[0] - jobs[1]
    if not left_out:
        return []
    return [f"Left out: {counted(left_out, 'job')} on another kind of device than most of the cell."]


def host_bound(table: pd.DataFrame) -> list[str]:
    """A sentence that names the cells whose steps were ordinary calls on a GPU, if there are any."""
    bound = table[table["host_bound"].fillna(False)]["cell"]
    if bound.empty:
        return []
    return [
        f"Host-bound: {', '.join(dict.fromkeys(bound))}. Their decode steps were not captured, so that none is shorter than "
        "the host takes to launch its kernels, whatever is compared here."
    ]


def _not_ok(table: pd.DataFrame) -> list[str]:
    jobs = table.drop_duplicates(["cell", "replicate"])
    bad = jobs[jobs["status"] != "ok"]
    groups = bad.groupby(["status", bad["reason"].fillna("no reason recorded")], sort=False)
    return [
        f"{len(own)} of {len(jobs)} jobs {STATUS_WORDS[status]}: {reason} ({', '.join(dict.fromkeys(own['cell']))})."
        for (status, reason), own in groups
    ]
