"""The form of the library: what a reader and the hashes of code rely on."""

import ast
from collections import Counter

import pytest

from inferbench.settings.repository import SCRIPTS

LIBRARY = SCRIPTS / "inferbench"
MODULES = sorted(LIBRARY.rglob("*.py"))


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=str)
def test_an_init_holds_a_docstring_and_nothing_else(path):
    """A re-export would pull torch into the plan, and every module into every hash."""
    [only] = ast.parse(path.read_text()).body
    assert isinstance(only, ast.Expr) and isinstance(only.value.value, str)


def test_every_folder_is_a_package_with_its_docstring():
    folders = {path.parent for path in MODULES}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_modules_and_folders_stay_small():
    lines = {str(path.relative_to(LIBRARY)): len(path.read_text().splitlines()) for path in MODULES}
    assert not {name: count for name, count in lines.items() if count > 400}
    in_folder = Counter(path.parent.name for path in MODULES if path.name != "__init__.py")
    assert not {name: count for name, count in in_folder.items() if count > 15}


def asked_of_engines(path):
    """Lines that ask an engine or its stepper what it is, in a module outside `engines/`."""
    tree = ast.parse(path.read_text())
    kinds = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("inferbench.engines")
        for name in node.names
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        names = {
            part.id for argument in node.args for part in ast.walk(argument) if isinstance(part, ast.Name)
        }
        if node.func.id in ("isinstance", "issubclass", "type") and names & kinds:
            yield node.lineno
        if node.func.id in ("hasattr", "getattr") and names & {"engine", "stepper", "decoder"}:
            yield node.lineno


def test_nobody_outside_the_engines_asks_which_one_it_is():
    outside = [path for path in MODULES if path.parent != LIBRARY / "engines"]
    found = {str(path.relative_to(LIBRARY)): list(asked_of_engines(path)) for path in outside}
    assert not {name: lines for name, lines in found.items() if lines}


def test_asking_an_engine_is_noticed(tmp_path):
    path = tmp_path / "measure.py"
    path.write_text(
        "from inferbench.engines.decoding import LoopDecoder\n"
        "def run(stepper):\n"
        "    isinstance(stepper, LoopDecoder)\n"
        "    return getattr(stepper, 'graph', None)\n"
    )
    assert list(asked_of_engines(path)) == [3, 4]
