"""The table of arrays is the one that the format's page states."""

import re
from pathlib import Path

import numpy as np
import pytest

from monosemy.explanation.archive_columns import COLUMNS
from monosemy.explanation.archive_layout import (
    ARRAYS,
    DTYPES,
    REQUIRED,
    bytes_of,
    dtype_name,
    members,
    smallest,
    spec_of,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats" / "archive.md"
ROW = re.compile(r"^\| ((?:`[a-z._A-Z]+`(?:, )?)+) \| ([a-z0-9, ]+) \| ([^|]+) \|", re.MULTILINE)


def stated():
    """Array name to dtypes and shape, from the tables of the page."""
    found = {}
    for names, dtypes, shape in ROW.findall(PAGE.read_text(encoding="utf-8")):
        for name in re.findall(r"`([^`]+)`", names):
            if "." in name:
                found[name] = (tuple(dtypes.split(", ")), tuple(shape.strip().split(", ")))
    return found


def test_the_page_and_the_code_state_the_same_arrays():
    page = stated()
    general = {name for name in page if "NAME" in name}
    assert general == {"column.NAME", "neighbours.NAME.feature", "neighbours.NAME.value"}
    fixed = {name: spec for name, spec in ARRAYS.items() if not name.startswith("column.")}
    assert page.keys() - general == fixed.keys()
    for name, (dtypes, shape) in page.items():
        spec = spec_of(name.replace("NAME", "some"))
        assert spec is not None
        assert spec.dtypes == (("f32", "u32", "i32") if name == "column.NAME" else dtypes), name
        if name != "corpus.kept":
            assert spec.axes == shape, name


def test_the_page_states_the_columns():
    text = PAGE.read_text(encoding="utf-8")
    known = text.split("Names that readers know:")[1].split("### Histograms")[0]
    rows = re.findall(r"^\| (`[^|]+) \| ([a-z0-9]+) \|", known, re.MULTILINE)
    page = {name: kind for names, kind in rows for name in re.findall(r"`([^`]+)`", names)}
    assert page == {column.name: column.dtype for column in COLUMNS.values()}


def test_shapes_come_from_counts():
    counts = {"contexts": 3, "positions": 5, "documents": 2, "features": 7}
    assert ARRAYS["corpus.ids"].shape(counts) == (3, 5)
    assert ARRAYS["corpus.kept"].shape(counts) == (2,)
    assert ARRAYS["corpus.names_start"].shape(counts) == (3,)
    assert ARRAYS["map.xy"].shape(counts) == (7, 2)
    assert ARRAYS["corpus.kept"].names == {"contexts", "positions"}
    assert bytes_of("u32", (2**40, 2**20)) == 2**62


def test_groups():
    assert members("logits.histogram") == ("logits.histogram", "logits.range")
    assert members("neighbours.mine") == ("neighbours.mine.feature", "neighbours.mine.value")
    assert all(members(group) for group in REQUIRED)
    assert members("column.mine") == ("column.mine",)


@pytest.mark.parametrize(
    "name", ["column.Up", "column.", "column.a/b", "neighbours.x.y", "x", "arrays"]
)
def test_other_names_are_no_arrays(name):
    assert spec_of(name) is None


def test_types_of_any_byte_order_have_names():
    for name, dtype in DTYPES.items():
        assert dtype_name(dtype) == dtype_name(dtype.newbyteorder(">")) == name
    assert dtype_name(np.dtype("f8")) is None
    assert smallest(65535) == np.dtype("<u2")
    assert smallest(65536) == np.dtype("<u4")
    assert smallest(255, "u8", "u16") == np.dtype("u1")
    with pytest.raises(OverflowError):
        smallest(2**32)
