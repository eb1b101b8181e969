"""The tree is the table of contents: README names its folders, and tests mirror its modules."""

import re
from pathlib import Path

import pytest

PACKAGE = Path("src") / "monosemy"
# Modules without a test file of their own, and why.
GPU = ("above", "entries", "largest", "rows", "tiles")
VERBS = ("capture", "demo", "doctor", "evaluate", "sites", "specimen", "train")
# A format too long for one file, and what it is divided into.
PARTS = {
    "circuit_tracer": ("circuit_tracer_reading", "circuit_tracer_writing"),
    "dictionary_learning": ("dictionary_learning_reading", "dictionary_learning_writing"),
    "gemma_scope": ("gemma_layers", "gemma_names"),
    "llamascopium": ("llamascopium_kinds", "llamascopium_settings"),
}
EXCEPTIONS = {
    **{f"cli/{verb}.py": "tests/cli/test_verbs.py runs every verb" for verb in VERBS},
    **{f"tensors/triton/{name}.py": "tests/tensors/triton_cases.py runs it" for name in GPU},
    **{
        f"dictionaries/foreign/{part}.py": f"test_{whole}.py reads and writes with it"
        for whole, parts in PARTS.items()
        for part in parts
    },
    "dictionaries/foreign/format.py": "what every format says of itself; test_formats.py asks it",
    "explanation/archive_arrays.py": "test_archive_invariants.py leads every read out of bounds",
    "explanation/archive_columns.py": "a table that test_archive_layout.py compares with the page",
    "explanation/archive_examples.py": "tests/explanation/test_archive.py reads with it",
    "explanation/archive_features.py": "tests/explanation/test_archive.py reads with it",
    "explanation/archive_notes_schema.py": "test_archive_notes.py writes, merges and refuses with it",
    "explanation/archive_records.py": "what test_archive.py is answered with",
    "explanation/archive_neuronpedia_reading.py": "test_archive_neuronpedia.py goes there and back",
    "recipes/sweep_places.py": "test_sweeping.py opens, plans and refuses whole sweeps with it",
    "training/objective_config.py": "tests/training/test_objectives.py refuses and uses every key",
    "reports/allocation.py": "tests/recipes/test_allocation_study.py writes everything with it",
    "reports/allocation_numbers.py": "tests/recipes/test_allocation_study.py writes a page with it",
    "reports/allocation_page.py": "tests/recipes/test_allocation_study.py writes a page with it",
    "cli/options.py": "options of the verbs, which tests/cli/test_verbs.py runs",
    "data/documents.py": "a text and its name; tests/data/test_files.py reads them",
    "data/labels/spans.py": "what a label is; tests/data/labels reads and assigns them",
    "evaluation/structure/results.py": "what gathering fills; test_gathering.py beside it asks it",
    "cli/laboratory/pages.py": "tests/cli/test_lab.py runs every instrument",
    "evaluation/tally.py": "what measure gathers; tests/evaluation/test_measure.py compares it",
    **{
        f"data/concepts/{name}.py": "tests/data/concepts/test_python.py says by hand what it marks"
        for name in ("expressions", "nodes", "python_set", "python_words", "syntax")
    },
    "evaluation/probing/ranks.py": "test_single.py beside it compares it with one column at a time",
    "__main__.py": "one line that calls the command line, which tests/cli runs",
    "growth/families.py": "a table that tests/growth/test_expand.py tries on every family",
    "models/families.py": "a table that tests/models/test_sites.py compares with real models",
    "tensors/compiled/jit.py": "two lines of options; tests/tensors compares what they compile",
    "tensors/portable.py": "tests/tensors/test_keeping.py and test_summing.py, with every backend",
    "tensors/axes.py": "names of axes only; every signature that uses them is checked in all tests",
    "tensors/compiled/branches.py": "tests/tensors/test_branches.py compares it with its twin",
    "tensors/plain_branches.py": "the twin that tests/tensors/test_branches.py compares with",
    "tensors/plain.py": "the twin that tests/tensors compares every backend with",
}


def folders_in(readme: str) -> set[str]:
    """Folders of the package that the README's tree names."""
    block = re.search(r"^```\w*\n(src/monosemy/?.*?)^```", readme, re.MULTILINE | re.DOTALL)
    tree = block[1].split("\n", 1)[1] if block else ""
    inside = re.match(r"(?:^[ │├└─|`+-].*\n)*", tree, re.MULTILINE)
    assert inside is not None
    return set(re.findall(r"^[ │├└─|`+-]*([a-z_]+)/", inside[0], re.MULTILINE))


def folders_of(package: Path) -> set[str]:
    """Floors that the package has."""
    return {path.parent.name for path in package.glob("*/__init__.py")}


def untested(root: Path) -> list[str]:
    """Modules without a test file in the mirrored place."""
    package = root / PACKAGE
    modules = [path.relative_to(package) for path in sorted(package.rglob("*.py"))]
    return [
        module.as_posix()
        for module in modules
        # A folder's __init__ is a sentence about it; the package's own is held by test_names.
        if module.name != "__init__.py"
        and module.as_posix() not in EXCEPTIONS
        and not (root / "tests" / module.parent / f"test_{module.name}").exists()
    ]


def test_readme_shows_the_tree(root: Path) -> None:
    if not (root / "README.md").exists():
        pytest.skip("there is no README yet")
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert folders_in(readme) == folders_of(root / PACKAGE)


def test_the_tree_is_read_from_the_readme() -> None:
    readme = "# x\n```text\nsrc/monosemy/\n  cli/      words\n  data/     text\ntests/  t\n```\n"
    assert folders_in(readme) == {"cli", "data"}
    drawn = "```\nsrc/monosemy\n├── cli/   words\n└── data/  text\ndocs/\n```\n"
    assert folders_in(drawn) == {"cli", "data"}
    assert folders_in("no tree") == set()


def test_every_module_has_its_tests(root: Path) -> None:
    assert untested(root) == []


def test_every_exception_is_still_one(root: Path) -> None:
    for name in EXCEPTIONS:
        module = Path(name)
        assert (root / PACKAGE / module).exists()
        assert not (root / "tests" / module.parent / f"test_{module.name}").exists()


def test_a_module_without_tests_is_found(tmp_path: Path) -> None:
    for name in ("__init__.py", "data/__init__.py", "data/tested.py", "data/bare.py"):
        path = tmp_path / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "tests" / "data").mkdir(parents=True)
    (tmp_path / "tests" / "data" / "test_tested.py").touch()
    assert untested(tmp_path) == ["data/bare.py"]


def test_every_folder_says_what_it_is(root: Path) -> None:
    for path in (root / PACKAGE).rglob("__init__.py"):
        assert path.read_text(encoding="utf-8").startswith('"""'), path
