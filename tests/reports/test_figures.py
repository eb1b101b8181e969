import re
from xml.etree import ElementTree

import pytest

from monosemy.reports import figures

DRAWINGS = {
    "comparison": figures.comparison,
    "densities": figures.densities,
    "training": lambda report: figures.training(report["training"]["curve"]),
    "feature-7": lambda report: figures.activations(
        report["features"][0]["histogram"], "feature-7"
    ),
}
_DRAWN: dict[str, str] = {}


@pytest.fixture(params=list(DRAWINGS))
def name(request):
    return request.param


@pytest.fixture
def svg(name, _report):
    if name not in _DRAWN:
        _DRAWN[name] = DRAWINGS[name](_report)
    return _DRAWN[name]


def texts(svg):
    return [e.text for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")]


def test_a_figure_is_one_element_that_says_what_it_is(svg):
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert root.get("viewBox")
    assert root.get("width") is None  # the page decides


def test_ids_begin_with_the_name_and_every_reference_has_its_target(name, svg):
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert ids
    assert all(one.startswith(f"{name}-") for one in ids)
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)) <= {
        pair for one in ids for pair in ((one, ""), ("", one))
    }


def test_colours_follow_the_page(svg):
    # Nothing is drawn in a colour of its own, in light or in dark.
    bare = re.sub(r"var\([^)]*\)", "", svg)
    assert "var(--figure-" in svg
    assert re.findall(r"(?:fill|stroke): ?#[0-9a-f]+", bare) == []


def test_text_stays_text_in_the_pages_own_font(svg):
    assert texts(svg)
    assert "font:" not in svg
    assert "DejaVu" not in svg


def test_nothing_reaches_out_or_styles_the_rest_of_the_page(svg):
    assert "<style" not in svg
    assert "<metadata" not in svg
    links = re.findall(r'https?://[^"]+', svg)
    assert set(links) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_the_same_numbers_give_the_same_bytes(name, svg, report, monkeypatch):
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "axes.linewidth", 5.0)  # a setting of the user's
    assert DRAWINGS[name](report) == svg
    assert matplotlib.rcParams["axes.linewidth"] == 5.0


def test_other_numbers_give_another_figure(report):
    before = figures.comparison(report)
    report["metrics"]["ce_recovered_zero"]["value"] = 0.5
    assert figures.comparison(report) != before


def test_the_comparison_leaves_the_random_models_loss_out(report):
    shown = texts(figures.comparison(report))
    assert "0.050" in shown  # 1 - 0.95, of the dictionary
    assert "0.450" not in shown  # 1 - 0.55, of the random model
    assert "does not compare" in shown
    assert "0.550" in shown  # its explained variance does compare
    del report["controls"]["pca"]["ce_recovered_zero"]
    assert "not measured" in texts(figures.comparison(report))


def test_the_densities_count_the_dead(report):
    shown = texts(figures.densities(report))
    assert "dictionary: 402 latents, 2 never fire" in shown
    report["densities"] = {"dictionary": [0.0, 0.0]}
    assert "dictionary: 2 latents, 2 never fire" in texts(figures.densities(report))


def test_training_draws_what_was_logged():
    one = texts(figures.training([{"step": 0, "loss": 1.0}, {"step": 9, "loss": 0.5}]))
    assert "loss" in one
    assert "dead latents" not in one
    two = texts(figures.training([{"step": 0, "loss": 1.0, "dead": 12}]))
    assert "dead latents" in two
