"""Both ways of drawing answer one battery: rates, activations, contests, choices, manifolds."""

import itertools
from types import ModuleType

import pytest
import torch

from monosemy.data.features import compiled, plain
from monosemy.data.features.drawing import draw, route_for
from monosemy.data.features.rates import rates

COUNT = 200_000
# Standard errors: 60 counts all lie within but once in 10,000 tests (Bonferroni).
WITHIN = 4.8


@pytest.fixture(params=[plain, compiled], ids=["plain", "compiled"])
def way(request) -> ModuleType:
    return request.param


def drawn(way, law, seed: int = 0, count: int = COUNT):
    return way.draw(law, count, torch.Generator().manual_seed(seed))


def test_the_route_is_compiled_on_a_processor():
    assert route_for(torch.device("cpu")) == "compiled"
    assert route_for(torch.device("cuda")) == "plain"


@pytest.mark.parametrize("kind", ["law", "correlated"])
def test_features_are_active_as_often_as_their_rates_say(way, kind, deviations, request):
    law = request.getfixturevalue(kind)
    off = deviations(drawn(way, law), rates(law))
    assert off.abs().max() < WITHIN
    # Able to fail: the same counts against rates that are wrong by a twentieth.
    assert deviations(drawn(way, law), 0.95 * rates(law)).abs().max() > WITHIN


@pytest.mark.parametrize("kind", ["law", "correlated"])
def test_a_code_is_in_order_and_without_zeros(way, kind, request):
    code = drawn(way, request.getfixturevalue(kind), count=5000)
    assert code.tokens == 5000
    assert code.latents == 15
    assert code.values.dtype == torch.float32
    within = code.rows[1:] == code.rows[:-1]
    assert (code.indices[1:] > code.indices[:-1])[within].all()
    assert (code.values != 0).all()


def test_no_child_without_its_parent_and_no_two_that_exclude_each_other(way, law, correlated):
    for one in (law, correlated):
        on = drawn(way, one).dense() != 0
        for child, parent in ((1, 0), (2, 0), (3, 1), (10, 9), (11, 9)):
            assert not (on[:, child] & ~on[:, parent]).any()
        for a, b in ((1, 2), (4, 5), (13, 14)):
            assert not (on[:, a] & on[:, b]).any()
        assert (on[:, 13] | on[:, 14]).all()  # a choice whose chances add up to one
        assert (on[:, 0] & ~on[:, 1] & ~on[:, 2]).any()
        assert (on[:, 0] & on[:, 6]).any()


def test_activations_have_the_moments_of_the_law(way, law):
    full = drawn(way, law).dense()

    def near(values, mean, std):
        error = std / len(values) ** 0.5
        assert abs(values.mean() - mean) < WITHIN * error + 1e-6
        assert abs(values.std() - std) < WITHIN * error + 1e-6

    near(full[:, 6][full[:, 6] > 0], 1.0, 0.3)
    near(full[:, 3][full[:, 3] > 0], 3.0, 0.1)  # gain 0: its parent does not scale it
    both = full[full[:, 2] > 0]
    torch.testing.assert_close(both[:, 2], 0.5 * both[:, 0])  # gain 0.5, mean 1, no spread


def test_a_childs_activation_is_scaled_by_its_parents_own(way, law):
    full = drawn(way, law).dense()
    on = full[full[:, 1] > 0]
    own = on[:, 1] / (0.5 * on[:, 0])
    # max(0, N(1, 1)) above zero: the mean of a truncated normal distribution.
    density = torch.exp(torch.tensor(-0.5)) / (2 * torch.pi) ** 0.5
    mean = 1 + density / torch.special.ndtr(torch.tensor(1.0))
    assert abs(own.mean() - mean) < WITHIN * own.std() / len(own) ** 0.5
    assert abs(torch.corrcoef(torch.stack([own, on[:, 0]]))[0, 1]) < WITHIN / len(own) ** 0.5


def test_uniform_activations_fill_their_range_evenly(way, make_law):
    full = drawn(way, make_law(uniform=True)).dense()
    values = full[:, 5][full[:, 5] > 0]  # mean 1, spread 0.2
    assert 0.8 < values.min() < 0.801
    assert 1.199 < values.max() < 1.2001
    shares = torch.histc(values, 10, 0.8, 1.2) / len(values)
    assert (shares - 0.1).abs().max() < WITHIN * (0.09 / len(values)) ** 0.5


def test_points_lie_evenly_on_their_manifolds(way, law):
    full = drawn(way, law).dense()
    circle = full[full[:, 7] != 0][:, 7:9]
    radius = circle.norm(dim=1)  # the gate's activation, N(2, 0.5)
    assert abs(radius.mean() - 2) < WITHIN * 0.5 / len(radius) ** 0.5
    angle = torch.atan2(circle[:, 1], circle[:, 0])
    shares = torch.histc(angle, 12, -torch.pi, torch.pi) / len(angle)
    assert (shares - 1 / 12).abs().max() < WITHIN * (1 / 12 / len(angle)) ** 0.5

    on = full[full[:, 9] > 0]
    point = on[:, 10:13] / on[:, 9:10] / 0.6
    cos, sin, double = (point / (2 / 3) ** 0.5).T
    torch.testing.assert_close(cos.square() + sin.square(), torch.ones(len(on)))
    torch.testing.assert_close(2 * cos * sin, double, rtol=1e-4, atol=1e-4)
    covariance = point.T @ point / len(point)
    assert (covariance - torch.eye(3) / 3).abs().max() < WITHIN / len(point) ** 0.5


def test_correlation_is_that_of_the_copula(way, correlated):
    """Of two roots alone: P(both) from a bivariate normal distribution, against the counts."""
    on = (drawn(way, correlated).dense() != 0).double()
    scipy_stats = pytest.importorskip("scipy.stats")
    for a, b in itertools.combinations((0, 6, 9), 2):
        r = float(correlated.factor[a] @ correlated.factor[b])
        upper = (-correlated.thresholds[[a, b]]).tolist()
        both = float(scipy_stats.multivariate_normal.cdf(upper, [0, 0], [[1, r], [r, 1]]))
        both *= float(torch.special.ndtr(correlated.mean[a] / correlated.spread[a]))
        both *= float(torch.special.ndtr(correlated.mean[b] / correlated.spread[b]))
        error = (both / COUNT) ** 0.5
        assert abs(float((on[:, a] * on[:, b]).mean()) - both) < WITHIN * error
    a, b = 0, 9  # able to fail: independent, they would meet less or more often
    apart = float(on[:, a].mean() * on[:, b].mean())
    assert abs(float((on[:, a] * on[:, b]).mean()) - apart) > WITHIN * (apart / COUNT) ** 0.5


def test_the_state_of_the_generator_decides(way, law):
    one, same, other = drawn(way, law, 3, 500), drawn(way, law, 3, 500), drawn(way, law, 4, 500)
    assert torch.equal(one.indices, same.indices)
    assert torch.equal(one.values, same.values)
    assert not torch.equal(one.dense(), other.dense())
    generator = torch.Generator().manual_seed(3)
    first, second = (way.draw(law, 500, generator) for _ in range(2))
    assert torch.equal(first.dense(), one.dense())
    assert not torch.equal(first.dense(), second.dense())


def test_nothing_is_drawn_where_nothing_is_asked(way, law):
    code = drawn(way, law, count=0)
    assert (code.tokens, len(code.indices), code.latents) == (0, 0, 15)


def test_certain_and_impossible_chances_are_kept(way, make_law):
    chance = torch.ones(18, dtype=torch.float64)
    chance[[4, 14]] = 0.0
    law = make_law(chance=chance, mean=torch.full((18,), 100.0))
    on = drawn(way, law, count=300).dense() != 0
    assert not on[:, [4, 14]].any()
    assert on[:, [0, 3 - 3, 5, 6, 7, 9, 13]].all()
    assert (on[:, 1] ^ on[:, 2]).all()


def test_the_module_draws_as_its_route_does(law):
    one = draw(law, 100, torch.Generator().manual_seed(5))
    assert torch.equal(one.dense(), drawn(compiled, law, 5, 100).dense())
