"""The figure of freedom stands alone and repeats."""

import xml.etree.ElementTree as ET

from monosemy.reports.freedom import svg


def test_the_figure_shows_norms_and_keys():
    kinds = ("none", "layernorm", "rmsnorm", "divisive")
    data = {
        "width": 4,
        "values": {kind: [1.0, 1.0, 1e-17, 0.0] for kind in kinds},
        "keys": {"4": dict.fromkeys(kinds, 0.25), "8": dict.fromkeys(kinds, 0.0)},
    }
    drawn = svg(data)
    ET.fromstring(drawn)
    assert drawn == svg(data)
    assert "separate pools" in drawn
    assert ">25<" in drawn
