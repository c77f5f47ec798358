"""What a number depends on, as hashes: what the cell means, and the code that measured it.

Both are made from files, without Hydra and without importing what they hash, so that ten thousand
cells cost little while the workflow is planned.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from inferbench.plan.specs import GRID
from inferbench.settings.repository import HYDRA_DIR, REPOSITORY, SCRIPTS

#: Overrides that say who asked and where things lie, not what is measured.
LOGISTICS = ("output", "campaign", "cell", "replicate", "fingerprint", "models_dir", "cache_dir")
#: Keys of a Hydra file that name a file of the repository, whose content counts too.
FILES = ("prompts", "text", "code")
#: What a checkpoint is made of: no pickles, no code.
CHECKPOINT_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")


def digest(*parts: Any) -> str:
    """16 hex digits of the SHA-256 of the parts as sorted JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def cell_fingerprint(overrides: Iterable[str], primary: str = "benchmark", models_dir: str = "models") -> str:
    """Hash of all that the overrides compose: Hydra files, nested defaults, prompts and texts, environment lock, and
    which files a checkpoint has that nothing else pins (`brought_files`).

    primary: the Hydra file that they are given to. models_dir: the folder of the checkpoints, as jobs know it.
    Only what YAML means counts: comments and the order of keys do not. The overrides' order does not count either,
    nor do those in LOGISTICS. An override `group@package=name` chooses a Hydra file as `group=name` does.
    """
    chosen = dict(override.split("=", 1) for override in overrides)
    defaults = default_groups(primary)
    groups = defaults | {key: name for key, name in chosen.items() if key in defaults or "@" in key}
    settings = {key: value for key, value in chosen.items() if key not in (*LOGISTICS, *groups)}
    replaced = {key.split("@")[0] for key in chosen if "@" in key}
    files = {
        key: _group_fingerprint(key.split("@")[0], name, models_dir, frozenset(replaced))
        for key, name in groups.items()
    }
    # A setting may name another text or other prompts than the Hydra file does.
    named = [
        _file_fingerprint(REPOSITORY / path) for key, path in settings.items() if key.split(".")[-1] in FILES
    ]
    role = "benchmark-gpu" if settings.get("device") == "cuda" else "benchmark-cpu"
    return digest(
        files, settings, *named, _yaml_fingerprint(HYDRA_DIR / f"{primary}.yaml"), _lock_fingerprint(role)
    )


def manifest_name(model: str, models_dir: str) -> str:
    """File name, in the models' folder, of the manifest of a model as its Hydra file describes it now, and of the files
    that are in its folder where it is one that the user brings.

    A model described otherwise has another manifest, so whoever looks for it finds that it is not made.
    """
    return f"{model}-{_group_fingerprint('model', model, models_dir)}.json"


def brought_files(folder: Path) -> str | None:
    """Which files a checkpoint's folder has, by names, sizes and times of change (whole seconds: file systems keep
    fractions differently); None where there is no checkpoint, or its weights were deleted.

    A revision of a hub, a package and a seed pin their weights. In a folder that the user brings, others of the same
    shape can take their place at any time, and nothing but this says so without reading gigabytes.
    """
    if not ((folder / "config.json").exists() and any(folder.glob("*.safetensors"))):
        return None
    files = sorted({file for pattern in (*CHECKPOINT_FILES, "*.py") for file in folder.glob(pattern)})
    states = ((file.name, file.stat()) for file in files)
    return digest([(name, state.st_size, int(state.st_mtime)) for name, state in states])


def _identity(name: str, content: Mapping[str, Any], models_dir: str) -> str | None:
    """`brought_files` of a model that the user brings; of one whose folder is gone those that its manifest was of, so
    that what was measured of it stays done."""
    folder = model_folder(content, models_dir)
    if content.get("source") != "checkpoint" or content.get("hub_id") or folder is None:
        return None
    if found := brought_files(folder):
        return found
    for manifest in (REPOSITORY / models_dir).glob(f"{name}-{'[0-9a-f]' * 16}.json"):
        try:
            return json.loads(manifest.read_text(encoding="utf-8")).get("brought_files")
        except ValueError:
            pass
    return None


def model_folder(content: Mapping[str, Any], models_dir: str) -> Path | None:
    """The folder of the checkpoint that a model's Hydra file names; None where only Hydra can tell."""
    path = str(content.get("path")).replace("${models_dir}", models_dir)
    return None if "${" in path else REPOSITORY / path


@cache
def default_groups(primary: str) -> dict[str, str]:
    defaults = _load_yaml(HYDRA_DIR / f"{primary}.yaml")["defaults"]
    entries = (item for entry in defaults if isinstance(entry, dict) for item in entry.items())
    return {group: name for group, name in entries if not group.startswith("override ")}


@cache
def _group_fingerprint(group: str, name: str, models_dir: str, replaced: frozenset[str] = frozenset()) -> str:
    """Hash of one option of a Hydra group, with the options that its defaults list names (but for those
    of groups that an override has `replaced`) and the files that it names; of a model also its identity."""
    content = _load_yaml(HYDRA_DIR / group / f"{name}.yaml")
    nested = []
    for entry in content.get("defaults", []):
        if isinstance(entry, dict):
            [(target, option)] = entry.items()
            other = target.lstrip("/").split("@")[0]
            nested += [] if other in replaced else [_group_fingerprint(other, option, models_dir)]
        elif entry != "_self_" and (HYDRA_DIR / group / f"{entry}.yaml").exists():
            nested.append(_group_fingerprint(group, entry, models_dir))
    named = [_file_fingerprint(REPOSITORY / content[key]) for key in FILES if key in content]
    if group == "model" and (identity := _identity(name, content, models_dir)):
        named.append(identity)
    return digest(content, nested, named)


def _file_fingerprint(path: Path) -> str:
    return _yaml_fingerprint(path) if path.suffix == ".yaml" else digest(path.read_text())


@cache
def _yaml_fingerprint(path: Path) -> str:
    return digest(_load_yaml(path))


def _load_yaml(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def _lock_fingerprint(role: str) -> str:
    lines = (REPOSITORY / "envs" / f"{role}.txt").read_text().splitlines()
    return digest([pin for line in lines if (pin := line.split("#")[0].strip())])


@cache
def code_hash(*entries: str) -> str:
    """Hash of files below scripts/ and of the modules of this package that they import.

    Comments and docstrings do not count, nor does the layout: what is hashed is the syntax tree.
    """
    trees = {}
    waiting = list(entries)
    while waiting:
        file = waiting.pop()
        if file not in trees:
            tree, imported = _parsed(file)
            trees[file] = tree
            waiting += imported
    return digest(trees)


def measuring_code(experiment: str, engine: str, libraries: Iterable[str]) -> tuple[str, ...]:
    """Where the code that measures a job begins, as `code_hash` takes it: the process, and what it imports by name.

    engine: its module. libraries: those of every precision that it loads, of a draft or a reference too.
    """
    parts = ("measure",) if experiment == GRID else ("measure", "settings")
    return (
        "inferbench/run/worker.py",
        *(f"inferbench/experiments/{experiment}/{part}.py" for part in parts),
        f"inferbench/engines/{engine}.py",
        *(f"inferbench/precision/{library}.py" for library in sorted(set(libraries))),
    )


def named_code(config: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """(the engine's module, the libraries of every precision) of a job's resolved config, as `measuring_code` takes
    them. Raises KeyError where it names none."""
    return config["execution"]["module"], tuple(sorted(set(_libraries(config))))


def _libraries(config: Mapping[str, Any]) -> Iterator[str]:
    if "library" in config:
        yield config["library"]
    for value in config.values():
        if isinstance(value, Mapping):
            yield from _libraries(value)


@cache
def _parsed(file: str) -> tuple[str, list[str]]:
    """(hash of the syntax tree, files of this package that it imports)."""
    tree = ast.parse((SCRIPTS / file).read_text())
    imported = _imported_files(file, tree)
    return digest(_plain(_without_docstrings(tree))), imported


def _imported_files(file: str, tree: ast.Module) -> list[str]:
    """Files below scripts/ that this one imports, wherever the import stands and in whichever form, with the
    `__init__` of every package on the way; what is imported for a type checker alone is not."""
    package = file.split("/")[:-1]
    names: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        waiting += ast.iter_child_nodes(node)
    paths = {
        "/".join(parts[:end])
        for name in names
        if (parts := name.split("."))
        for end in range(1, len(parts) + 1)
    }
    files = {form for path in paths for form in (f"{path}.py", f"{path}/__init__.py")}
    return [file for file in files if (SCRIPTS / file).exists()]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                node.body = node.body[1:]
    return tree


def _plain(node: Any) -> Any:
    """A syntax tree as lists and strings, alike in every Python version: empty fields are left out."""
    if isinstance(node, ast.AST):
        fields = {name: _plain(value) for name, value in ast.iter_fields(node) if value not in (None, [])}
        return [type(node).__name__, fields]
    return [_plain(item) for item in node] if isinstance(node, list) else repr(node)
