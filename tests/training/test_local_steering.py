"""Thresholds that are led to where as many parents and children are active as wanted."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.dictionaries.selection import ReLU
from monosemy.training.local_steering import begin_floor, settle, steer

PARENTS, WIDTH = 16, 12


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def rows() -> torch.Tensor:
    return torch.randn(500, WIDTH, generator=draw(5))


@pytest.fixture
def dictionary() -> LocalDictionary:
    directions = normalize(torch.randn(PARENTS, WIDTH, generator=draw()), dim=1)
    trunk = FlatDictionary.tied(directions, torch.zeros(WIDTH), ReLU())
    V = torch.linalg.qr(torch.randn(4, WIDTH, 3, generator=draw(1)))[0].mT.contiguous()
    C = normalize(torch.randn(PARENTS, 3, 3, generator=draw(2)), dim=2)
    return LocalDictionary(trunk, V, torch.arange(PARENTS) % 4, C).eval()


def test_the_floor_begins_where_as_many_proposals_lie_above_it(dictionary, rows):
    code = dictionary.parents.code(rows)
    begin_floor(dictionary, code, 2.0)
    assert int((code.values >= float(dictionary.floor)).sum()) == 1000
    assert float(dictionary.least) == pytest.approx(0.1)


def test_with_fewer_proposals_than_wanted_all_lie_above_it(dictionary, rows):
    code = dictionary.parents.code(rows[:3])
    begin_floor(dictionary, code, 1000.0)
    assert float(dictionary.floor) == float(code.values.detach().min())
    begin_floor(dictionary, code.keep(code.values < 0), 2.0)
    assert float(dictionary.floor) == 1.0


@pytest.mark.parametrize(("wanted", "sign"), [((0.5, 0.1), 1), ((12.0, 6.0), -1)])
def test_thresholds_rise_where_too_many_are_active_and_fall_where_too_few(
    dictionary, rows, wanted, sign
):
    begin_floor(dictionary, dictionary.parents.code(rows), 3.0)
    before = [float(dictionary.floor), float(dictionary.least)]
    _, parents, levels = dictionary.find(rows)
    counts = steer(dictionary, parents, levels, wanted)
    after = [float(dictionary.floor), float(dictionary.least)]
    for one, other, count, goal in zip(before, after, counts.values(), wanted, strict=True):
        asked = math.sqrt((float(count) + 0.02) / (goal + 0.02))
        assert other / one == pytest.approx(min(max(asked, 1 / 1.12), 1.12), rel=1e-5)
        assert sign * (other - one) > 0


def test_a_level_without_charts_is_left_alone(dictionary, rows):
    dictionary.routes.fill_(-1)
    _, parents, levels = dictionary.find(rows)
    steer(dictionary, parents, levels, (2.0, 1.0))
    assert float(dictionary.least) == 0


@pytest.mark.parametrize("wanted", [(2.0, 1.0), (1.0, 0.3), (4.0, 0.1)])
def test_settled_thresholds_leave_as_many_as_wanted(dictionary, rows, wanted):
    begin_floor(dictionary, dictionary.parents.code(rows), wanted[0])
    settle(dictionary, rows, wanted)
    code = dictionary.code(rows)
    parents = float((code.indices < PARENTS).sum()) / len(rows)
    children = float((code.indices >= PARENTS).sum()) / len(rows)
    assert parents == pytest.approx(wanted[0], rel=0.02)
    assert children == pytest.approx(wanted[1], rel=0.05)


def test_nothing_to_look_at_moves_nothing_to_where_it_is_no_number(dictionary):
    for rows in (torch.zeros(0, WIDTH), torch.zeros(5, WIDTH)):
        settle(dictionary, rows, (2.0, 1.0))
        assert math.isfinite(float(dictionary.floor))
        assert math.isfinite(float(dictionary.least))
