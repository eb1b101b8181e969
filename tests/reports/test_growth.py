"""The table of a growth says what was compared, on how much."""

import io

import pytest
from rich.console import Console

from monosemy.reports.growth import growth_report

SHAPE = {"layers": 1, "width": 8, "heads": 2, "groups": 2, "head": 4, "neurons": 1024}


@pytest.fixture
def report():
    step = {
        "expansion": "mlp +1000",
        "parameters": 34567,
        "since_start": {"text": 3e-15, "random": 0.0},
        "max_abs_logit_difference_float64": {"text": 2e-15, "random": 0.0},
    }
    return {
        "model": "tiny", "before": {**SHAPE, "neurons": 24}, "after": {**SHAPE, "groups": 1},
        "parameters": {"before": 10000, "after": 34567}, "expansions": [step],
        "predictions": {"text": 1000, "random": 2000}, "largest_logit": 12.34,
        "relative_float64": 1.6e-16,
        "as_written": {"dtype": "float32", "relative": 1e-7, "max_abs_logit_difference": 2e-6},
    }  # fmt: skip


def said(report, width=200):
    file = io.StringIO()
    Console(width=width, file=file).print(growth_report(report))
    return file.getvalue()


def test_every_number_has_its_place(report):
    text = said(report)
    assert "tiny: 10,000 -> 34,567 parameters (3.46 x)" in text
    assert "after   1 layers, width 8, 2 heads of 4 on 1 keys and values, 1,024 neurons" in text
    row = next(line for line in text.splitlines() if line.startswith("mlp"))
    assert row.split() == ["mlp", "+1000", "34,567", "2.0e-15", "0", "3.0e-15"]
    assert "1,000 predictions of real text and 2,000 of random tokens" in text
    assert "the largest logit is 12.3, so 1.6e-16 of it" in text
    assert "2.0e-06 (1.0e-07 of the largest)." in text


def test_rounding_is_said(report):
    report["as_written"] |= {"relative": 1e-3}
    assert "float32 rounds that much in this model" in said(report)
    report["as_written"] |= {"dtype": "bfloat16"}
    assert "bfloat16 rounds the weights" in said(report)


def test_a_dry_run_says_so(report):
    text = said(report | {"expansions": []})
    assert "Nothing was grown or written (--dry-run)." in text
    assert "predictions" not in text


def test_narrow_terminals_cut_no_number(report):
    assert "3.0e-15" in said(report, width=80)
