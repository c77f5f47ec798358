"""The jobs of a campaign: what each measures, the file that it leaves, and the order in which they are measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from inferbench.plan.campaign import CampaignError, draft_model, model_file
from inferbench.plan.cells import Cell, expand, job_overrides, meaning_overrides, measuring_order
from inferbench.plan.experiment_cells import (
    ExperimentCell,
    expand_experiment,
    experiment_jobs,
    experiment_meaning,
)
from inferbench.plan.fingerprint import cell_fingerprint, code_hash, experiment_code
from inferbench.plan.specs import GRID
from inferbench.settings.gpu_model import asked_gpu_model

#: Campaign keys that say neither what is measured nor how it is summarised.
LOGISTICS = ("retry", "models_dir", "limits", "compare_with", "mem_mb", "cells_per_job")


@dataclass(frozen=True)
class Job:
    """One replicate of a cell, of the grid or of an experiment."""

    experiment: str
    cell: Cell | ExperimentCell
    replicate: int

    @property
    def file(self) -> str:
        """Path below the campaign's results."""
        return job_file(self.experiment, self.cell.name, self.replicate)

    @property
    def axes(self) -> dict[str, Any]:
        """The value of each axis of its cell."""
        return vars(self.cell) if isinstance(self.cell, Cell) else dict(self.cell.axes)

    @property
    def draft(self) -> str | None:
        """The model of a draft that has one of its own."""
        draft = self.axes.get("draft")
        return draft_model(draft) if draft else None

    @property
    def gpus(self) -> int:
        """GPUs of the cell's model."""
        return int(model_file(self.cell.model).get("gpus", 1))


def job_file(experiment: str, cell: str, replicate: int) -> str:
    """Path of a job's file below the campaign's results."""
    return f"{'cells' if experiment == GRID else experiment}/{cell}/replicate-{replicate}.parquet"


class Plan:
    """What a campaign (as `load_campaign` gives it) has measured. models_dir: the models' folder as jobs know it."""

    def __init__(self, campaign: Mapping[str, Any], models_dir: str):
        self.campaign = campaign
        self.models_dir = models_dir
        self.experiments = list(campaign["experiments"])
        grid = expand(campaign)
        #: experiment -> cell's name -> cell
        self.cells: dict[str, dict[str, Cell | ExperimentCell]] = {GRID: {cell.name: cell for cell in grid}}
        #: experiment -> its jobs, those of the grid in the order of measuring
        self.jobs = {GRID: [Job(GRID, *one) for one in measuring_order(grid, campaign["seed"])]}
        for name in self.experiments:
            self.cells[name] = {cell.name: cell for cell in expand_experiment(campaign, name)}
            self.jobs[name] = [Job(name, *one) for one in experiment_jobs(campaign, name)]

    def job(self, experiment: str, cell: str, replicate: int) -> Job:
        """The job of these names. Raises CampaignError where the campaign does not declare its cell."""
        if cell not in self.cells.get(experiment, {}):  # a job that waited, while the campaign was edited
            raise CampaignError(f"campaign {self.campaign['campaign']} does not declare cell {cell}")
        return Job(experiment, self.cells[experiment][cell], replicate)

    @cached_property
    def priorities(self) -> dict[str, int]:
        """File of each job of the grid -> how early it is measured; higher is sooner."""
        jobs = self.jobs[GRID]
        return {job.file: len(jobs) - index for index, job in enumerate(jobs)}

    @property
    def models(self) -> list[str]:
        """Every model, sorted."""
        return sorted({cell.model for cells in self.cells.values() for cell in cells.values()})

    @property
    def most_gpus(self) -> int:
        """GPUs of the cell of the grid that takes most."""
        return max(1, *(job.gpus for job in self.jobs[GRID]))

    def files(self, experiment: str) -> list[str]:
        """The files of an experiment, or of the grid, below the campaign's results."""
        return [job.file for job in self.jobs[experiment]]

    def meaning(self, job: Job) -> tuple[list[str], str]:
        """(overrides that say what the job measures, their fingerprint)."""
        if isinstance(job.cell, Cell):
            overrides = meaning_overrides(self.campaign, job.cell)
            return overrides, cell_fingerprint(overrides, models_dir=self.models_dir)
        overrides = experiment_meaning(self.campaign, job.cell)
        return overrides, cell_fingerprint(overrides, "run_experiment", self.models_dir)

    def fingerprints(self) -> Iterator[tuple[str, str]]:
        """(file, fingerprint of what it is to be measured with) of every job."""
        for jobs in self.jobs.values():
            found: dict[str, str] = {}
            for job in jobs:
                if job.cell.name not in found:
                    found[job.cell.name] = self.meaning(job)[1]
                yield job.file, found[job.cell.name]

    def overrides(self, job: Job, fingerprint: str) -> list[str]:
        """All overrides of the job but its output."""
        placed = {**self.campaign, "models_dir": self.models_dir}
        meaning, _ = self.meaning(job)
        return job_overrides(placed, meaning, job.cell.name, job.replicate, fingerprint)

    def code(self, experiment: str) -> str:
        """The measuring code that the jobs of an experiment, or of the grid, are asked for."""
        accepted: str | None = self.campaign["accept_code"]
        return accepted or (code_hash() if experiment == GRID else code_hash(*experiment_code(experiment)))

    def gpu_model(self, job: Job) -> str:
        """The type of GPU that the job asks for; empty where any will do."""
        return asked_gpu_model(self.campaign, job.axes) or ""

    def declaration(self, experiment: str) -> str:
        """What the table of the grid, or of one experiment, depends on, as JSON: what other experiments are asked
        for is no part of it."""
        declared = {key: value for key, value in self.campaign.items() if key not in LOGISTICS}
        experiments = declared.pop("experiments")
        return sorted_json(
            declared
            if experiment == GRID
            else {**declared, "experiments": {experiment: experiments[experiment]}}
        )


def sorted_json(value: Any) -> str:
    """Snakemake stores params as their repr and compares them: text does not change by itself."""
    return json.dumps(value, sort_keys=True)
