"""What a number depends on, as hashes: what the cell means, and the code that measured it.

Both are made from files, without Hydra and without importing what they hash, so that ten thousand
cells cost little while the workflow is planned.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from inferbench.cells import GROUPS

SCRIPTS = Path(__file__).resolve().parents[1]
REPOSITORY = SCRIPTS.parent
HYDRA_DIR = REPOSITORY / "config" / "hydra"
#: Overrides that say who asked and where things lie, not what is measured.
LOGISTICS = ("output", "campaign", "cell", "replicate", "fingerprint", "models_dir", "cache_dir")


def digest(*parts: Any) -> str:
    """16 hex digits of the SHA-256 of the parts as sorted JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def cell_fingerprint(overrides: Iterable[str]) -> str:
    """Hash of all that the overrides compose: Hydra files, nested defaults, prompts, environment lock.

    Only what YAML means counts: comments and the order of keys do not. The overrides' order does not
    count either, nor do those in LOGISTICS.
    """
    chosen = dict(override.split("=", 1) for override in overrides)
    settings = {key: value for key, value in chosen.items() if key not in (*LOGISTICS, *GROUPS)}
    groups = {**_default_groups(), **{group: chosen[group] for group in GROUPS if group in chosen}}
    files = {group: _group_fingerprint(group, name) for group, name in groups.items()}
    role = "benchmark-gpu" if settings.get("device") == "cuda" else "benchmark-cpu"
    return digest(files, settings, _yaml_fingerprint(HYDRA_DIR / "benchmark.yaml"), _lock_fingerprint(role))


def manifest_name(model: str) -> str:
    """File name, in the models' folder, of the manifest of a model as its Hydra file describes it now.

    A model described otherwise has another manifest, so whoever looks for it finds that it is not made.
    """
    return f"{model}-{_group_fingerprint('model', model)}.json"


@cache
def _default_groups() -> dict[str, str]:
    defaults = _load_yaml(HYDRA_DIR / "benchmark.yaml")["defaults"]
    entries = (item for entry in defaults if isinstance(entry, dict) for item in entry.items())
    return {group: name for group, name in entries if group in GROUPS}


@cache
def _group_fingerprint(group: str, name: str) -> str:
    """Hash of one option of a Hydra group, with the options that its defaults list names."""
    content = _load_yaml(HYDRA_DIR / group / f"{name}.yaml")
    nested = [entry for entry in content.get("defaults", []) if entry != "_self_"]
    prompts = content.get("prompts")
    return digest(
        content,
        [_group_fingerprint(group, option) for option in nested],
        _yaml_fingerprint(REPOSITORY / prompts) if prompts else None,
    )


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
def code_hash(entry: str = "inferbench/worker.py") -> str:
    """Hash of a script below scripts/ and of the modules of this package that it imports, by default of
    the measuring process.

    Comments and docstrings do not count, nor does the layout: what is hashed is the syntax tree.
    """
    trees = {}
    waiting = [entry]
    while waiting:
        file = waiting.pop()
        if file not in trees:
            tree, imported = _parsed(file)
            trees[file] = tree
            waiting += imported
    return digest(trees)


@cache
def _parsed(file: str) -> tuple[str, list[str]]:
    """(hash of the syntax tree, files of this package that it imports)."""
    tree = ast.parse((SCRIPTS / file).read_text())
    imported = [f"inferbench/{name}.py" for name in _imported_modules(tree)]
    return digest(_plain(_without_docstrings(tree))), imported


def _imported_modules(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "inferbench":
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("inferbench."):
            names.append(node.module.split(".")[1])
    return [name for name in names if (SCRIPTS / "inferbench" / f"{name}.py").exists()]


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
