"""A campaign's declaration: validated, completed with defaults, every name checked against its file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from inferbench.plan.cells import GROUPS, Cell, expand
from inferbench.plan.context_length import checkpoint_config, runs_of, too_long_reason
from inferbench.plan.experiment_cells import SHARED
from inferbench.plan.fingerprint import FILES, model_folder
from inferbench.plan.specs import specs
from inferbench.settings.repository import HYDRA_DIR, REPOSITORY, SCRIPTS

#: Hydra groups whose files name a module of this package, which the worker imports by that name: key and folder.
NAMED = {"execution": ("module", "engines"), "precision": ("library", "precision")}
PACKAGE = "inferbench"
SCHEMA = REPOSITORY / "workflow" / "schemas" / "config.schema.yaml"


def _is_integer(_checker: Any, value: Any) -> bool:
    """JSON schema takes 2.0 for an integer, and Python takes True for one: neither is a count."""
    return type(value) is int


def _is_number(_checker: Any, value: Any) -> bool:
    """YAML has infinity and not-a-number, which no setting can mean."""
    return type(value) is int or (type(value) is float and math.isfinite(value))


Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)


class CampaignError(ValueError):
    """A campaign that cannot be expanded. The message says what is wrong, where, and what to do."""


def load_campaign(config: Mapping[str, Any]) -> dict[str, Any]:
    """The campaign with its defaults, as plain data. Raises CampaignError."""
    # YAML reads some names as dates.
    campaign = json.loads(json.dumps(config, default=str))
    schema = yaml.safe_load(SCHEMA.read_text())
    errors = Validator(schema).iter_errors(campaign)
    for error in sorted(errors, key=lambda error: str(error.path)):
        raise CampaignError(_sentence(error))
    _complete(campaign, schema)
    accepted = campaign["accept_code"] or []
    campaign["accept_code"] = [accepted] if isinstance(accepted, str) else accepted
    for name, declared in campaign["experiments"].items():
        _complete(declared, schema["properties"]["experiments"]["properties"][name])
    _check_names(campaign)
    _check_measure(campaign["measure"])
    cells = expand(campaign)
    if not cells:
        raise CampaignError(
            f"campaign {campaign['campaign']}: exclude leaves no cell; remove an entry of it."
        )
    _check_baseline(campaign, cells)
    return campaign


def _complete(declared: dict[str, Any], rule: Mapping[str, Any]) -> None:
    """Set the defaults that the schema gives the keys of an object."""
    for key, own in rule["properties"].items():
        if "default" in own:
            declared.setdefault(key, own["default"])


def hydra_options(group: str) -> list[str]:
    """Names that an axis can take: the files of its Hydra group, less the bases they share."""
    names = sorted(path.stem for path in (HYDRA_DIR / group).glob("*.yaml"))
    return [name for name in names if not name.startswith("base")]


def model_file(name: str) -> dict[str, Any]:
    """The Hydra file of a model as data: what planning needs of it is its `source` and `gpus`."""
    return _read(HYDRA_DIR / "model" / f"{name}.yaml")


def draft_choice(name: str, group: str) -> str | None:
    """What a draft's Hydra file composes of another group, as `model` or `precision`; None where it has none of it."""
    draft = _read(HYDRA_DIR / "draft" / f"{name}.yaml")
    chosen = [entry for entry in draft.get("defaults", []) if isinstance(entry, dict)]
    return next((entry[f"/{group}@{group}"] for entry in chosen if f"/{group}@{group}" in entry), None)


def named_module(group: str, name: str) -> str:
    """The module, by its name in the folder that NAMED has, which a Hydra file or one that it extends names.

    Raises CampaignError where there is none.
    """
    key, folder = NAMED[group]
    where = f"{HYDRA_DIR.relative_to(REPOSITORY)}/{group}/{name}.yaml"
    module = _composed(group, name).get(key)
    if module is None:
        raise CampaignError(f"{where}: {key} is missing; it names a module of scripts/{PACKAGE}/{folder}.")
    if not (SCRIPTS / PACKAGE / folder / f"{module}.py").is_file():
        raise CampaignError(f"{where}: {key}: there is no module scripts/{PACKAGE}/{folder}/{module}.py.")
    return str(module)


def _sentence(error: jsonschema.ValidationError) -> str:
    """A validation error as one sentence that names the key."""
    where = ".".join(str(part) for part in error.absolute_path) or "campaign file"
    if error.validator == "additionalProperties":
        known = ", ".join(sorted(error.schema["properties"]))
        unknown = ", ".join(sorted(set(error.instance) - set(error.schema["properties"])))
        return f"{where}: unknown key {unknown}; the keys here are {known}."
    if error.validator == "required":
        absent = ", ".join(key for key in error.validator_value if key not in error.instance)
        return f"{where}: {absent} is missing; see config/README.md."
    if error.validator == "minItems":
        return f"{where}: the list is empty; name at least one value."
    wanted = error.schema.get("description", "explained in config/README.md")
    return f"{where}: {json.dumps(error.instance)} does not fit ({error.message}); it is {wanted}."


def _check_names(campaign: Mapping[str, Any]) -> None:
    patterns = [campaign["axes"], *campaign["also"], *campaign["exclude"], campaign["baseline"]]
    patterns += campaign["gpu_model"] if isinstance(campaign["gpu_model"], list) else []
    asked = {
        (group, group, name) for group in GROUPS for pattern in patterns for name in _listed(pattern, group)
    }
    for experiment, declared in campaign["experiments"].items():
        chosen = {axis: axis for axis in SHARED}
        chosen |= {axis: key.split("@")[0] for axis, key in specs()[experiment].axes.items() if "@" in key}
        asked |= {(axis, group, name) for axis, group in chosen.items() for name in _listed(declared, axis)}
    for axis, group, name in sorted(asked):
        if name not in (known := hydra_options(group)):
            raise CampaignError(
                f"{axis} {name} has no file {HYDRA_DIR.relative_to(REPOSITORY)}/{group}/{name}.yaml;"
                f" there are {', '.join(known)}."
            )
        _check_file(group, name)
    for experiment, declared in campaign["experiments"].items():
        _check_settings(experiment, declared["settings"])


def _check_file(group: str, name: str) -> None:
    """What Hydra would say of the file only when a job has begun, or not at all."""
    path = HYDRA_DIR / group / f"{name}.yaml"
    where = path.relative_to(REPOSITORY)
    content = _read(path)
    if not isinstance(content, dict):
        raise CampaignError(f"{where}: it is not a mapping of keys; see the other files beside it.")
    if content.get("name", name) != name:
        raise CampaignError(f"{where}: name is {content['name']}; give it the file's own, {name}.")
    for key in set(FILES) & set(content):
        if not (REPOSITORY / str(content[key])).is_file():
            raise CampaignError(f"{where}: {key}: there is no file {content[key]} in the repository.")
        texts = _read(REPOSITORY / content[key]) if key == "prompts" else []
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise CampaignError(f"{content[key]}: it is not a list of texts, which prompts are.")
    if group in NAMED:
        named_module(group, name)


def _read(path: Path) -> Any:
    """What a YAML file of the repository holds."""
    try:
        return yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = os.path.relpath(path, REPOSITORY)
        raise CampaignError(f"{where} cannot be read: {' '.join(str(error).split())}.") from error


def _check_measure(measure: Mapping[str, Any]) -> None:
    asked = _read(HYDRA_DIR / "benchmark.yaml")["measure"] | measure
    for kind in ("warmup_{}_iterations", "{}_iterations", "{}_seconds"):
        least, most = kind.format("min"), kind.format("max")
        if asked[least] > asked[most]:
            raise CampaignError(
                f"measure: {most} must be at least {least}; they are {asked[most]} and {asked[least]}"
                f"{'' if {least, most} <= set(measure) else ', one of them by default'}."
            )


def _check_settings(experiment: str, settings: Mapping[str, Any]) -> None:
    """Each setting must be what its Hydra file has there: Hydra itself would say so only when the job has begun."""
    known = _read(HYDRA_DIR / "experiment" / f"{experiment}.yaml")
    known = {key: value for key, value in known.items() if key not in ("defaults", "name")}
    where = f"experiments.{experiment}.settings"
    if unknown := sorted(set(settings) - set(known)):
        raise CampaignError(
            f"{where}: unknown key {', '.join(unknown)}; the keys here are {', '.join(sorted(known))}."
        )
    for key, value in settings.items():
        rule = _rule(known[key])
        if not Validator(rule).is_valid(value):
            raise CampaignError(
                f"{where}.{key}: {json.dumps(value)} does not fit; it is {rule['description']}."
            )
        if key in FILES and not (REPOSITORY / value).is_file():
            raise CampaignError(f"{where}.{key}: there is no file {value} in the repository.")


def _rule(usual: Any) -> dict[str, Any]:
    """The JSON schema of whatever is of the kind of `usual`: a text, a count, or a list of one of these."""
    if isinstance(usual, list):
        each = _rule(usual[0])
        return {
            "type": "array",
            "minItems": 1,
            "items": each,
            "description": f"a list, each {each['description']}",
        }
    if isinstance(usual, int):
        return {"type": "integer", "minimum": 1, "description": "a whole number from 1"}
    return {"type": "string", "description": "a text"}


def check_contexts(campaign: Mapping[str, Any], cells: Iterable[Cell], models_dir: str) -> None:
    """Raise CampaignError where a model is asked for more tokens than it has positions: by what its Hydra file says of
    its architecture, or the config of its checkpoint where that lies there already.

    models_dir: as jobs are told of it. Files are read once per model and workload, however many cells there are.
    """
    pairs = sorted({(cell.model, cell.workload) for cell in cells})
    asked = [(model, f"workload {name}", _composed("workload", name)) for model, name in pairs]
    for experiment, declared in campaign["experiments"].items():
        settings = _composed("experiment", experiment) | declared["settings"]
        settings["draft_tokens"] = max(declared.get("draft_tokens", [0]))
        models = {**campaign["axes"], **declared}["model"]
        asked += [(model, f"experiment {experiment}", settings) for model in models]
    for model, what, settings in asked:
        content = model_file(model)
        folder = model_folder(content, models_dir)
        known = content.get("architecture") or (checkpoint_config(folder) if folder else {})
        if reason := too_long_reason(known, runs_of(settings)):
            raise CampaignError(f"model {model}, {what}: {reason}; leave the one or the other out.")


def _composed(group: str, name: str) -> dict[str, Any]:
    """A Hydra file of numbers and texts with what it takes from the files of its group that it names."""
    content = _read(HYDRA_DIR / group / f"{name}.yaml")
    named = [base for base in content.get("defaults", []) if isinstance(base, str)]
    bases = [base for base in named if (HYDRA_DIR / group / f"{base}.yaml").exists()]
    return dict(item for base in bases for item in _composed(group, base).items()) | content


def _listed(pattern: Mapping[str, Any], axis: str) -> list[str]:
    values = pattern.get(axis, [])
    return values if isinstance(values, list) else [values]


def _check_baseline(campaign: Mapping[str, Any], cells: Iterable[Cell]) -> None:
    if not any(cell.matches(campaign["baseline"]) for cell in cells):
        raise CampaignError(
            f"baseline {json.dumps(campaign['baseline'])} matches no cell of campaign {campaign['campaign']};"
            " give the key baseline (precision bf16 where it is left out) values that its axes have."
        )
