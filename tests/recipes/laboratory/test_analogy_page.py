"""The page about analogies, without any file."""

from __future__ import annotations

from monosemy.recipes.laboratory.analogy_page import examine
from monosemy.recipes.laboratory.data_folder import VARIABLE
from monosemy.superposition.claims import NULL, PLANTED
from monosemy.tensors.compute import Compute


def test_the_page_stands_without_files_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    claim, pictures = examine(Compute())
    assert claim.verdict == "holds"
    assert {finding.kind for finding in claim.findings} >= {PLANTED, NULL}
    assert [picture.name for picture in pictures] == ["analogy-world"]
    assert "GloVe 50d left out: `vectors/glove-50d-2445.txt`" in claim.words
    assert "The embedding of a model left out" in claim.words
