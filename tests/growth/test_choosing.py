"""Which features are chosen: crosstalk in closed form, rules, and what is refused."""

import math

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.growth.choosing import candidates, choose, crosstalk, named, unknown_rule
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.compute import Compute


def _code(tokens=20_000):
    draw = torch.Generator().manual_seed(0)
    full = torch.rand(tokens, 3, generator=draw) * (torch.rand(tokens, 3, generator=draw) < 0.5)
    return full, SparseCode.from_dense(full)


@pytest.mark.parametrize("degrees", [90, 60, 30])
def test_crosstalk_is_the_square_of_the_cosine_times_the_variances(degrees):
    full, code = _code()
    angle = math.radians(degrees)
    d = torch.tensor([[1.0, 0, 0], [math.cos(angle), math.sin(angle), 0], [0, 0, 1.0]])
    found = crosstalk(code, d, torch.tensor([0, 2]))
    fires = full[:, 0] > 0
    wanted = math.cos(angle) ** 2 * full[fires, 1].var() / full[fires, 0].var()
    assert abs(float(found[0]) - float(wanted)) < 1e-2 * max(float(wanted), 0.1)
    assert float(found[1]) < 1e-6  # orthogonal to both


def test_the_largest_scores_are_chosen_and_chance_is_seeded():
    among = torch.tensor([3, 5, 8, 9])
    score = torch.tensor([1.0, 4.0, 3.0, 2.0])
    assert choose(2, among, score, Compute()).tolist() == [5, 8]
    one, two = (choose(2, among, None, Compute(seed=7)) for _ in range(2))
    assert torch.equal(one, two)
    assert set(one.tolist()) <= set(among.tolist())
    with pytest.raises(UserError, match="5 features asked for; 4 fire on 0.2% to 10%"):
        choose(5, among, score, Compute())


def test_candidates_fire_neither_too_rarely_nor_too_often():
    assert candidates(torch.tensor([0.0, 1e-3, 2e-3, 0.05, 0.1, 0.5])).tolist() == [2, 3, 4]


def test_named_features_are_checked_all_at_once():
    density = torch.tensor([0.1, 0.0, 0.2])
    assert named([2, 0], density).tolist() == [0, 2]
    told = (
        r"(?s)feature 7: .* has features 0 to 2.*feature 0 is named 2 times.*feature 1 never fires"
    )
    with pytest.raises(UserError, match=told):
        named([7, 0, 0, 1], density)


def test_an_unknown_rule_is_named_with_the_known_ones():
    assert unknown_rule("density") == []
    assert "did you mean 'density'" in unknown_rule("densty")[0]
