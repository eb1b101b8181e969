"""The figures of the comparison of norms stand alone and repeat."""

import xml.etree.ElementTree as ET

from monosemy.reports.norms import models_svg, toy_svg


def test_the_toys_curves():
    gains = [0.5, 1.0, 2.0]
    toy = {"gains": gains, "other": {"layernorm": [0.1, 0.01, 0.2], "divisive": [0.01] * 3}}
    toy["own"] = toy["other"]
    drawn = toy_svg(toy)
    ET.fromstring(drawn)
    assert drawn == toy_svg(toy)
    assert "divisive pools" in drawn


def test_the_models_dots():
    one = {"mean": 4.0, "difference": 0.0, "low": 0.0, "high": 0.0}
    other = {"mean": 4.1, "difference": 0.1, "low": 0.05, "high": 0.15}
    names = ("loss", "explained_variance", "overlap_W_out")
    data = {
        "models": [{"norm": kind, **dict.fromkeys(names, 4.0)} for kind in ("layernorm", "none")],
        "means": {"layernorm": dict.fromkeys(names, one), "none": dict.fromkeys(names, other)},
    }
    drawn = models_svg(data)
    ET.fromstring(drawn)
    assert "no norm" in drawn
    data["means"]["none"] = dict.fromkeys(names, one)
    assert models_svg(data) != drawn
