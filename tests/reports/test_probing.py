"""Probes in the terminal and as a figure."""

import io
import re

from rich.console import Console

from monosemy.reports.probing import png, probing_report, svg


def estimate(value, wide=0.05):
    return {"value": value, "low": value - wide, "high": value + wide}


def metrics(value):
    return {name: estimate(value) for name in ("auc", "f1", "accuracy")}


def report():
    mean = {"dictionary": {"1": metrics(0.8), "5": metrics(0.9)},
            "random_model": {"1": metrics(0.6), "5": metrics(0.7)}}  # fmt: skip
    group = {"concepts": 2, "mean": mean, "dense": {"dictionary": metrics(0.95)}}
    concept = {"group": "keyword", "parents": [], "tokens": 1234, "f1_of_always": 0.1}
    concepts = [
        {**concept, "name": "keyword def", "best": [7, 7, 7], "speaks_for": [True] * 3,
         "dictionary": {"1": metrics(0.91)}},
        {**concept, "name": "string", "best": [3, 4, 3], "speaks_for": [False, True, False],
         "dictionary": {"1": metrics(0.5)}},
    ]  # fmt: skip
    return {
        "source": "python", "site": "x", "tokens": 5000, "folds": 3, "ks": [1, 5],
        "documents": {"probed": 9, "of_another_kind": 2}, "dictionary": {"l0": 16.0, "latents": 32},
        "groups": {"all": group, "keyword": group}, "concepts": concepts, "left_out": {"a": {}},
    }  # fmt: skip


def test_the_table_says_what_was_found():
    console = Console(width=160, file=io.StringIO())
    console.print(probing_report(report()))
    said = console.file.getvalue()
    for text in ("2 concepts (1 left out", "AUC, k = 5", "0.850–0.950", "random model",
                 "whole activation", "keyword (2)", "−3 4 −3", "1,234", "2 documents are"):  # fmt: skip
        assert text in said, text
    assert said.index("keyword def") < said.index("string")


def test_the_figure_has_every_line_and_repeats():
    drawn = svg(report())
    assert drawn == svg(report())
    assert len(re.findall(r"random model|whole activation|dictionary", drawn)) >= 3
    assert png(report())[:4] == b"\x89PNG"
