import torch

from monosemy.data.features.building import Forest, described
from monosemy.data.features.law import Rule


def a_forest() -> Forest:
    forest, axes = Forest(uniform=True), torch.eye(4)
    gate = forest.gate(0.3, Rule.CHOICE)
    top = forest.feature(axes[0], gate, 0.5, Rule.ALONE, mean=2.0, spread=0.1)
    forest.feature(axes[1], top, 0.25, Rule.ALONE, mean=1.0, spread=0.2, gain=0.5, chart=3)
    forest.gate(0.1, Rule.CIRCLE, mean=4.0)
    forest.feature(axes[2], -1, 0.75, Rule.ALONE, mean=1.0, spread=0.0)
    forest.feature(axes[3], gate, 0.5, Rule.ALONE, mean=1.0, spread=0.0)
    return forest


def test_gates_come_behind_the_features():
    law = a_forest().law()
    assert law.features == 4
    assert law.parents.tolist() == [4, 0, -1, 4, -1, -1]
    assert law.chance.tolist() == [0.5, 0.25, 0.75, 0.5, 0.3, 0.1]
    assert law.rules.tolist() == [0, 0, 0, 0, Rule.CHOICE, Rule.CIRCLE]
    assert law.mean.tolist() == [2, 1, 1, 1, 1, 4]
    assert law.gain.tolist() == [0, 0.5, 0, 0, 0, 0]
    assert law.uniform


def test_features_are_described_without_gates():
    forest = a_forest()
    features = described("x", forest.law(), torch.eye(4), torch.tensor([-1, 3, -1, -1]))
    assert features.parents.tolist() == [-1, 0, -1, -1]
    assert features.levels.tolist() == [0, 1, 0, 0]
    assert features.charts.tolist() == [-1, 3, -1, -1]
    torch.testing.assert_close(features.rates, torch.tensor([0.15, 0.0375, 0.75, 0.15]))


def test_a_gate_between_features_is_left_out_of_the_ancestry(make_law):
    parents = torch.full((18,), -1)
    parents[2], parents[15] = 15, 1  # feature 2 below gate 15 below feature 1
    law = make_law(parents=parents, rules=torch.zeros(18, dtype=torch.int64))
    features = described("x", law, torch.eye(15), torch.full((15,), -1))
    assert features.parents[2] == 1
    assert features.levels[2] == 1
