"""A sweep as a person writes it: which dictionaries it means, and what is refused."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from monosemy.foundation.errors import UserError
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.sweep import SHARED, find_sweep, make_sweep, parse_over, value_of
from monosemy.training.objectives import ObjectiveConfig

BASE = DictionaryRecipe()


def refused(*given) -> str:
    with pytest.raises(UserError) as caught:
        make_sweep(*given)
    return str(caught.value)


def test_every_combination_has_a_recipe_and_a_name():
    sweep = make_sweep(BASE, {"k": ["16", "32"], "objective.l1": [0.1, 0.05], "seed": [0]})
    assert list(sweep.recipes) == [
        "k=16,l1=0.1,seed=0", "k=16,l1=0.05,seed=0", "k=32,l1=0.1,seed=0", "k=32,l1=0.05,seed=0",
    ]  # fmt: skip
    chosen = sweep.recipes["k=32,l1=0.05,seed=0"]
    assert (chosen.k, chosen.objective.l1, chosen.objective.k_start) == (32, 0.05, 64)
    assert sweep.changes("k=16,l1=0.1,seed=0") == {"k": 16, "objective.l1": 0.1, "seed": 0}
    assert sweep.to_json()["dictionaries"]["k=32,l1=0.1,seed=0"]["k"] == 32


def test_names_are_fit_for_folders_and_tell_keys_apart():
    over = {"site": ["blocks.*.hook_resid_pre, model.norm:in"], "structure": ["crosscoder"]}
    (name,) = make_sweep(BASE, over).recipes
    assert name == "site=blocks._.hook_resid_pre,_model.norm_in,structure=crosscoder"
    assert not set(name) & set('/\\:*?"<>| ')
    shares = make_sweep(BASE, {"objective.prefixes": [[0.5, 1], [0.25, 1]]})
    assert list(shares.recipes) == ["prefixes=0.5+1", "prefixes=0.25+1"]


def test_variants_are_combined_with_the_sweep():
    variants = [{"name": "wide", "latents": 8192}, {"k": 8, "selection": "topk"}]
    sweep = make_sweep(BASE, {"seed": [0, 1]}, variants)
    assert list(sweep.recipes) == [
        "wide,seed=0", "wide,seed=1", "k=8,selection=topk,seed=0", "k=8,selection=topk,seed=1",
    ]  # fmt: skip
    assert sweep.recipes["wide,seed=1"].latents == 8192
    assert sweep.recipes["wide,seed=1"].k == BASE.k
    assert sweep.varied == ("latents", "k", "selection", "seed")


def test_the_shared_keys_are_fields_and_none_of_them_may_be_swept():
    assert set(SHARED) <= {field.name for field in fields(DictionaryRecipe)}
    for key in SHARED:
        assert refused(BASE, {key: [value_of(BASE, key)]}) == (
            f"{key} cannot be swept: every dictionary learns from the same stream; "
            f"give it once, as in --set {key}=VALUE"
        )
    make_sweep(BASE, {"latents": [64]})  # what is not shared may


def test_all_reasons_are_told_at_once():
    over = {"batch": [1], "latens": [8], "k": ["x", 9], "seed": 3, "latents": [8, 16]}
    assert refused(BASE, over).splitlines() == [
        "this sweep has 5 problems:",
        "  - batch cannot be swept: every dictionary learns from the same stream; give it once, as "
        "in --set batch=VALUE",
        "  - unknown key 'latens'; did you mean 'latents'?",
        "  - seed = 3; wanted a list of values, one or more",
        "  - k = x, latents = 8: k = 'x'; wanted a whole number",
        "  - k = 9, latents = 8: k = 9 for 8 latents; wanted 1 <= k <= latents",
    ]


def test_nothing_swept_and_the_same_twice_are_refused():
    assert refused(BASE, {}) == (
        "nothing is swept; give --over KEY=VALUE,VALUE, a table [sweep] or tables [[variant]]"
    )
    assert refused(BASE, {"k": []}) == "k = []; wanted a list of values, one or more"
    assert refused(BASE, {"k": [16, "16"]}) == (
        "two dictionaries are called k=16; give each a name or values of its own"
    )


def test_what_reads_no_shared_activations_is_refused():
    over = {"end_to_end.loss": ["none", "kl"]}
    assert refused(replace(BASE, objective=ObjectiveConfig(aux=0)), over) == (
        "end_to_end.loss = kl: end-to-end training reads text, not the activations that a sweep "
        "shares; train it alone"
    )
    make_sweep(BASE, {"end_to_end.loss": ["none"]})


def test_over_is_parsed_from_words():
    assert parse_over(["k=16, 32", "objective.prefixes=0.5,1;1"]) == {
        "k": ["16", "32"],
        "objective.prefixes": ["0.5,1", "1"],
    }
    with pytest.raises(UserError) as caught:
        parse_over(["k"])
    assert str(caught.value) == "--over 'k': wanted KEY=VALUE,VALUE, as in --over k=16,32,64"


def test_a_sweep_is_a_table_in_a_recipe(tmp_path: Path):
    path = tmp_path / "my.toml"
    path.write_text(
        "latents = 64\n[sweep]\nk = [4, 8]\nobjective.l1 = [0.5]\n[[variant]]\nname = 'a'\n"
        "selection = 'topk'\n[[variant]]\nselection = 'relu'\noptim.clip = 0.5\n",
        encoding="utf-8",
    )
    sweep = find_sweep(str(path), {"k": ["2"]}, {"latents": "32"})
    assert list(sweep.recipes) == ["a,k=2,l1=0.5", "selection=relu,clip=0.5,k=2,l1=0.5"]
    last = sweep.recipes["selection=relu,clip=0.5,k=2,l1=0.5"]
    assert (last.latents, last.optim.clip, last.objective.l1, last.k) == (32, 0.5, 0.5, 2)
    assert find_sweep("demo", {"k": ["2"]}, {}).recipes["k=2"].latents == 4096


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k = ", "is not TOML"),
        ("sweep = 3", "wanted a table [sweep] and tables [[variant]]"),
        ("latens = 3\n[sweep]\nk = [1]", "unknown key 'latens'; did you mean 'latents'?"),
        ("[sweep]\nk = 16", "k = 16; wanted a list of values, one or more"),
        ("[sweep]\noptim.clipp = [1]", "unknown key 'optim.clipp'; did you mean 'optim.clip'?"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, text, message):
    path = tmp_path / "my.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        find_sweep(str(path), {}, {})
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"no recipe at .*none\.toml: no such file"):
        find_sweep(str(tmp_path / "none.toml"), {}, {})
