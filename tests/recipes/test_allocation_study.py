"""The study in small: every arm, count and seed once, resumed and not made again."""

import pytest

from monosemy.foundation.errors import UserError
from monosemy.growth.arms import ARMS
from monosemy.recipes.allocation import AllocationConfig
from monosemy.recipes.allocation_study import Study, study_allocation
from monosemy.reports.allocation import figures, study_report
from monosemy.reports.allocation_page import page

CONFIG = AllocationConfig(tokens=2000, heldout=1000, loss_tokens=500, steps=3, moving=2, batch=2,
                          autocast="float32", by="chance")  # fmt: skip


def test_a_study_its_page_and_its_figures(allocation_run, tmp_path, monkeypatch):
    monkeypatch.setattr("monosemy.growth.choosing.MOST", 0.9)
    study = Study(counts=(1, 2), seeds=(0, 1))
    found = study_allocation(allocation_run, CONFIG, study, tmp_path / "study")
    for count in ("1", "2"):
        arms = found["results"][count]["arms"]
        assert set(arms) == {"before", *ARMS}
        assert all(len(ones) == 2 for ones in arms.values())
        assert len({one["parameters"] for name in ARMS for one in arms[name]}) == 1
        features = [one["features"] for one in found["results"][count]["readings"]]
        assert features[0] == features[1]
    stamp = (tmp_path / "study" / "1" / "allocated" / "0" / "curve.json").stat().st_mtime_ns
    again = study_allocation(allocation_run, CONFIG, study, tmp_path / "study")
    assert again["results"] == found["results"]
    assert (tmp_path / "study" / "1" / "allocated" / "0" / "curve.json").stat().st_mtime_ns == stamp
    text = page(found, "monosemy allocate RUN --study")
    assert "Less burden:" in text
    assert "## 2 features" in text
    assert "{{" not in text
    assert set(figures(found)) == {"allocation-loss", "allocation-burden"}
    assert study_report(found)


def test_an_empty_study_is_refused(allocation_run, tmp_path):
    with pytest.raises(UserError, match=r"(?s)count 0; wanted at least 1.*no seeds"):
        study_allocation(allocation_run, CONFIG, Study((0,), ()), tmp_path / "study")
