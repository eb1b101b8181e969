"""A small phase diagram, trained: it agrees with the closed form, and untrained models do not."""

from __future__ import annotations

import json

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.models.toy import TiedToy
from monosemy.recipes.laboratory.toy_phases import PhaseSettings, expected_loss, run, setting
from monosemy.recipes.laboratory.toys import ToySettings
from monosemy.superposition.claims import NULL
from monosemy.tensors.compute import Compute
from monosemy.training.toys import LearnToys

SMALL = PhaseSettings(cells=5, fits=4, training=ToySettings(500, 64, 2e-2))


def test_a_small_diagram_agrees_and_its_null_does_not(tmp_path):
    found = run(SMALL, runs=tmp_path)
    told = json.loads(json.dumps(found.to_json()))
    two, three = told["diagrams"]
    assert (two["features"], three["features"]) == (2, 3)
    for diagram in (two, three):
        assert diagram["n_cells"] <= diagram["all_cells"] == 25
        assert diagram["agreement"] >= 0.9
    nulls = [f for f in found.findings if f.kind == NULL]
    assert len(nulls) == 2
    assert all(f.holds and f.ours < 0.8 for f in nulls)
    assert found.pictures[0].svg.startswith("<?xml")


def test_the_expected_loss_is_that_of_many_samples():
    toy, law, weight = setting(2, PhaseSettings(cells=2, fits=1), Compute())
    program = LearnToys(toy, weight)
    x = law.draw(200_000, Compute().generator("many"))
    with torch.no_grad():
        sampled = program.errors(x).mean(1)
    assert isinstance(toy, TiedToy)
    assert torch.allclose(expected_loss(program, law.density[:, 0]), sampled, rtol=0.05)


def test_grids_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="cells = 1; wanted at least 2"):
        PhaseSettings(cells=1)
