"""Several dictionaries from one stream are those that would have come alone."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from monosemy.data.capture import capture
from monosemy.dictionaries import files
from monosemy.foundation.errors import Interrupted, UserError
from monosemy.recipes import sweeping
from monosemy.recipes.dictionary import read_run, train_dictionary
from monosemy.recipes.evaluation import evaluate
from monosemy.recipes.setting import open_setting
from monosemy.recipes.sweep import make_sweep
from monosemy.recipes.sweeping import NOT_MEASURED, plan_sweep, run_sweep, train_sweep
from monosemy.training import loop
from monosemy.training.journal import read_metrics

BEFORE, OTHER = "blocks.0.hook_resid_pre", "blocks.0.hook_resid_post"


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
    real = sweeping.open_setting
    monkeypatch.setattr(
        sweeping, "open_setting", lambda *a, **k: opened.append(a[0].site) or real(*a, **k)
    )
    found = train_sweep(places, tmp_path / "sweep")
    assert len(opened) == 1
    for name, own in places.recipes.items():
        alone = train_dictionary(own, tmp_path / name)
        assert same(found[name], alone), name


def test_what_is_not_an_autoencoder_says_that_it_was_not_measured(places, tmp_path):
    report = run_sweep(places, tmp_path, tokens=200)
    found = {entry["name"]: entry for entry in report["dictionaries"]}
    assert found["one,k=3"]["metrics"]["l0"]["value"] > 0
    assert found["other,k=3"]["site"] == OTHER
    assert found["cross,k=3"]["metrics"] is None
    assert found["trans,k=3"]["note"] == NOT_MEASURED


def test_shards_serve_as_well(recipe, tmp_path):
    setting = open_setting(replace(recipe, site=f"{recipe.site},{OTHER}", structure="crosscoder"))
    shards = tmp_path / "shards"
    capture(setting.loaded, list(setting.places.reads), setting.contexts, shards)
    over = {"site": [recipe.site, OTHER], "k": [3]}
    live = train_sweep(make_sweep(recipe, over), tmp_path / "live")
    read = train_sweep(make_sweep(replace(recipe, shards=str(shards)), over), tmp_path / "read")
    assert all(same(live[name], read[name]) for name in live)


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
    monkeypatch.setattr(sweeping, "open_setting", lambda *a, **k: pytest.fail("text was packed"))
    sweep = make_sweep(replace(recipe, memory=200), {"latents": [4096, 65_536]})
    with pytest.raises(UserError) as caught:
        train_sweep(sweep, tmp_path)
    assert "for 2 dictionaries), and memory = 200 allows less; sweep over fewer" in str(
        caught.value
    )
    assert not list(tmp_path.iterdir())
