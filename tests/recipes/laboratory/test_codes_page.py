"""The page about codes."""

from __future__ import annotations

import pytest

from monosemy.recipes.laboratory import codes_page
from monosemy.recipes.laboratory.codes import CodesConfig
from monosemy.recipes.laboratory.data_folder import VARIABLE
from monosemy.superposition.claims import NULL, PLANTED
from monosemy.tensors.compute import Compute


@pytest.mark.slow
def test_the_page_stands_without_files_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(codes_page, "_SPECIMEN_TOKENS", 40_000)
    monkeypatch.setattr(codes_page, "CodesConfig", lambda draws: CodesConfig(draws=3))
    claim, pictures = codes_page.examine(Compute())
    wrong = [finding.what for finding in claim.findings if finding.holds is False]
    assert wrong in ([], ["cube turned: DCI disentanglement"])
    assert {finding.kind for finding in claim.findings} >= {PLANTED, NULL}
    assert [picture.name for picture in pictures] == ["codes-cube", "codes-made", "codes-models"]
    assert "A pretrained encoder left out: `models/minilm-l6`" in claim.words


def test_the_cube_of_the_page_is_on_axes_or_turned():
    plain, turned = (codes_page._noisy_cube(turned, Compute()) for turned in (False, True))
    assert plain.x[:, codes_page.BITS :].abs().max() < 1.2 < plain.x[:, 0].abs().max()
    assert turned.labels.equal(plain.labels)
    assert turned.x.square().sum() == pytest.approx(float(plain.x.square().sum()), rel=0.02)
