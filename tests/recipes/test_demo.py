"""The main job from end to end, on a tiny model: what the report and the page must hold."""

import json

import pytest

from monosemy.recipes.demo import Clock, run_demo

METRICS = (
    "l0", "explained_variance", "ce_recovered_zero", "ce_recovered_mean", "kl_recovered_zero",
    "dead_fraction",
)  # fmt: skip
CROSS_ENTROPIES = ("ce_recovered_zero", "ce_recovered_mean", "kl_recovered_zero")


@pytest.fixture
def out(recipe, tmp_path):
    run_demo(tmp_path / "demo", recipe)
    return tmp_path / "demo"


def test_the_report_holds_what_the_contract_says(out, recipe):
    report = json.loads((out / "report.json").read_text())
    assert report["model"]["name"] == recipe.model
    assert report["site"]["name"] == recipe.site
    assert report["dictionary"]["latents"] == recipe.latents
    assert set(report["controls"]) == {"neurons", "pca", "random", "random_model"}
    for measured in (report["metrics"], *report["controls"].values()):
        for name in METRICS:
            assert {"value", "low", "high"} <= set(measured[name]), name
    for name in CROSS_ENTROPIES:
        missing = report["controls"]["random_model"][name]
        assert (missing["value"], missing["low"], missing["high"]) == (None, None, None)
        assert "no cross-entropy to recover" in missing["note"]
    assert report["seconds"] > 0
    assert set(report["stages"]) == {"train", "measure", "look"}
    assert sum(report["stages"].values()) == pytest.approx(report["seconds"], abs=1)
    assert report["training"]["curve"][-1]["step"] == 16


def test_every_feature_has_what_a_person_looks_at(out):
    report = json.loads((out / "report.json").read_text())
    assert 0 < len(report["features"]) <= 12
    ids = [feature["id"] for feature in report["features"]]
    assert len(set(ids)) == len(ids)
    for feature in report["features"]:
        assert {"id", "density", "examples", "raised", "lowered"} <= set(feature)
        assert 0 < feature["density"] <= 1
        assert feature["density"] == pytest.approx(report["densities"]["dictionary"][feature["id"]])
        assert feature["examples"]
        assert feature["raised"]
        assert feature["lowered"]
        raised = [effect for _, effect in feature["raised"]]
        lowered = [effect for _, effect in feature["lowered"]]
        assert min(raised) >= max(lowered)


def test_the_page_stands_alone(out):
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    for outside in ('src="http', 'href="http', "<script", "@import"):
        assert outside not in page


def test_again_it_reads_what_is_finished(out, recipe, monkeypatch):
    first = json.loads((out / "report.json").read_text())
    monkeypatch.setattr(
        "monosemy.training.loop.advance", lambda *_: pytest.fail("a step was taken")
    )
    second = json.loads(json.dumps(run_demo(out, recipe)))
    for key in ("metrics", "controls", "features", "densities"):
        assert second[key] == first[key], key


def test_the_clock_tells_its_stages_apart():
    clock = Clock()
    with clock.stage("one"):
        pass
    with clock.stage("two"):
        pass
    assert set(clock.stages) == {"one", "two"}
    assert 0 <= clock.stages["one"] <= clock.seconds
