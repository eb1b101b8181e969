"""The page about manifolds."""

from __future__ import annotations

import pytest
import torch

from monosemy.recipes.laboratory import manifolds_page
from monosemy.recipes.laboratory.data_folder import VARIABLE
from monosemy.superposition.claims import NULL, PLANTED
from monosemy.tensors.compute import Compute


def test_planted_clouds_and_groups_are_told_apart():
    findings = [
        *manifolds_page._of_clouds(Compute(seed=5)),
        *manifolds_page._of_unions(Compute(seed=5)),
    ]
    assert [finding.what for finding in findings if finding.holds is False] == []
    assert {finding.kind for finding in findings} >= {PLANTED, NULL}


def test_groups_have_planes_of_their_own():
    x = manifolds_page.union(torch.Generator().manual_seed(0))
    assert x.shape == (4000, 24)


@pytest.mark.slow
def test_the_page_stands_without_files_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(manifolds_page, "SEEDS", 1)
    claim, pictures = manifolds_page.examine(Compute())
    assert [picture.name for picture in pictures] == ["manifolds-tiles"]
    assert "A pretrained encoder left out" in claim.words
    wrong = {finding.what for finding in claim.findings if finding.holds is False}
    assert wrong <= {"circles found among families of latents"}
