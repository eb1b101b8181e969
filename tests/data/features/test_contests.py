import itertools

import torch

from monosemy.data.features.contests import stay_shares


def by_hand(active: list[float]) -> list[float]:
    """E[1 / (1 + K)] for each sibling, over all subsets of the others."""
    shares = []
    for one in range(len(active)):
        others = active[:one] + active[one + 1 :]
        total = 0.0
        for on in itertools.product([0, 1], repeat=len(others)):
            weight = 1.0
            for p, fires in zip(others, on, strict=True):
                weight *= p if fires else 1 - p
            total += weight / (1 + sum(on))
        shares.append(total)
    return shares


def test_shares_are_those_of_all_subsets():
    contest = torch.tensor([-1, 0, 0, 0, 0, 0, 7, 7, -1, 3])
    active = [0.5, 0.1, 0.9, 0.33, 1.0, 0.0, 0.6, 0.7, 1.0, 0.4]
    shares = stay_shares(contest, torch.tensor([active], dtype=torch.float64))[0]
    wanted = [1.0, *by_hand(active[1:6]), *by_hand(active[6:8]), 1.0, 1.0]
    torch.testing.assert_close(shares, torch.tensor(wanted, dtype=torch.float64))


def test_of_two_that_always_fire_each_stays_half_the_time():
    shares = stay_shares(torch.tensor([0, 0]), torch.ones(1, 2, dtype=torch.float64))
    torch.testing.assert_close(shares, torch.full((1, 2), 0.5, dtype=torch.float64))


def test_who_stays_adds_up_to_whether_anyone_fires():
    active = torch.rand(5, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    contest = torch.zeros(12, dtype=torch.int64)
    stayed = (active * stay_shares(contest, active)).sum(1)
    torch.testing.assert_close(stayed, 1 - (1 - active).prod(1))
