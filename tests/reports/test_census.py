"""The census as table and figure."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

from rich.console import Console

from monosemy.models.census import count
from monosemy.reports import census


def said(models, width=80):
    file = io.StringIO()
    Console(width=width, file=file).print(census.census_report(models))
    return file.getvalue()


def test_the_table_fits_eighty_columns_and_keeps_every_number():
    text = said(count(["gpt-3"]))
    for number in ("1,179,648", "4,718,592", "12,288", "174.6 B", "12,286"):
        assert number in text
    assert "More units than honeybee, brain has neurons (960,000)." in text
    assert "Brown et al. 2020" in text
    assert "Fewer units than C. elegans" in said(count(["specimen"]))


def test_the_figure_is_svg_and_repeats():
    models = count(["gpt2", "gpt-3"])
    drawn = census.svg(models)
    ET.fromstring(drawn)
    assert drawn == census.svg(models[::-1])
    assert "honeybee" in drawn
    assert [m["name"] for m in census.figure_data(models)["models"]] == ["gpt2", "gpt-3"]
