"""The contract of a report, on a model so small that the whole road takes a moment."""

import json
from dataclasses import replace

import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import TopK
from monosemy.foundation.errors import UserError
from monosemy.recipes import evaluation as module
from monosemy.recipes.dictionary import train_dictionary
from monosemy.recipes.evaluation import evaluate, evaluate_dictionary, training_rows
from monosemy.recipes.setting import open_setting

METRICS = {
    "l0", "explained_variance", "ce_recovered_zero", "ce_recovered_mean", "kl_recovered_zero",
    "dead_fraction",
}  # fmt: skip
CROSS_ENTROPIES = {"ce_recovered_zero", "ce_recovered_mean", "kl_recovered_zero"}


@pytest.fixture
def run(recipe, tmp_path):
    train_dictionary(recipe, tmp_path / "run")
    return tmp_path / "run"


def check_estimate(one: dict) -> None:
    assert {"value", "low", "high"} <= set(one) <= {"value", "low", "high", "note"}
    if None in (one["value"], one["low"], one["high"]):
        assert one["note"], "what is missing says why"
    else:
        assert one["low"] <= one["high"]


def test_every_number_of_the_contract_is_there(run, recipe):
    found = evaluate(run).to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["model"]["name"] == recipe.model
    assert found["site"] == {"name": recipe.site, "width": 32}
    assert found["dictionary"]["latents"] == 32
    assert found["dictionary"]["k"] == 4
    assert found["text"]["heldout_documents"] == 5
    assert set(found["metrics"]) >= METRICS
    assert set(found["controls"]) == {"neurons", "pca", "random", "random_model"}
    for measured in (found["metrics"], *found["controls"].values()):
        assert set(measured) >= METRICS
        for name in METRICS:
            check_estimate(measured[name])
    for name in METRICS:
        assert isinstance(found["metrics"][name]["value"], float), name
        assert isinstance(found["metrics"][name]["low"], float), f"{name} has no interval"


def test_the_random_model_has_no_cross_entropy_and_says_so(run):
    control = evaluate(run).to_json()["controls"]["random_model"]
    for name in CROSS_ENTROPIES:
        assert control[name]["value"] is None
        assert control[name]["note"] == module.RANDOM_MODEL_NOTE
    for name in METRICS - CROSS_ENTROPIES:
        assert control[name]["value"] is not None


def test_the_random_model_is_trained_once_and_kept(run, monkeypatch):
    first = evaluate(run).to_json()
    kept = run / "controls" / "random_model" / "dictionary" / "cfg.json"
    assert kept.exists()
    monkeypatch.setattr(
        "monosemy.training.loop.advance", lambda *_: pytest.fail("a step was taken")
    )
    assert evaluate(run).to_json() == first


def test_the_random_model_can_be_left_out(run):
    found = evaluate(run, random_model=False).to_json()
    assert set(found["controls"]) == {"neurons", "pca", "random"}
    assert not (run / "controls").exists()


def test_controls_keep_as_many_latents_as_the_dictionary(run):
    found = evaluate(run, random_model=False).to_json()
    wanted = round(found["metrics"]["l0"]["value"])
    for name in ("neurons", "pca", "random"):
        assert found["controls"][name]["l0"]["value"] == pytest.approx(wanted, abs=1), name


def test_a_dictionary_that_is_the_identity_loses_nothing(recipe):
    """Every neuron both ways: the reconstruction is the activation itself."""
    axes = torch.cat([torch.eye(32), -torch.eye(32)])
    identity = FlatDictionary.tied(axes, torch.zeros(32), TopK(32)).eval()
    measured = evaluate_dictionary(identity, recipe).to_json()["metrics"]
    for name in ("explained_variance", *CROSS_ENTROPIES):
        assert measured[name]["value"] == pytest.approx(1, abs=1e-4), name


def test_a_dictionary_that_says_nothing_recovers_nothing(recipe):
    silent = FlatDictionary.tied(torch.eye(32), torch.zeros(32), TopK(4)).eval()
    with torch.no_grad():
        silent.b_enc.fill_(-1e6)
    measured = evaluate_dictionary(silent, recipe).to_json()["metrics"]
    assert measured["l0"]["value"] == 0
    assert measured["dead_fraction"]["value"] == 1
    # Its reconstruction is zero: the very ablation that recovery is measured against.
    assert measured["ce_recovered_zero"]["value"] == pytest.approx(0, abs=1e-4)
    assert measured["kl_recovered_zero"]["value"] == pytest.approx(0, abs=1e-4)


def test_a_dictionary_that_always_says_the_training_mean_recovers_nothing_of_it(recipe):
    mean = training_rows(recipe, open_setting(recipe, "heldout")).mean(0)
    constant = FlatDictionary.tied(torch.eye(32), mean, TopK(4)).eval()
    with torch.no_grad():
        constant.b_enc.fill_(-1e6)
    measured = evaluate_dictionary(constant, recipe).to_json()["metrics"]
    assert measured["ce_recovered_mean"]["value"] == pytest.approx(0, abs=1e-4)
    assert measured["ce_recovered_zero"]["value"] != pytest.approx(0, abs=1e-4)


def test_means_come_from_training_text_not_from_what_is_held_out(recipe):
    heldout = open_setting(recipe, "heldout")
    rows = training_rows(recipe, heldout)
    train = open_setting(recipe, "train")
    assert rows.shape == (512, 32)
    assert not set(train.contexts.documents) & set(heldout.contexts.documents)


def test_a_site_of_another_width_is_refused(recipe):
    dictionary = FlatDictionary.tied(torch.eye(32), torch.zeros(32), TopK(4))
    other = replace(recipe, site="blocks.0.hook_resid_post")
    with pytest.raises(UserError) as caught:
        evaluate_dictionary(dictionary, other)
    assert str(caught.value).startswith(
        "site blocks.0.hook_resid_post has 16 numbers an activation, the dictionary 32; "
    )


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="the run's description is missing"):
        evaluate(tmp_path)


def test_a_run_that_has_not_finished_is_refused(run):
    for path in (run / "dictionary").iterdir():
        path.unlink()
    with pytest.raises(UserError) as caught:
        evaluate(run)
    assert str(caught.value) == (
        f"the run in {run} has no dictionary yet: it was stopped before its end. "
        f"Go on with it: monosemy train --resume {run}"
    )


@pytest.mark.parametrize("tokens", [0, -5])
def test_a_number_of_tokens_below_one_is_refused(run, tokens):
    with pytest.raises(UserError, match=f"tokens (is|=) {tokens}"):
        evaluate(run, tokens=tokens)


def test_a_pruned_dictionary_is_measured_with_fewer_active_latents(recipe, tmp_path):
    train_dictionary(recipe, tmp_path / "run")
    whole = evaluate(tmp_path / "run", 300, random_model=False)
    pruned = evaluate(tmp_path / "run", 300, random_model=False, prune=0.5, ica=True)
    l0 = [one.measured.estimates["l0"].value for one in (whole, pruned)]
    assert l0[1] < l0[0]
    assert "ica" in pruned.controls
    assert "ica" not in whole.controls
