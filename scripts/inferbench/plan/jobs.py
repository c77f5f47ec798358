"""The jobs of a campaign: what each measures, the file that it leaves, and the order in which they are measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from inferbench.plan.campaign import NAMED, CampaignError, draft_choice, model_file, named_module
from inferbench.plan.cells import Cell, expand, job_overrides, meaning_overrides
from inferbench.plan.experiment_cells import ExperimentCell, expand_experiment, experiment_meaning
from inferbench.plan.fingerprint import cell_fingerprint, code_hash, default_groups, measuring_code
from inferbench.plan.specs import GRID, specs
from inferbench.settings.gpu_model import asked_gpu_model

#: Campaign keys that say neither what is measured nor how it is summarised.
LOGISTICS = ("retry", "models_dir", "limits", "compare_with", "mem_mb", "cells_per_job")
#: The folder of the grid's files below the campaign's results; those of an experiment lie under its name.
GRID_FOLDER = "cells"


@dataclass(frozen=True)
class Job:
    """One replicate of a cell, of the grid or of an experiment."""

    experiment: str
    cell: Cell | ExperimentCell
    replicate: int

    @property
    def file(self) -> str:
        """Path below the campaign's results."""
        return f"{folder_of(self.experiment)}/{self.cell.name}/replicate-{self.replicate}.parquet"

    @property
    def primary(self) -> str:
        """The Hydra file that composes it, and the script that measures it."""
        return "benchmark" if self.experiment == GRID else "run_experiment"

    @property
    def axes(self) -> dict[str, Any]:
        """The value of each axis of its cell."""
        return vars(self.cell) if isinstance(self.cell, Cell) else dict(self.cell.axes)

    @property
    def draft(self) -> str | None:
        """The model of a draft that has one of its own."""
        draft = self.axes.get("draft")
        return draft_choice(draft, "model") if draft else None

    @property
    def gpus(self) -> int:
        """GPUs of the cell's model."""
        return int(model_file(self.cell.model).get("gpus", 1))

    @property
    def named(self) -> tuple[tuple[str, str], ...]:
        """(Hydra group, name) of each file that names code of the job, drafts among them."""
        own = specs()[self.experiment].axes
        chosen = [(own.get(axis, axis).split("@")[0], value) for axis, value in self.axes.items()]
        named = [choice for choice in chosen if choice[0] in (*NAMED, "draft")]
        if "execution" not in dict(named):
            named.append(("execution", default_groups(self.primary)["execution"]))
        return tuple(named)

    def meaning(self, campaign: Mapping[str, Any], models_dir: str) -> tuple[list[str], str]:
        """(overrides that say what the job measures, their fingerprint)."""
        if isinstance(self.cell, Cell):
            overrides = meaning_overrides(campaign, self.cell)
        else:
            overrides = experiment_meaning(campaign, self.cell)
        return overrides, cell_fingerprint(overrides, self.primary, models_dir)


def folder_of(experiment: str) -> str:
    """The folder, below the campaign's results, of the files of an experiment or of the grid."""
    return GRID_FOLDER if experiment == GRID else experiment


def declared_cells(campaign: Mapping[str, Any], experiment: str) -> Mapping[Any, int]:
    """Cell -> replicates that the campaign declares of an experiment or of the grid, in the order of its axes."""
    return expand(campaign) if experiment == GRID else expand_experiment(campaign, experiment)


def measuring_order(jobs: Iterable[Job], seed: int) -> list[Job]:
    """The jobs in the order to measure: a block per replicate, shuffled inside by the seed.

    A block holds every cell that has so many replicates once, the baseline and those of experiments among them, so
    that slow drift (temperature, another user) spreads over all cells and a campaign that is cut off is balanced up to
    its last block. A job's place is drawn by its own name, so that others that come or go leave the order of the rest.
    """

    def place(job: Job) -> tuple[int, bytes]:
        return job.replicate, hashlib.sha256(f"{seed}/{job.file}".encode()).digest()

    return sorted(jobs, key=place)


class Plan:
    """What a campaign (as `load_campaign` gives it) has measured. models_dir: the models' folder as jobs know it."""

    def __init__(self, campaign: Mapping[str, Any], models_dir: str):
        self.campaign = campaign
        self.models_dir = models_dir
        self.experiments = list(campaign["experiments"])
        declared = {name: declared_cells(campaign, name) for name in (GRID, *self.experiments)}
        #: experiment or grid -> cell's name -> cell
        self.cells: dict[str, dict[str, Cell | ExperimentCell]] = {
            name: {cell.name: cell for cell in cells} for name, cells in declared.items()
        }
        every = (
            Job(name, cell, replicate)
            for name, cells in declared.items()
            for cell, replicates in cells.items()
            for replicate in range(1, replicates + 1)
        )
        #: every job, in the order of measuring
        self.jobs = measuring_order(every, campaign["seed"])
        self._meanings: dict[tuple[str, str], tuple[list[str], str]] = {}
        self._codes: dict[tuple[str, tuple[tuple[str, str], ...]], str] = {}

    def job(self, folder: str, cell: str, replicate: int) -> Job:
        """The job whose file has these names. Raises CampaignError where the campaign does not declare its cell."""
        experiment = GRID if folder == GRID_FOLDER else folder
        if cell not in self.cells.get(experiment, {}):  # a job that waited, while the campaign was edited
            raise CampaignError(f"campaign {self.campaign['campaign']} does not declare cell {cell}")
        return Job(experiment, self.cells[experiment][cell], replicate)

    @cached_property
    def priorities(self) -> dict[str, int]:
        """File of each job -> how early it is measured; higher is sooner."""
        return {job.file: len(self.jobs) - index for index, job in enumerate(self.jobs)}

    @property
    def models(self) -> list[str]:
        """Every model, sorted."""
        return sorted({cell.model for cells in self.cells.values() for cell in cells.values()})

    @property
    def most_gpus(self) -> int:
        """GPUs of the job that takes most."""
        return max(job.gpus for job in {job.cell.model: job for job in self.jobs}.values())

    def files(self, experiment: str) -> list[str]:
        """The files of an experiment, or of the grid, below the campaign's results."""
        return [job.file for job in self.jobs if job.experiment == experiment]

    def meaning(self, job: Job) -> tuple[list[str], str]:
        """(overrides that say what the job measures, their fingerprint)."""
        cell = job.experiment, job.cell.name
        if cell not in self._meanings:
            self._meanings[cell] = job.meaning(self.campaign, self.models_dir)
        return self._meanings[cell]

    def fingerprints(self) -> Iterator[tuple[str, str]]:
        """(file, fingerprint of what it is to be measured with) of every job."""
        return ((job.file, self.meaning(job)[1]) for job in self.jobs)

    def overrides(self, job: Job, fingerprint: str) -> list[str]:
        """All overrides of the job but its output."""
        placed = {**self.campaign, "models_dir": self.models_dir}
        meaning, _ = self.meaning(job)
        return job_overrides(placed, meaning, job.cell.name, job.replicate, fingerprint)

    def code(self, job: Job) -> str:
        """The measuring code of a job as it is now. Raises CampaignError where a Hydra file names none."""
        combination = job.experiment, job.named
        if combination not in self._codes:
            self._codes[combination] = _code(*combination)
        return self._codes[combination]

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


def _code(experiment: str, named: tuple[tuple[str, str], ...]) -> str:
    """named: as `Job.named` has it."""
    drafts = [draft_choice(name, "precision") for group, name in named if group == "draft"]
    precisions = [name for group, name in named if group == "precision"] + [name for name in drafts if name]
    engine = named_module("execution", dict(named)["execution"])
    libraries = [named_module("precision", name) for name in precisions]
    return code_hash(*measuring_code(experiment, engine, libraries))


def sorted_json(value: Any) -> str:
    """Snakemake stores params as their repr and compares them: text does not change by itself."""
    return json.dumps(value, sort_keys=True)
