"""Codes in the terminal and as figures."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from monosemy.reports.codes import codes_report, codes_svg, cube_report, cube_svg

NULL = {
    "random geometry": {"mean": 0.1, "high": 0.2},
    "labels shuffled": {"mean": 0.5, "high": 0.6},
}
ONE = {"values": ["a", "b"], "decoding": 0.97, "kind": "global: one", "factorisation": 0.8,
       "sharing": {"angle": 12.3},
       **{key: {"value": 0.9, "low": 0.8, "high": 0.95, "null": NULL}
          for key in ("ccgp", "parallelism", "common")}}  # fmt: skip
WIDE = {**ONE, "common": {"value": 0.4, "low": None, "high": None, "null": NULL}}
CODE = {"name": "mine, text", "samples": 1200, "groups": 30, "conditions": 4, "fewest": 50, "width": 9,
        "variance": {"a": 0.6, "b": 0.3, "interaction": 0.1}, "variables": {"a": ONE, "b": WIDE},
        "shattering": {"dimensionality": 0.7, "dichotomies": 3},
        "disentanglement": {"disentanglement": 0.3, "completeness": 0.2, "gap": 0.1,
                            "shuffled": {"disentanglement": 0.02}}}  # fmt: skip
CUBE = {"ccgp": 1.0, "parallelism": 1.0, "shattering_count": 7, "dichotomies": 35, "conditions": 8,
        "width": 10, "random": {"draws": 9, "ccgp": 0.5, "parallelism": 0.1,
                                "shattering_count": [35, 35]}}  # fmt: skip


def said(what):
    out = StringIO()
    Console(file=out, width=140).print(what)
    return out.getvalue()


def test_the_terminal_shows_values_with_nulls_and_n():
    text = said(codes_report([CODE]))
    for piece in ("1,200 samples of 30 groups", "interaction 10%", "0.90 (0.10)", "97.0%", "12°",
                  "a (2 values)", "shattering 0.70 over 3 dichotomies"):  # fmt: skip
        assert piece in text
    noted = {**CODE, "shattering": {"note": "odd"}}
    assert "shattering" not in said(codes_report([noted]))


def test_the_cube_is_told():
    assert "7 of 35 balanced dichotomies separable" in said(cube_report(CUBE))
    assert "9 draws" in said(cube_report(CUBE))


def test_figures_are_drawn_the_same_each_time():
    assert codes_svg([CODE]) == codes_svg([CODE])
    assert cube_svg(CUBE).startswith("<?xml")
