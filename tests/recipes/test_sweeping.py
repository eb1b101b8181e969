"""Several dictionaries from one stream are those that would have come alone."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from monosemy.data.capture import capture
from monosemy.dictionaries import files
from monosemy.evaluation.measure import SEVERAL_MODELS
from monosemy.foundation.errors import Interrupted, UserError
from monosemy.recipes import sweep_places, sweeping
from monosemy.recipes.dictionary import read_run, train_dictionary
from monosemy.recipes.evaluation import evaluate
from monosemy.recipes.setting import open_setting
from monosemy.recipes.sweep import make_sweep
from monosemy.recipes.sweep_places import plan_sweep
from monosemy.recipes.sweeping import run_sweep, train_sweep
from monosemy.training import loop
from monosemy.training.journal import read_metrics
from monosemy.training.local_config import LocalConfig
from monosemy.training.objectives import ObjectiveConfig

BEFORE, OTHER = "blocks.0.hook_resid_pre", "blocks.0.hook_resid_post"
MIDDLE, WRITTEN = "blocks.0.hook_resid_mid", "blocks.0.hook_mlp_out"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """So that what is alone sums in the order of what is not."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def same(one, other) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_each_is_the_dictionary_that_comes_alone(recipe, tmp_path):
    sweep = make_sweep(recipe, {"k": [2, 4], "selection": ["topk", "batchtopk"]})
    found = train_sweep(sweep, tmp_path / "sweep")
    for name, own in sweep.recipes.items():
        alone = train_dictionary(own, tmp_path / name)
        assert same(found[name], alone), name
        saved = files.load(tmp_path / "sweep" / name / "dictionary")
        assert torch.equal(saved.W_dec, alone.W_dec)
    first, second, *_ = found.values()
    assert not same(first, second)


@pytest.mark.parametrize("encoder", ["local", "hierarchical"])
def test_dictionaries_with_children_learn_side_by_side_as_alone(recipe, tmp_path, encoder):
    config = LocalConfig(children=2, rank=2, begin=0.2, times=1)
    if encoder == "hierarchical":
        config = LocalConfig(children=2, rank=2)
    objective = ObjectiveConfig(k_start=6)
    base = replace(
        recipe, encoder=encoder, selection="batchtopk", k=4, local=config, objective=objective
    )
    sweep = make_sweep(base, {"local.share": [0.25, 0.5]})
    found = train_sweep(sweep, tmp_path / "sweep")
    for name, own in sweep.recipes.items():
        assert same(found[name], train_dictionary(own, tmp_path / name)), name
    first, second = found.values()
    assert not same(first, second)


def test_seeds_differ_and_the_first_is_alone(recipe, tmp_path):
    found = train_sweep(make_sweep(recipe, {"seed": [0, 1]}), tmp_path / "sweep")
    assert same(found["seed=0"], train_dictionary(recipe, tmp_path / "alone"))
    assert not torch.equal(found["seed=0"].W_dec, found["seed=1"].W_dec)


def test_each_folder_is_a_run(recipe, tmp_path):
    sweep = make_sweep(recipe, {"objective.l1": [0.0, 0.5], "latents": [16, 32]})
    train_sweep(sweep, tmp_path)
    for name, own in sweep.recipes.items():
        assert read_run(tmp_path / name) == own
    measured = evaluate(tmp_path / "l1=0.5,latents=16", tokens=200, random_model=False)
    assert measured.to_json()["dictionary"]["latents"] == 16
    last = read_metrics(tmp_path / "l1=0.5,latents=16")[-1]
    assert {"step", "loss", "fvu", "l0", "tokens_per_second"} <= set(last)
    assert not [key for key in last if "/" in key]
    whole = read_metrics(tmp_path)[-1]
    assert whole["l1=0.5,latents=16/fvu"] == last["fvu"]
    assert whole["loss"] != last["loss"]


def test_one_of_them_is_not_gone_on_with_alone(recipe, tmp_path):
    train_sweep(make_sweep(recipe, {"k": [2]}), tmp_path)
    with pytest.raises(UserError, match=r"holds a run with source = \{'rows'.*not '"):
        train_dictionary(read_run(tmp_path / "k=2"), tmp_path / "k=2")


def test_a_stopped_sweep_goes_on_bit_for_bit(recipe, tmp_path, monkeypatch):
    sweep = make_sweep(recipe, {"k": [2, 4], "optim.learning_rate": [0.01, 0.003]})
    whole = train_sweep(sweep, tmp_path / "whole")
    steps = []

    def stopping(*given):
        steps.append(given)
        if len(steps) == 8:
            raise Interrupted("stopped")
        return real(*given)

    real = loop.advance
    monkeypatch.setattr(loop, "advance", stopping)
    with pytest.raises(Interrupted):
        train_sweep(sweep, tmp_path / "stopped")
    monkeypatch.setattr(loop, "advance", real)
    found = train_sweep(sweep, tmp_path / "stopped")
    assert all(same(found[name], whole[name]) for name in whole)
    with pytest.raises(UserError, match="holds a run with dictionaries"):
        train_sweep(make_sweep(recipe, {"k": [2, 8]}), tmp_path / "stopped")


def test_all_are_measured_together_and_alike(recipe, tmp_path):
    sweep = make_sweep(recipe, {"k": [2, 4], "seed": [0, 1]})
    report = run_sweep(sweep, tmp_path, tokens=300)
    assert json.loads((tmp_path / "sweep.json").read_text()) == report
    assert (tmp_path / "pareto.svg").read_text().rstrip().endswith("</svg>")
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert [entry["name"] for entry in report["dictionaries"]] == list(sweep.recipes)
    entry = report["dictionaries"][0]
    assert entry["changes"] == {"k": 2, "seed": 0}
    alone = evaluate(tmp_path / "k=2,seed=0", tokens=300, random_model=False).to_json()
    assert entry["dictionary"] == alone["dictionary"]
    for name in ("l0", "explained_variance", "ce_recovered_zero"):
        assert entry["metrics"][name]["value"] == pytest.approx(alone["metrics"][name]["value"])
    assert report["text"] == alone["text"]


# --- several sites -------------------------------------------------------------------------------


@pytest.fixture
def places(recipe):
    """A sweep over two sites, a crosscoder of both and a transcoder between them."""
    both = f"{recipe.site},{OTHER}"
    variants = [
        {"name": "one"},
        {"name": "other", "site": OTHER},
        {"name": "cross", "site": both, "structure": "crosscoder"},
        {"name": "trans", "site": BEFORE, "target": OTHER, "structure": "transcoder"},
    ]
    return make_sweep(recipe, {"k": [3]}, variants)


def test_one_pass_reads_all_sites_and_each_gets_its_own(places, tmp_path, monkeypatch):
    opened = []
    real = sweep_places.open_setting
    monkeypatch.setattr(
        sweep_places, "open_setting", lambda *a, **k: opened.append(a[0].site) or real(*a, **k)
    )
    found = train_sweep(places, tmp_path / "sweep")
    assert len(opened) == 1
    for name, own in places.recipes.items():
        alone = train_dictionary(own, tmp_path / name)
        assert same(found[name], alone), name


STRUCTURES = [
    {"name": "auto", "site": OTHER},
    {"name": "trans", "site": BEFORE, "target": OTHER, "structure": "transcoder"},
    {"name": "skip", "site": BEFORE, "target": OTHER, "structure": "skip_transcoder"},
    {"name": "cross", "site": f"{BEFORE},{OTHER}", "structure": "crosscoder"},
    {
        "name": "layers",
        "site": f"{BEFORE},{MIDDLE}",
        "target": f"{WRITTEN},{OTHER}",
        "structure": "cross_layer",
    },
]


def test_every_structure_is_measured_as_it_is_alone(recipe, tmp_path, monkeypatch):
    groups = []
    real = sweeping.measure
    monkeypatch.setattr(
        sweeping, "measure", lambda *a, **k: groups.append(list(a[2])) or real(*a, **k)
    )
    report = run_sweep(make_sweep(recipe, {"k": [3]}, STRUCTURES), tmp_path, tokens=200)
    found = {entry["name"]: entry for entry in report["dictionaries"]}
    assert found["trans,k=3"]["site"] == f"{BEFORE} -> {OTHER}"
    for name, entry in found.items():
        alone = evaluate(tmp_path / name, tokens=200, random_model=False).to_json()
        assert alone["metrics"].keys() == entry["metrics"].keys()
        for metric, number in alone["metrics"].items():
            assert entry["metrics"][metric]["value"] == pytest.approx(number["value"]), metric
        assert entry["metrics"]["ce_recovered_zero"]["value"] is not None
    assert ["trans,k=3", "skip,k=3"] in groups
    assert len(groups) == 4, "one pass for each place"


def test_between_models_nothing_is_spliced(recipe, model_folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(model_folder, other)
    both = replace(recipe, compare_with=str(other), structure="crosscoder")
    report = run_sweep(make_sweep(both, {"k": [3, 4]}), tmp_path / "sweep", tokens=200)
    for entry in report["dictionaries"]:
        assert entry["metrics"]["explained_variance"]["value"] > 0
        assert entry["metrics"]["ce_recovered_zero"] == {
            "value": None, "low": None, "high": None, "note": SEVERAL_MODELS
        }  # fmt: skip


def test_places_that_do_not_do_are_refused_before_text_is_packed(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(
        sweep_places, "open_setting", lambda *a, **k: pytest.fail("text was packed")
    )
    same_place = {"site": BEFORE, "target": BEFORE, "structure": "transcoder"}
    variants = [
        *STRUCTURES,
        {"name": "same", **same_place},
        {"name": "again", **same_place},
        {
            "name": "uneven",
            "site": BEFORE,
            "target": f"{WRITTEN},{OTHER}",
            "structure": "cross_layer",
        },
    ]
    for refused in (train_sweep, lambda sweep, _: plan_sweep(sweep)):
        with pytest.raises(UserError) as caught:
            refused(make_sweep(recipe, {"k": [3]}, variants), tmp_path)
        assert str(caught.value).splitlines() == [
            "this sweep has 2 problems:",
            f"  - same,k=3: site and target are both {BEFORE}; an autoencoder would do",
            "  - uneven,k=3: a cross-layer transcoder reads and writes as many places, all of one "
            f"width; site: {BEFORE} (16); target: {WRITTEN} (16), {OTHER} (16)",
        ]


def test_shards_serve_as_well(recipe, tmp_path):
    setting = open_setting(replace(recipe, site=f"{recipe.site},{OTHER}", structure="crosscoder"))
    shards = tmp_path / "shards"
    capture(setting.loaded, list(setting.places.reads), setting.contexts, shards)
    over = {"site": [recipe.site, OTHER], "k": [3]}
    live = train_sweep(make_sweep(recipe, over), tmp_path / "live")
    read = train_sweep(make_sweep(replace(recipe, shards=str(shards)), over), tmp_path / "read")
    assert all(same(live[name], read[name]) for name in live)
    wrong = [{"name": "a", "site": OTHER, "target": OTHER, "structure": "transcoder"}]
    sweep = make_sweep(replace(recipe, shards=str(shards)), {"k": [3]}, wrong)
    with pytest.raises(UserError, match=f"site and target are both {OTHER}"):
        train_sweep(sweep, tmp_path / "wrong")


# --- memory --------------------------------------------------------------------------------------


def test_the_plan_adds_up(recipe):
    made = plan_sweep(make_sweep(recipe, {"latents": [16, 4096], "seed": [0, 1]}))
    small, _, large, _ = made["dictionaries"]
    assert small["changes"] == {"latents": 16, "seed": 0}
    assert small["memory_mib"] < large["memory_mib"]
    memory = made["memory_mib"]
    assert memory["dictionaries"] == sum(one["memory_mib"] for one in made["dictionaries"])
    assert memory["total"] == sum(size for name, size in memory.items() if name != "total")
    assert made["steps"] == recipe.steps


def test_too_much_memory_is_refused_before_text_is_packed(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(
        sweep_places, "open_setting", lambda *a, **k: pytest.fail("text was packed")
    )
    sweep = make_sweep(replace(recipe, memory=200), {"latents": [4096, 65_536]})
    with pytest.raises(UserError) as caught:
        train_sweep(sweep, tmp_path)
    assert "for 2 dictionaries), and memory = 200 allows less; sweep over fewer" in str(
        caught.value
    )
    assert not list(tmp_path.iterdir())
