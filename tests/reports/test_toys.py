"""Figures of toys: drawn from their numbers alone, the same bytes each time."""

from __future__ import annotations

import re

import pytest

from monosemy.reports import toys

PHASES = ["ignored", "in superposition", "its own dimension"]
DIAGRAM = {
    "features": 2, "hidden": 1, "agreement": 0.75, "n_cells": 4, "density": [1.0, 0.1],
    "importance": [0.1, 10.0], "learned": [[0, 2], [1, 1]], "closed_form": [[0, 1], [1, 1]],
    "near_boundary": [[False, False], [False, False]], "phases": PHASES,
}  # fmt: skip
ROW = {"ratio": 2.0, "dimensions_per_feature": 0.5, "dimensionalities": [0.5, 0.51]}
PAIR = [[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]]
ONSET = {"density": 0.5, "squared_lengths": [1.0, 0.9], "in_superposition": [1],
         "gram": [[1.0, -0.9], [-0.9, 1.0]]}  # fmt: skip
TIMES = {"steps": [0, 5, 10, 15], "dimensionality": [[0.1, 0.2], [0.5, 0.2], [0.5, 0.5], [0.5, 0.5]],
         "loss": [0.1, 0.02, 0.01, 0.01], "best": 0, "begin": 0,
         "coincidence": [{"windows": 1}]}  # fmt: skip
LARGE = {"density": 0.1, "shares": [[0.5, 0.5], [1.0, 0.0]]}
SMALL = {"read": [[1.0, 0, 0], [0, -1.0, 0]], "write": [[1.0, 0, 0], [0, 1.0, 0]]}
VULNERABLE = {"ratio": 2.0, "vulnerability": 4.0, "random_attack": 1.0,
              "without_superposition": 1.0, "dimensions_per_feature": 0.5}  # fmt: skip
FIGURES = {
    "phases": lambda: toys.phase_diagrams([DIAGRAM]),
    "plateaus": lambda: toys.plateaus([ROW, {**ROW, "ratio": 3.0}]),
    "onset": lambda: toys.onset({"linear": [ONSET] * 2, "relu": [ONSET] * 2}),
    "company": lambda: toys.companies(
        {"together": {"best": PAIR, "density": 0.1}, "one of": {"best": PAIR, "density": 0.4}},
        [{"best": PAIR, "density": 0.1}],
    ),
    "geometry": lambda: toys.pentagons([{"weights": PAIR, "factor": 0.5}]),
    "dynamics": lambda: toys.dynamics(TIMES),
    "vulnerability": lambda: toys.vulnerabilities([VULNERABLE]),
    "neurons": lambda: toys.neurons(
        [{"density": 0.1, "monosemantic": 0.5, "weights": [[1.0, 0.0], [1.0, 1.0]]}]
    ),
    "computation": lambda: toys.computation(SMALL, [LARGE] * 2),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_and_the_same_twice(name):
    svg = FIGURES[name]()
    assert svg.startswith("<?xml")
    assert svg == FIGURES[name]()
    # Mathematics left unset would show as dollar signs.
    assert "$" not in svg


def test_a_phase_diagram_names_its_phases_and_crosses_what_disagrees():
    svg = toys.phase_diagrams([DIAGRAM])
    assert all(name in svg for name in PHASES)
    assert "2 in 1, learned: 75.0 % of 4 cells" in svg
    same = toys.phase_diagrams([{**DIAGRAM, "learned": DIAGRAM["closed_form"]}])
    assert len(re.findall("#ffffff", svg)) > len(re.findall("#ffffff", same))
