"""The front door: twenty names, found when they are first used, at no cost before."""

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import monosemy

ROOT = Path(monosemy.__file__).parent
MODULES = [found.name for found in pkgutil.walk_packages([str(ROOT)], "monosemy.")]

ALONE = """
import sys
import monosemy
dir(monosemy), monosemy.__all__
print(sorted({"torch", "transformers", "numpy", "click", "rich"} & set(sys.modules)))
monosemy.UserError
print(sorted({"torch", "transformers", "numpy"} & set(sys.modules)))
"""


def test_importing_the_package_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n[]\n", done.stderr


def test_the_check_above_can_fail():
    script = "import sys, monosemy; monosemy.Compute; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "True\n"


@pytest.mark.parametrize("name", monosemy.__all__)
def test_every_name_is_there(name):
    found = getattr(monosemy, name)
    assert callable(found)
    assert found.__doc__
    assert name in dir(monosemy)


def test_the_names_are_those_that_type_checkers_see():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname for line in block.body for alias in line.names}
    assert seen == set(monosemy.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'monosemy' has no attribute 'trian'"):
        monosemy.trian


def test_nothing_inside_imports_from_the_front_door():
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.module != "monosemy", path
                assert node.level == 0, path
            if isinstance(node, ast.Import) and path.name != "__main__.py":
                assert "monosemy" not in [alias.name for alias in node.names], path


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_every_module_is_importable_and_says_what_it_is(name):
    assert importlib.import_module(name).__doc__


@pytest.mark.parametrize(
    "name",
    [
        "monosemy",
        "monosemy.foundation.errors",
        "monosemy.training.optim",
        "monosemy.recipes.config",
        "monosemy.data.text",
    ],
)
def test_examples_in_docstrings_are_true(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed
