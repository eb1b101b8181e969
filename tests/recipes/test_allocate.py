"""The whole road on the tiny model: a plain model folder, numbers, refusals before anything is made."""

import json

import pytest
import torch

from monosemy.explanation.archive_notes import Notes
from monosemy.foundation.errors import UserError
from monosemy.models.loading import load
from monosemy.recipes.allocate import Wanted, allocate_features, feature_ids
from monosemy.recipes.allocation import AllocationConfig
from monosemy.recipes.allocation_ground import open_ground

CONFIG = AllocationConfig(count=2, tokens=2000, heldout=1000, loss_tokens=500, steps=3, moving=2,
                          batch=2, autocast="float32")  # fmt: skip


@pytest.fixture(scope="module")
def alive(allocation_run):
    return tuple(
        open_ground(allocation_run, 2000, 1000).density.topk(2).indices.sort().values.tolist()
    )


def test_a_plain_model_with_its_numbers(allocation_run, alive, tmp_path):
    out = tmp_path / "own"
    found = allocate_features(allocation_run, CONFIG, Wanted(alive, controls=True), out)
    assert found["features"] == [str(i) for i in alive]
    assert found["proof"]["relative_float64"] < 1e-12
    assert set(found["arms"]) == {"allocated", "widened", "random", "variance", "continued"}
    assert json.loads((out / "allocation.json").read_text()) == json.loads(json.dumps(found))
    larger = load(out / "model")
    assert larger.width > 16
    kept = torch.load(out / "training" / "allocated" / "checkpoint.pt", weights_only=True)
    for name, tensor in larger.model.state_dict().items():
        assert torch.equal(tensor, kept["program"]["module"][name])
    again = allocate_features(allocation_run, CONFIG, Wanted(alive, controls=True), out)
    assert again["arms"]["allocated"]["curve"] == found["arms"]["allocated"]["curve"]


def test_a_relation_gets_an_axis(allocation_run, tmp_path):
    pairs = tmp_path / "letters.txt"
    pairs.write_text("d e\nr t\n", encoding="utf-8")
    found = allocate_features(allocation_run, CONFIG, Wanted(relation=pairs), tmp_path / "own")
    assert found["features"] == ["letters"]
    assert len(found["axes"]) == 1
    before, after = found["relation"]["before"], found["relation"]["after"]
    assert before["pairs"] == after["pairs"] == ["d e", "r t"]


def test_features_by_label(allocation_run, alive, tmp_path):
    (tmp_path / "archive").mkdir()
    with Notes(tmp_path / "archive" / "notes.sqlite") as notes:
        notes.label(alive[0], "the word return", "me")
    wanted = Wanted(label="return", archive=tmp_path / "archive")
    found = allocate_features(allocation_run, CONFIG, wanted, tmp_path / "own")
    assert found["features"] == [str(alive[0])]
    with pytest.raises(UserError, match="no label in .* has the words 'import'"):
        allocate_features(allocation_run, CONFIG, Wanted(label="import", archive=tmp_path / "archive"),
                          tmp_path / "none")  # fmt: skip
    with pytest.raises(UserError, match="has no labels yet"):
        allocate_features(
            allocation_run, CONFIG, Wanted(label="x", archive=tmp_path), tmp_path / "none"
        )
    assert not (tmp_path / "none").exists()


def test_everything_wrong_is_told_before_anything_is_made(allocation_run, tmp_path):
    wanted = Wanted((1,), relation=tmp_path / "x", archive=tmp_path)
    with pytest.raises(
        UserError, match=r"(?s)count = 0.*--features and --relation.*--archive without"
    ):
        allocate_features(allocation_run, AllocationConfig(count=0), wanted, tmp_path / "own")
    assert not (tmp_path / "own").exists()
    assert feature_ids("3, 17") == (3, 17)
    with pytest.raises(UserError, match="'x' is no feature's number"):
        feature_ids("3,x")
