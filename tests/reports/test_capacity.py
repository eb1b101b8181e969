"""Figures and table of capacity."""

import io
import xml.etree.ElementTree as ET

from rich.console import Console

from monosemy.reports.capacity import (
    calculator_report,
    fits_svg,
    matrices_report,
    recovery_svg,
)


def test_the_curves_of_recovery():
    data = {"recovery": {"one shot": [1.0, 0.4], "matching pursuit": [1.0, 0.9]}, "n": 50,
            "formula": [1.0, 0.45], "features": 9, "width": 4, "limit": 1.5}  # fmt: skip
    drawn = recovery_svg(data)
    ET.fromstring(drawn)
    assert drawn == recovery_svg(data)
    assert "one shot, by formula" in drawn


def test_how_many_fit_with_and_without_overlaps():
    fits = {"tolerances": [0.2], "widths": [16, 64], "random_code": [[0.0, 1.0]], "k": 3,
            "linear_readout": [1.0, 2.0]}  # fmt: skip
    for overlaps in ({}, {"16": 0.06, "32": 0.03}):
        ET.fromstring(fits_svg({"fits": fits, "overlaps": overlaps}))


def test_the_table_fits_eighty_columns():
    file = io.StringIO()
    Console(width=80, file=file).print(calculator_report([("told apart", "10^11.5", "8 active")]))
    assert "10^11.5" in file.getvalue()


def test_matrices_are_a_row_each():
    one = {"matrix": "embeddings", "rows": 4096, "width": 128, "sum": 63.0, "share": 0.49,
           "random_share": 0.97, "overlap": 2.08}  # fmt: skip
    file = io.StringIO()
    Console(width=80, file=file).print(matrices_report([one]))
    assert all(said in file.getvalue() for said in ("4,096", "63.0", "49%", "97%", "2.08"))
