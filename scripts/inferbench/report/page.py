"""The report of a campaign: one HTML file that needs no network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import pandas as pd

from inferbench.analysis.capacity import largest_batches
from inferbench.analysis.costs import costs
from inferbench.analysis.experiment_tables import Experiment, table_schema
from inferbench.analysis.limits import measured_bytes, measured_divergences
from inferbench.analysis.other_campaigns import Campaign
from inferbench.analysis.setting import at_setting, shown_setting
from inferbench.analysis.summarise import with_cards
from inferbench.plan.cells import Cell, command
from inferbench.plan.figures import beside_drawings, experiment_drawings, grid_drawings
from inferbench.presentation.cell_columns import cell_columns, first_rows
from inferbench.presentation.explorer import explorer
from inferbench.presentation.not_known import not_known
from inferbench.presentation.page_tables import Table, table_of, with_interval
from inferbench.presentation.pictures import pictures
from inferbench.presentation.sections import section
from inferbench.presentation.words import (
    STATUS_WORDS,
    byte_unit,
    model_label,
    number,
    precision_order,
    setting_words,
    split_axes,
)
from inferbench.report.advice_words import opening
from inferbench.report.choices import MEMORY, WEIGHTS, Answer, answers, kernels, overview, progress
from inferbench.report.context import context_sentences
from inferbench.report.cost_words import cost_sentences
from inferbench.report.host_and_captured import both_ways, reversals, side_by_side_table
from inferbench.report.origins import distinct, place_table, processes, provenance_facts
from inferbench.report.other_campaigns import beside
from inferbench.report.reading_tokens import wait_sentences
from inferbench.report.spending import experiment_seconds, spending_sentences
from inferbench.report.validity import drift_sentence, flag_counts, iterations_sentence
from inferbench.settings.repository import PAGE_DIR
from inferbench.settings.spec import Figure
from inferbench.tables import schema, terms

TEMPLATE = PAGE_DIR / "page.html.j2"
AXES = list(terms.AXES)
Part = Callable[[str, str], ModuleType]
#: What an axis changes, a section each in this order: its title, and the category of the figures in it.
TOPICS = {
    "precision": ("Precision", "Precision"),
    "attention": ("Attention backend", "Attention"),
    "execution": ("Execution mode", "Hardware"),
    "batch_size": ("Batch size", "Batch size"),
}
#: Categories of figures that stand in other sections; the rest stand in one of their own.
ELSEWHERE = {"Answer", "Context", "Grid", "Memory", "Time"}
#: What a model adds to a prompt that is cut inside a chat template, before it answers.
REPLY = re.compile(r"\A.*?<\|\w+\|>assistant(<\|\w+\|>)?\s*", re.DOTALL)
#: The memory table: what was predicted, then every figure that is kept apart.
MEMORY_COLUMNS = {
    "predicted_bytes": "predicted",
    "weight_bytes": "weights",
    "kv_cache_bytes": "KV cache",
    "peak_allocated_bytes": "peak allocated",
    "peak_reserved_bytes": "peak reserved",
    "process_gpu_bytes": "GPU memory of the process",
    "peak_rss_bytes": "peak RSS",
}


def write_report(
    measurements: pd.DataFrame,
    summary: pd.DataFrame,
    experiments: dict[str, Experiment],
    provenance: dict[str, Any],
    figures: Path,
    part: Part,
    output: Path,
    limits: dict[str, float] | None = None,
    others: Sequence[Campaign] = (),
) -> None:
    """Write the page to `output`. Figures that are not in the folder `figures` are named as absent.

    part: loads a module of an experiment, by the names of both.
    limits: as the campaign file has them. others: campaigns to stand beside this one.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(TEMPLATE.name).render(
        page_data(measurements, summary, experiments, provenance, figures, part, limits or {}, others)
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")


def page_data(
    measurements: pd.DataFrame,
    summary: pd.DataFrame,
    experiments: dict[str, Experiment],
    provenance: dict[str, Any],
    figures: Path,
    part: Part,
    limits: dict[str, float],
    others: Sequence[Campaign] = (),
) -> dict[str, Any]:
    """Everything that the page shows, by the names that its template uses."""
    campaign = dict(provenance.get("campaign") or {})
    campaign |= (
        {"experiments": {name: own.declared for name, own in experiments.items()}} if experiments else {}
    )
    campaign |= {"limits": limits} if limits else {}
    summary = with_cards(summary, measurements)
    new_tokens = measurements.groupby("workload")["new_tokens"].max()
    advice_lead, advice = opening(
        summary, campaign, limits, measured_divergences(experiments), new_tokens.dropna().to_dict()
    )
    common, _ = split_axes(summary, AXES)
    price = campaign.get("price_per_gpu_hour")
    priced = costs(summary, price)
    columns = cell_columns(measurements, summary)
    told = answers(summary)
    drawn: dict[str, list[tuple[Figure, str | None]]] = {}
    for figure, picture in pictures(grid_drawings(), figures):
        drawn.setdefault(figure.category, []).append((figure, picture))
    placed = ELSEWHERE | {category for _, category in TOPICS.values()}
    ways = both_ways(summary)
    ran = processes(measurements, experiments)
    return {
        "name": campaign.get("campaign") or summary["campaign"].iloc[0],
        "asked": [*_asked(campaign, summary), *_lengths(measurements)],
        "notices": list(progress(measurements)),
        "advice_lead": advice_lead,
        "advice": advice,
        "overview": overview(summary),
        "kernels": kernels(measurements),
        "topics": [
            (axis, title, category, about)
            for axis, (title, category) in TOPICS.items()
            if (about := _about(axis, told)) or category in drawn
        ],
        "several_subjects": len(told) > 1,
        "weights": _of_weights(told),
        "memory_sentences": _about(MEMORY, told),
        "context": list(context_sentences(measurements, summary)),
        "several_lengths": measurements.groupby("model")["prompt_tokens"].nunique().max() > 1,
        "reversals": list(reversals(ways, campaign.get("baseline") or {})),
        "side_by_side": side_by_side_table(ways),
        "waits": list(wait_sentences(measurements, summary)),
        "figures": drawn,
        "more_figures": [one for category, own in drawn.items() if category not in placed for one in own],
        "experiments": [
            (
                name,
                section(part(name, "section"), own.table, own.samples),
                pictures(experiment_drawings(name), figures),
            )
            for name, own in experiments.items()
        ],
        "beside": beside(measurements, provenance, list(others)) if others else None,
        "beside_figure": pictures(beside_drawings() if others else [], figures),
        "common": common,
        "cells": first_rows(columns),
        "explorer": explorer(columns, summary, campaign),
        "not_ok": _not_ok(measurements),
        "flags": flag_counts(measurements),
        "flagged": _flagged(measurements),
        "not_known": not_known(measurements),
        "drift": drift_sentence(measurements),
        "iterations": iterations_sentence(measurements),
        "spending": [*spending_sentences(measurements), *experiment_seconds(ran)],
        "memory": memory_table(summary),
        "capacity": capacity_table(largest_batches(measurements)),
        "cost_sentences": cost_sentences(priced, price),
        "costs": cost_table(priced),
        "samples": _samples(measurements, summary),
        "provenance": provenance_facts(ran, provenance),
        "places": place_table(ran),
        "environment": _json(provenance.get("environment")),
        "config": _json(campaign),
        "commit": distinct(ran["git_commit"]),
        "example": _example(summary, campaign),
        "glossary": _glossary({name: part(name, "table") for name in experiments}),
    }


def _about(topic: str, told: list[Answer]) -> list[tuple[str, list[str]]]:
    """(subject, sentences) of those answers that say something of the topic."""
    return [(answer.subject, answer.sentences[topic]) for answer in told if topic in answer.sentences]


def _of_weights(told: list[Answer]) -> list[tuple[str, list[str]]]:
    """(models, what is said of their weights): once where it is the same."""
    models: dict[tuple[str, ...], list[str]] = {}
    for answer in told:
        if WEIGHTS in answer.sentences:
            models.setdefault(tuple(answer.sentences[WEIGHTS]), []).append(answer.model)
    return [(", ".join(names), list(sentences)) for sentences, names in models.items()]


def memory_table(summary: pd.DataFrame) -> Table:
    """Per model and precision, at the setting of the first figure: the prediction, each figure of memory,
    and measured over predicted (of the process on the GPU; on a CPU the resident memory)."""
    parts = []
    for model in dict.fromkeys(summary["model"]):
        own = at_setting(summary[summary["model"] == model], shown_setting(summary, model)[0])
        names = precision_order(own["precision"])
        parts.append(own.set_index("precision").loc[names].reset_index())
    rows = pd.concat(parts)
    rows = rows[rows["weight_bytes"].notna()]
    texts: dict[str, Iterable[str]] = {
        "model": list(map(model_label, rows["model"], rows["model_source"])),
        "precision": rows["precision"],
    }
    for size, title in MEMORY_COLUMNS.items():
        unit, per_unit = byte_unit(rows[size].max())
        texts[f"{title}, {unit}"] = (rows[size].astype(float) / per_unit).map(number)
    texts["measured ÷ predicted"] = (measured_bytes(rows) / rows["predicted_bytes"].astype(float)).map(number)
    return table_of(texts, {"model", "precision"})


def capacity_table(batches: pd.DataFrame) -> Table:
    """The largest batch that fits, by precision and context, computed and tried."""
    columns = {
        "context": "context, tokens",
        "by_cache": "batch that weights and KV cache alone allow",
        "by_prediction": "batch by prediction",
        "largest_ok": "largest batch that ran",
        "smallest_oom": "smallest out of memory",
    }
    texts = {
        "model": list(map(model_label, batches["model"], batches["model_source"])),
        "precision": batches["precision"],
        "attention": batches["attention"],
        **{
            title: batches[name].map(lambda size: "-" if pd.isna(size) else f"{size:,}")
            for name, title in columns.items()
        },
    }
    return table_of(texts, {"model", "precision", "attention"})


def cost_table(priced: pd.DataFrame) -> Table:
    """A row per cell that may be ranked: cost per million output tokens, joules and tokens per joule."""
    if priced.empty:
        return Table([], set(), [])
    labels = {axis: axis.replace("_", " ") for axis in AXES}
    texts: dict[str, Iterable[str]] = {label: priced[axis].astype(str) for axis, label in labels.items()}
    texts["model"] = list(map(model_label, priced["model"], priced["model_source"]))
    texts["decode tokens/s"] = priced["rate"].map(number)
    texts["cost per million tokens"] = with_interval(priced["cost"], priced["cost_low"], priced["cost_high"])
    texts["J/token"] = with_interval(priced["joules"], priced["joules_low"], priced["joules_high"])
    texts["tokens/J"] = priced["tokens_per_joule"].map(number)
    return table_of(texts, {*labels.values()} - {"batch size"})


def _asked(campaign: dict[str, Any], summary: pd.DataFrame) -> list[tuple[str, str]]:
    """Axis by axis, what the campaign declares; without its config, what its cells show."""
    axes = campaign.get("axes") or {axis: list(dict.fromkeys(summary[axis])) for axis in AXES}
    asked = [(axis.replace("_", " "), ", ".join(map(str, axes[axis]))) for axis in AXES]
    keys = ("also", "exclude", "replicates", "baseline", "device")
    asked += [(key, _words(campaign[key])) for key in keys if campaign.get(key)]
    experiments = campaign.get("experiments")
    return asked + ([("experiments", ", ".join(experiments))] if experiments else [])


def _lengths(measurements: pd.DataFrame) -> list[tuple[str, str]]:
    """What the workloads' names stand for, of those that ran; a batch of texts is as long as its longest."""
    ran = measurements.dropna(subset=["prompt_tokens", "new_tokens"])
    each = []
    for workload, own in ran.groupby("workload", sort=False):
        least, most = own["prompt_tokens"].min(), own["prompt_tokens"].max()
        prompt = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        each.append(f"{workload}: {prompt} prompt tokens, {own['new_tokens'].max():,} new")
    return [("lengths", "\n".join(each))] if each else []


def _words(value: Any) -> str:
    """A value of the campaign file in words, 'precision bf16, attention sdpa'; of a list of such a line each."""
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_words(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ("\n" if any(isinstance(item, dict) for item in value) else "/").join(map(_words, value))
    return str(value)


def _not_ok(measurements: pd.DataFrame) -> list[dict[str, Any]]:
    """Replicates that did not end ok, gathered by status and reason."""
    bad = measurements[measurements["status"] != "ok"]
    groups = bad.assign(reason=bad["reason"].fillna("no reason recorded")).groupby(
        ["status", "reason"], sort=False
    )
    return [
        {
            "status": STATUS_WORDS[status],
            "reason": reason,
            "replicates": len(own),
            "cells": [f"{cell} ({count})" for cell, count in own.groupby("cell", sort=False).size().items()],
        }
        for (status, reason), own in groups
    ]


def _flagged(measurements: pd.DataFrame) -> list[dict[str, Any]]:
    """Replicates that ended ok and may not be ranked, by their flags."""
    flagged = measurements[(measurements["status"] == "ok") & ~measurements["valid"]]
    return [
        {"flags": flags, "cells": [f"{row.cell}, replicate {row.replicate}" for row in own.itertuples()]}
        for flags, own in flagged.groupby("flags", sort=False)
    ]


def _samples(measurements: pd.DataFrame, summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Per model, what it said in the first sequence, at the setting of the first figure: (precisions, their text)."""
    samples = []
    for model in dict.fromkeys(summary["model"]):
        setting, _ = shown_setting(summary, model)
        rows = at_setting(measurements[measurements["model"] == model], setting)
        rows = rows[(rows["status"] == "ok") & rows["sample_text"].notna()].sort_values(
            "replicate", kind="stable"
        )
        texts = rows.groupby("precision")["sample_text"]
        said: dict[str, list[str]] = {}
        for name in precision_order(rows["precision"]):
            said.setdefault(REPLY.sub("", texts.get_group(name).iloc[0]), []).append(name)
        if said:
            samples.append(
                {
                    "model": model_label(model, rows["model_source"].iloc[0]),
                    "setting": setting_words(setting),
                    "texts": [(", ".join(names), text) for text, names in said.items()],
                    "differ": [name for name, count in texts.nunique().items() if count > 1],
                }
            )
    return samples


def _example(summary: pd.DataFrame, campaign: dict[str, Any]) -> str:
    """The command of one cell to run by hand: the baseline if it is ok, else the first that is."""
    cells = summary.assign(ok=summary["status"] == "ok")
    cell = cells.sort_values(["ok", "is_baseline"], ascending=False, kind="stable").iloc[0]
    return command(campaign, Cell(**cell[AXES]))


def _glossary(experiments: dict[str, ModuleType]) -> list[tuple[str, str]]:
    columns = {**schema.summary.columns, **schema.measurements.columns}
    for experiment, module in experiments.items():
        own = table_schema(module).columns
        columns |= {f"{experiment}.{name}": own[name] for name in own if name not in columns}
    return [(name, _described(name, column.description)) for name, column in columns.items()]


def _described(name: str, description: str) -> str:
    """What a column of measurements means, and how the summary has made it one of a cell."""
    own = schema.summary.columns.get(name)
    if own is None or own.description == description:
        return description
    return f"{description}; in summary.parquet: {own.description}"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) if value else ""
