"""The table and the figure of a comparison say what was measured, and what was not."""

import io
import xml.etree.ElementTree as ET

import pytest
from rich.console import Console

from monosemy.reports import truth

NAMES = ("f1", "mcc", "parent_f1", "child_f1", "silent_parent_rate", "fvu", "l0", "parameters")


def number(value, spread=0.05):
    ends = (None, None) if value is None else (value - spread, value + spread)
    return {"value": value, "low": ends[0], "high": ends[1], "seeds": 3}


@pytest.fixture
def report():
    summary = {
        "topk": {name: number(0.25) for name in NAMES} | {"parameters": number(46608)},
        "probe": {name: number(0.75) for name in NAMES} | {"fvu": number(None)},
    }
    return {"world": "a-world", "kinds": ["topk", "probe"], "seeds": [0, 1, 2], "summary": summary}


def said(report, width):
    file = io.StringIO()
    Console(width=width, file=file).print(truth.table(report, width))
    return file.getvalue()


def test_a_row_a_kind_with_intervals_where_there_is_room(report):
    wide, narrow = said(report, 160), said(report, 80)
    assert "0.250 ±0.050" in wide
    assert "±" not in narrow
    for text in (wide, narrow):
        assert [line.split()[0] for line in text.splitlines()][-2:] == ["topk", "probe"]
        assert "46,608" in text
        assert "–" in text, "the probe reconstructs nothing"
        assert max(map(len, text.splitlines())) <= 160


def test_what_no_kind_has_gets_no_column(report):
    for found in report["summary"].values():
        found["child_f1"] = number(None)
    assert "child" not in said(report, 120)


def test_the_figure_stands_alone_and_repeats(report):
    drawn = truth.svg(report)
    ET.fromstring(drawn)
    assert drawn == truth.svg(report)
    assert truth.png(report).startswith(b"\x89PNG")
    more = report | {"world": "another"}
    assert truth.svg(more) != drawn


def test_one_seed_has_no_intervals(report):
    report["seeds"] = [0]
    for found in report["summary"].values():
        for one in found.values():
            one |= {"low": None, "high": None}
    ET.fromstring(truth.svg(report))
    assert "±" not in said(report, 160)


def test_one_cell_in_lines():
    cell = {
        "dictionary": "topk", "world": "a-world", "seed": 2, "latents": 480, "parameters": 46608,
        "metrics": {"f1": number(0.25), "mcc": {"value": 0.5, "low": None, "high": None},
                    "fvu": {"value": None, "low": None, "high": None, "note": "not written"}},
    }  # fmt: skip
    lines = truth.cell_lines(cell)
    assert lines[0] == "topk on a-world, seed 2: 480 latents, 46,608 numbers"
    assert [line.split() for line in lines[1:]] == [
        ["f1", "0.2500", "[0.2000,", "0.3000]"],
        ["mcc", "0.5000"],
        ["fvu", "–", "(not", "written)"],
    ]
