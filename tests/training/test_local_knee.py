"""Where a curve bends: planted knees, straight lines, slow bends."""

import pytest
import torch

from monosemy.training.local_knee import knee


@pytest.mark.parametrize("at", [2, 12, 30])
def test_the_knee_of_two_straight_lines_is_where_they_meet(at: int):
    n = torch.arange(1, 97).double()
    curve = torch.minimum(n, torch.tensor(float(at))) + 0.01 * (n - at).clamp_min(0)
    assert knee(curve) == at
    assert knee(1000 * curve + 7) == at  # units do not matter


def test_a_straight_line_and_a_slow_bend_have_none():
    n = torch.arange(1, 97).double()
    assert knee(n) is None
    assert knee(n.sqrt()) is None
    assert knee(n.sqrt(), clear=0.1) is not None  # which is what `clear` is for


def test_a_curve_that_does_not_rise_needs_one_chart():
    assert knee(torch.ones(10)) == 1
    assert knee(torch.zeros(10)) == 1


def test_two_points_make_no_curve():
    assert knee(torch.tensor([1.0, 2.0])) is None
