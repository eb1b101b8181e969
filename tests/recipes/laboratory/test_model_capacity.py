"""Capacities of real matrices sum to no more than the stream has axes."""

from __future__ import annotations

import pytest

from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory.model_capacity import measure_model
from monosemy.tensors.compute import Compute


def check(found):
    for one in found:
        assert 0 < one["sum"] <= one["width"] + 1e-6
        assert one["share"] == pytest.approx(one["sum"] / one["width"])
        assert one["mean"] == pytest.approx(one["sum"] / one["rows"])
        assert one["overlap"] > 0


def test_the_specimens_matrices():
    found = measure_model("specimen", Compute())
    assert [(one["matrix"], one["rows"]) for one in found] == [
        ("embeddings", 4096), ("blocks.0, neurons' outputs", 512), ("unembeddings", 4096),
    ]  # fmt: skip
    check(found)
    # Many random rows fill the stream evenly; learned ones do not.
    assert all(one["random_share"] > 0.75 for one in found)
    assert all(one["share"] < one["random_share"] for one in found)


def test_a_real_llama_whose_embeddings_are_tied(shared_data):
    found = measure_model(str(shared_data("models/stories260K")), Compute())
    names = [one["matrix"] for one in found]
    assert names[:2] == ["embeddings", "blocks.0, neurons' outputs"]
    assert ("unembeddings" in names) == (len(names) == 7)
    check(found)


def test_an_unknown_model_is_named():
    with pytest.raises(UserError, match="specimon"):
        measure_model("specimon", Compute())
