"""``monosemy lab freedom`` as a person meets it."""

import json

import pytest


def test_json_names_the_norms(monosemy):
    said = monosemy(
        "lab", "freedom", "--width", 12, "--pools", 3, "--draws", 1, "--keys", 9, "--json"
    )
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert found["layernorm"]["span"] == 11
    assert found["layernorm"]["intrinsic"] == 10
    assert (found["rmsnorm"]["span"], found["rmsnorm"]["intrinsic"]) == (12, 11)


@pytest.mark.parametrize("width", [3, 7, 10])
def test_any_width_has_pools_that_fit(monosemy, width):
    said = monosemy("lab", "freedom", "--width", width, "--draws", 1, "--keys", 6, "--json")
    found = json.loads(said.out)
    assert (found["layernorm"]["span"], found["layernorm"]["intrinsic"]) == (width - 1, width - 2)
    assert found["divisive"]["intrinsic"] == width - found["pools"]


def test_the_figure_and_its_numbers(monosemy, tmp_path):
    said = monosemy(
        "lab", "freedom", "--width", 8, "--pools", 2, "--draws", 1, "--keys", 9, "--out", "f", "-q"
    )
    assert said.code == 0
    assert "Freedom of a normalised stream" in said.out
    assert (tmp_path / "f" / "freedom-values.svg").exists()
    assert json.loads((tmp_path / "f" / "freedom.json").read_text())["width"] == 8


def test_what_cannot_be_is_refused_at_once(monosemy):
    said = monosemy("lab", "freedom", "--width", 10, "--pools", 3, "--draws", 0)
    assert (said.code, said.out) == (2, "")
    assert "pools = 3 do not divide width = 10" in said.err
    assert "draws = 0; wanted at least 1" in said.err
