from dataclasses import dataclass, field
from pathlib import Path

import pytest

from monosemy.foundation.errors import UserError
from monosemy.recipes.catalogue import find_recipe
from monosemy.recipes.config import from_python, from_toml, keys_of, override
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.training.optim import OptimConfig


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    pair: tuple[float, float] = (0.9, 0.99)


@dataclass(frozen=True)
class Recipe:
    name: str = "plain"
    count: int = 3
    limit: int | None = None
    path: str | None = None
    on: bool = False
    inner: Inner = field(default_factory=Inner)


def reasons(caught: pytest.ExceptionInfo) -> list[str]:
    return [line.removeprefix("  - ") for line in str(caught.value).splitlines()]


def test_nothing_changed_is_the_same_recipe():
    assert override(Recipe(), {}) == Recipe()


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"name": "other"}, "name", "other"),
        ({"count": "12"}, "count", 12),
        ({"count": "1_000"}, "count", 1000),
        ({"count": "1e3"}, "count", 1000),
        ({"count": 7.0}, "count", 7),
        ({"limit": "5"}, "limit", 5),
        ({"limit": "none"}, "limit", None),
        ({"limit": None}, "limit", None),
        ({"path": "acts"}, "path", "acts"),
        ({"path": "none"}, "path", None),
        ({"path": ""}, "path", None),
        ({"on": "true"}, "on", True),
        ({"on": "False"}, "on", False),
        ({"on": True}, "on", True),
    ],
)
def test_values_are_read_as_their_type(changes, key, value):
    found = getattr(override(Recipe(limit=9, path="x"), changes), key)
    assert found == value
    assert type(found) is type(value)


def test_a_dotted_key_and_a_table_reach_inside():
    expected = Recipe(inner=Inner(rate=0.25))
    assert override(Recipe(), {"inner.rate": "0.25"}) == expected
    assert override(Recipe(), {"inner": {"rate": 0.25}}) == expected
    both = override(Recipe(), {"inner.rate": "1", "inner.pair": "0.5,0.75"})
    assert both.inner == Inner(1.0, (0.5, 0.75))
    assert override(Recipe(), {"inner.pair": [0.5, 0.75]}).inner.pair == (0.5, 0.75)


def test_the_recipe_itself_is_left_alone():
    before = Recipe()
    override(before, {"count": "12", "inner.rate": "1"})
    assert before == Recipe()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coutn": "1"}, "unknown key 'coutn'; did you mean 'count'?"),
        ({"inner.rte": "1"}, "unknown key 'inner.rte'; did you mean 'inner.rate'?"),
        (
            {"zzz": "1"},
            "unknown key 'zzz'; known: name, count, limit, path, on, inner.rate, inner.pair",
        ),
        ({"inner.zzzzzzzzz": "1"}, "unknown key 'inner.zzzzzzzzz'; known: inner.rate, inner.pair"),
        ({"inner": "1"}, "inner is a table (inner.rate, inner.pair)"),
        ({"count": "many"}, "count = 'many'; wanted a whole number"),
        ({"count": "1.5"}, "count = '1.5'; wanted a whole number"),
        ({"count": True}, "count = True; wanted a whole number"),
        ({"count": "inf"}, "count = 'inf'; wanted a whole number"),
        ({"count": [1]}, "count = [1]; wanted a whole number"),
        ({"count": None}, "count = None; wanted a whole number"),
        ({"count.x": "1"}, "count = {'x': '1'}; wanted a whole number"),
        ({"limit": "many"}, "limit = 'many'; wanted a whole number or none"),
        ({"on": "perhaps"}, "on = 'perhaps'; wanted true or false"),
        ({"on": 1.0}, "on = 1.0; wanted true or false"),
        ({"name": 3}, "name = 3; wanted text"),
        ({"inner.rate": "fast"}, "inner.rate = 'fast'; wanted a number"),
        ({"inner.rate": True}, "inner.rate = True; wanted a number"),
        ({"inner.pair": "0.9"}, "inner.pair = '0.9'; wanted 2 values, as in 0.9,0.999"),
        ({"inner.pair": 5}, "inner.pair = 5; wanted 2 values, as in 0.9,0.999"),
        ({"inner": "1", "inner.rate": "2"}, "inner.rate = '2' stands beside inner = '1'; give one"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(changes, message):
    with pytest.raises(UserError) as caught:
        override(Recipe(), changes)
    assert str(caught.value) == message


def test_a_nested_key_is_found_by_its_last_name():
    with pytest.raises(UserError) as caught:
        override(DictionaryRecipe(), {"learning_rate": "1"})
    assert str(caught.value).endswith("; did you mean 'optim.learning_rate'?")


def test_all_reasons_are_told_at_once():
    with pytest.raises(UserError) as caught:
        override(Recipe(), {"coutn": "1", "on": "perhaps", "inner.rte": "1", "count": "4"})
    assert reasons(caught) == [
        "this recipe has 3 problems:",
        "unknown key 'coutn'; did you mean 'count'?",
        "on = 'perhaps'; wanted true or false",
        "unknown key 'inner.rte'; did you mean 'inner.rate'?",
    ]


def test_the_keys_of_a_recipe_are_exactly_what_can_be_changed():
    keys = keys_of(DictionaryRecipe)
    assert {"latents", "optim.betas", "objective.aux_k", "random_model"} <= set(keys)
    assert len(keys) == len(set(keys))
    for key in keys:
        value = DictionaryRecipe()
        for name in key.split("."):
            value = getattr(value, name)
        # Every key takes its own value back, as text too.
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
        assert override(DictionaryRecipe(), {key: value}) == DictionaryRecipe()
        assert override(DictionaryRecipe(), {key: text}) == DictionaryRecipe()


def test_a_toml_file_changes_what_it_names(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'latents = 64\nshards = "acts"\n[optim]\nbetas = [0.5, 0.75]\n[objective]\nl1 = 1\n'
    )
    made = from_toml(path, DictionaryRecipe())
    assert made == find_recipe(str(path))
    assert (made.latents, made.shards, made.optim.betas) == (64, "acts", (0.5, 0.75))
    assert type(made.objective.l1) is float
    assert made.k == DictionaryRecipe().k
    assert made.optim.learning_rate == DictionaryRecipe().optim.learning_rate


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"latents = ", "is not TOML: "),
        (b"latents = '\xff'", "is not TOML: "),
        (b"latens = 4", "unknown key 'latens'; did you mean 'latents'?"),
        (b"latents = 2020-01-01", "wanted a whole number"),
        (b"optim = 3", "optim is a table (optim.learning_rate, "),
    ],
)
def test_a_wrong_toml_file_is_refused_in_words(tmp_path, content, message):
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(UserError) as caught:
        find_recipe(str(tmp_path / "mine.toml"))
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["none.toml", "none.py", "none.py:mine"])
def test_a_file_that_is_not_there_is_named(tmp_path, name):
    path = tmp_path / name.partition(":")[0]
    with pytest.raises(UserError) as caught:
        find_recipe(str(tmp_path / name))
    assert str(caught.value) == f"no recipe at {path}: no such file"


def test_a_folder_is_no_recipe(tmp_path):
    for name in ("folder.toml", "folder.py"):
        (tmp_path / name).mkdir()
        with pytest.raises(UserError, match="recipe at .*folder"):
            find_recipe(str(tmp_path / name))


PYTHON = """
from dataclasses import dataclass
from monosemy.recipes.recipe import DictionaryRecipe

@dataclass(frozen=True)
class Choice:
    latents: "int" = 64

def recipe():
    return DictionaryRecipe(latents=Choice().latents)

def wide():
    "Not the default one."
    return DictionaryRecipe(latents=128)

def wrong():
    return {"latents": 64}
"""


@pytest.fixture
def file(tmp_path) -> Path:
    (tmp_path / "mine.py").write_text(PYTHON)
    return tmp_path / "mine.py"


def test_a_python_file_gives_a_recipe(file):
    assert find_recipe(f"{file}:wide").latents == 128
    assert find_recipe(str(file)).latents == 64, "the function called recipe, where none is named"


def test_a_python_file_that_gives_something_else_is_refused(file):
    with pytest.raises(UserError) as caught:
        find_recipe(f"{file}:wrong")
    assert str(caught.value) == f"wrong() in {file} returned dict; wanted DictionaryRecipe"
    with pytest.raises(UserError, match="returned DictionaryRecipe; wanted OptimConfig"):
        from_python(file, "wide", OptimConfig)


def test_a_function_that_is_not_there_is_refused_with_those_that_are(file):
    with pytest.raises(UserError) as caught:
        find_recipe(f"{file}:wied")
    assert str(caught.value) == (
        f"no function 'wied' in {file}; it has: recipe, wide, wrong; did you mean 'wide'?"
    )


def test_an_unknown_recipe_is_refused_with_those_that_are():
    with pytest.raises(UserError) as caught:
        find_recipe("dmeo")
    assert str(caught.value) == (
        "unknown recipe 'dmeo'; built in: demo, residual, relu, jumprelu, gated, matryoshka, lista, "
        "matching_pursuit, local, hierarchical, "
        "transcoder, skip_transcoder, crosscoder, cross_layer, end_to_end; "
        "or FILE.toml, or FILE.py:FUNCTION; did you mean 'demo'?"
    )
