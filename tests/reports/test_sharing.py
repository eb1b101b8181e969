"""The table and the figure of a sharing curve say what was measured, and what was not."""

import io
import re
import xml.etree.ElementTree as ET
from copy import deepcopy

import pytest
from rich.console import Console

from monosemy.reports import sharing


def number(value, low=None, high=None, **more):
    return {"value": value, "low": low, "high": high, **more}


@pytest.fixture
def report():
    curve = [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]
    side = {
        "dictionary_parents": 9, "dropped": {"silent": 1, "few_samples": 2}, "parents": 6,
        "curve": curve, "captured": [0.4 * value for value in curve], "height": 0.75,
        "knee": number(3, 3.0, 4.0), "s90": number(3, 2.5, 4.0),
    }  # fmt: skip
    null = [0.2, 0.4, 0.6, 0.8, 0.9, 1.0]
    rotated = {"draws": 3, "curve": dict.fromkeys(("low", "median", "high"), null),
               "s90": number(5.0, 5.0, 5.0), "height": number(0.125, 0.1, 0.15)}  # fmt: skip
    other = side | {"parents": 5, "curve": null[:5], "captured": null[:5],
                    "knee": number(None, note="no knee: 0.10 above the chord")}  # fmt: skip
    return {
        "place": "blocks.0", "dictionary": {"architecture": "local batchtopk", "seed": 0},
        "tokens": 1234, "rank": 4, **side, "nulls": {"rotated": rotated, "random_model": other},
        "verdict": {"used": True, "words": "local superposition is used: because"},
    }  # fmt: skip


def said(report, width=120):
    file = io.StringIO()
    Console(width=width, file=file).print(sharing.sharing_report(report))
    return file.getvalue()


def test_the_data_stands_beside_its_nulls(report):
    text = said(report)
    assert "6 of 9 parents (3 left out)" in text
    assert "1,234 held-out activations" in text
    lines = {re.sub(r"\s+", " ", line).strip() for line in text.splitlines()}
    assert "charts for 90 % (S90) 3 [2.5, 4] 5 [5, 5] 3 [2.5, 4]" in lines
    assert "as a share of parents 50.0% 83.3% 60.0%" in lines
    assert "knee 3 [3, 4] none" in lines
    assert "energy in own charts 40.0% 40.0% 90.0%" in lines
    assert "Local superposition is used: because." in text


def test_what_there_is_not_is_a_dash(report):
    report["nulls"]["random_model"] = {"note": "left out"}
    report["knee"] = number(None, note="no knee: 0.20 above the chord; wanted more than 0.70")
    text = said(report)
    assert "–" in text
    assert "No knee: 0.20 above the chord; wanted more than 0.70." in text
    ET.fromstring(sharing.svg(report))


def test_the_figure_stands_alone_and_repeats(report):
    drawn = sharing.svg(report)
    ET.fromstring(drawn)
    assert "knee: 3 charts" in drawn
    assert drawn == sharing.svg(deepcopy(report))
    assert sharing.png(report).startswith(b"\x89PNG")
    report["curve"] = [0.0, 0.6, 1.0, 1.0, 1.0, 1.0]
    assert sharing.svg(report) != drawn


def test_a_figure_of_nothing_says_so(report):
    report["curve"] = None
    assert "nothing is captured" in sharing.svg(report)
