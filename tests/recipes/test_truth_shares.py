import pytest

from monosemy.foundation.progress import Progress
from monosemy.recipes.truth_shares import Shares


def test_a_cell_is_one_unit_told_a_percent_at_a_time():
    told = []
    shares = Shares(told.append)
    assert isinstance(shares, Progress)
    with shares.task("train", 10_000, "tokens") as task:
        for _ in range(1000):
            task.advance(10, "loss 1")
    assert sum(told) == pytest.approx(0.9)
    assert 80 <= len(told) <= 92
    with shares.task("measure", 7) as task:
        task.advance(7)
    assert sum(told) == pytest.approx(1)


def test_nothing_to_do():
    with Shares(lambda share: None).task("train", 0) as task:
        task.advance(0)
