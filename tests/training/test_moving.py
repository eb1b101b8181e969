"""Training while something moves: the schedule, and where it goes on after a stop."""

from types import SimpleNamespace

import torch
from torch import nn

from monosemy.training.moving import LearnWhileMoving


class _Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 5)

    def forward(self, ids):
        return SimpleNamespace(logits=self.table(ids))


class _Moved:
    def __init__(self):
        self.share, self.seen = 0.0, []

    def move(self, share):
        self.seen.append((self.share, share))
        self.share = share


IDS = torch.tensor([[0, 1, 2]])


def test_moves_come_before_the_first_steps_only():
    moved = _Moved()
    program = LearnWhileMoving(_Model(), moved, 4)
    for _ in range(6):
        program.loss(IDS)
    assert moved.seen == [(0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)]


def test_a_resumed_move_goes_on_where_it_was():
    first = LearnWhileMoving(_Model(), _Moved(), 4)
    for _ in range(2):
        first.loss(IDS)
    moved = _Moved()
    second = LearnWhileMoving(_Model(), moved, 4)
    second.load_state_dict(first.state_dict())
    second.loss(IDS)
    assert moved.seen == [(0.5, 0.75)]


def test_nothing_moves_where_there_is_nothing():
    program = LearnWhileMoving(_Model(), None, 4)
    loss, readings = program.loss(IDS)
    assert torch.isfinite(loss)
    assert readings == {}
    program.load_state_dict(program.state_dict())
