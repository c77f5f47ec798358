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
