"""The page of the census: every finding agrees, and a wrong count would not."""

from __future__ import annotations

from monosemy.models import census_table
from monosemy.recipes.laboratory import census
from monosemy.tensors.compute import Compute


def test_the_claim_holds_and_its_figure_has_every_model_it_names():
    claim, (picture,) = census.examine(Compute())
    assert claim.verdict == "holds"
    assert [model["name"] for model in picture.data["models"]] == list(census.SHOWN)
    assert {finding.kind for finding in claim.findings} == {"reference", "null", "planted"}


def test_a_wrong_shape_is_found(monkeypatch):
    from dataclasses import replace

    wrong = tuple(
        replace(m, layers=m.layers + 1) if m.name == "gpt2" else m for m in census_table.MODELS
    )
    monkeypatch.setattr(census, "MODELS", wrong)
    claim, _ = census.examine(Compute())
    assert claim.verdict == "holds in part"
