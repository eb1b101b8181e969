"""Toys of the laboratory: trainings that are kept and go on, the best of several fits."""

from __future__ import annotations

import json

import pytest
import torch

from monosemy.data.toys import SparseFeatures, densities
from monosemy.foundation.errors import UserError
from monosemy.models.toy import TiedToy
from monosemy.recipes.laboratory.toys import Found, ToySettings, best_of, losses, train_toys
from monosemy.superposition.claims import Finding
from monosemy.tensors.compute import Compute

LAW = SparseFeatures(densities([0.3], 2, fits=2))


def train(runs, seed=0, steps=30):
    toy = TiedToy(2, 2, 1, Compute(seed=seed).generator("toy"))
    settings = ToySettings(steps, 16, 0.01)
    return train_toys("tiny", toy, LAW, torch.ones(1, 2), settings, Compute(seed=seed), runs)


def test_a_training_that_is_done_is_not_done_again(tmp_path):
    first = train(tmp_path)
    (run,) = tmp_path.iterdir()
    lines = (run / "metrics.jsonl").read_text()
    assert torch.equal(train(tmp_path).module.weights, first.module.weights)
    assert (run / "metrics.jsonl").read_text() == lines


def test_other_settings_are_other_trainings(tmp_path):
    train(tmp_path)
    train(tmp_path, seed=1)
    train(tmp_path, steps=31)
    assert len(list(tmp_path.iterdir())) == 3


def test_the_best_of_several_fits_stands_for_them():
    weights = torch.arange(4.0)[:, None, None]
    best, chosen = best_of(weights, torch.tensor([3.0, 1.0, 0.5, 2.0]), 2)
    assert best.flatten().tolist() == [1, 2]
    assert chosen == [1, 2]


def test_losses_are_measured_on_fresh_samples(tmp_path):
    program = train(tmp_path)
    found = losses(program, LAW, Compute(), 2048)
    assert found.shape == (2,)
    assert torch.equal(found, losses(program, LAW, Compute(), 2048))
    assert not torch.equal(found, losses(program, LAW, Compute(seed=1), 2048))


def test_what_is_found_is_json_with_its_verdict():
    finding = Finding("share", 1.0, "3 models", 1, holds=True)
    found = Found("plateaus", "Title", {"n": 3}, [finding], [], "Words.", {"steps": 2})
    told = json.loads(json.dumps(found.to_json()))
    assert (told["experiment"], told["verdict"], told["n"]) == ("plateaus", "holds", 3)
    assert told["findings"][0]["n"] == "3 models"


def test_settings_are_refused_with_all_reasons():
    with pytest.raises(UserError, match="steps = 0") as refused:
        ToySettings(0, 0, 0)
    assert "batch = 0" in str(refused.value)
    assert "learning_rate = 0; wanted more than 0" in str(refused.value)
