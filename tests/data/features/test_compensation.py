import pytest
import torch

from monosemy.data.features.compensation import (
    exact_chances,
    first_order_chances,
    impossible,
    shares,
)
from monosemy.data.features.contests import stay_shares

PARENTS = torch.tensor([-1, -1, 0, 0, 2, 2, 2])
WANTED = torch.tensor([0.5, 0.2, 0.2, 0.25, 0.1, 0.05, 0.02], dtype=torch.float64)
ALIVE = torch.tensor([1.0, 1.0, 0.9, 0.95, 1.0, 0.99, 1.0], dtype=torch.float64)


def test_shares_are_of_the_parents_samples():
    wanted = torch.tensor([0.5, 0.2, 0.4, 0.5, 0.5, 0.25, 0.1], dtype=torch.float64)
    torch.testing.assert_close(shares(WANTED, PARENTS), wanted)


def test_first_order_by_hand():
    found = first_order_chances(WANTED, PARENTS, exclusive=True)
    wanted = [0.5, 0.2, 0.4 * 1.5, 0.5 * 1.4, 0.5 * 1.35, 0.25 * 1.6, 0.1 * 1.75]
    assert found.tolist() == pytest.approx(wanted)
    alone = first_order_chances(WANTED, PARENTS, exclusive=False)
    torch.testing.assert_close(alone, shares(WANTED, PARENTS))


def test_first_order_stops_at_one():
    wanted = torch.tensor([0.1, 0.09, 0.09], dtype=torch.float64)
    found = first_order_chances(wanted, torch.tensor([-1, 0, 0]), exclusive=True)
    assert found.tolist() == [0.1, 1.0, 1.0]


def test_exact_chances_give_the_rates():
    chance = exact_chances(WANTED, PARENTS, True, ALIVE)
    active = chance * ALIVE
    stays = active * stay_shares(PARENTS, active[None])[0]
    rates = stays.clone()
    for child in range(2, 7):
        rates[child] = stays[child] * rates[PARENTS[child]]
    torch.testing.assert_close(rates, WANTED, rtol=1e-9, atol=0)
    # To first order they would miss: the check can fail.
    nearly = first_order_chances(WANTED, PARENTS, True)
    missed = nearly * stay_shares(PARENTS, nearly[None])[0] - shares(WANTED, PARENTS)
    assert missed[2:].abs().min() > 0.002


def test_exact_chances_of_siblings_that_do_not_exclude_each_other():
    chance = exact_chances(WANTED, PARENTS, False, ALIVE)
    torch.testing.assert_close(chance * ALIVE, shares(WANTED, PARENTS))


def test_two_equal_siblings_that_fill_their_parent_always_fire():
    wanted = torch.tensor([0.3, 0.15, 0.15], dtype=torch.float64)
    ones = torch.ones(3, dtype=torch.float64)
    chance = exact_chances(wanted, torch.tensor([-1, 0, 0]), True, ones)
    assert chance.tolist() == pytest.approx([0.3, 1.0, 1.0], rel=1e-2)


def test_what_no_chances_give_is_named():
    wanted = torch.tensor([0.3, 0.2, 0.15], dtype=torch.float64)
    parents = torch.tensor([-1, 0, 0])
    assert impossible(wanted, parents, exclusive=False) == []
    assert impossible(wanted, parents, exclusive=True) == [
        "feature 1 and its exclusive siblings are wanted together on 0.35 of all samples, and the "
        "parent, feature 0, on 0.3 (and 1 more features like it); use fewer or rarer children"
    ]
    wanted[2] = 0.4
    assert impossible(wanted, parents, exclusive=False) == [
        "feature 2 is wanted on 0.4 of all samples, and the parent, feature 0, on 0.3; use fewer or "
        "rarer children"
    ]
