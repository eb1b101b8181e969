"""Least squares on whole activations: its solution, and what it tells."""

import numpy as np
from sklearn.linear_model import Ridge

from monosemy.evaluation.probing.dense import _Sums, probe_dense


def test_the_weights_are_those_of_ridge_regression(drawn):
    made = drawn()
    made.unsure[:] = False
    truth = made.truth
    parts = [_Sums.of(made.full, truth, truth.folds.of(fold)) for fold in range(4)]
    weights, bias = _Sums.without(parts, (1,)).solve(0.01)
    rows = truth.folds.inside(1)
    x = made.full[rows].astype(np.float64)
    size = np.square(x - x.mean(0)).sum() / x.shape[1]
    plain = Ridge(alpha=0.01 * size).fit(x, made.has[rows].astype(float))
    np.testing.assert_allclose(weights, plain.coef_.T, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(bias, plain.intercept_, rtol=1e-6)


def test_it_finds_a_direction_and_nothing_in_noise(drawn):
    made = drawn(tokens=1500)
    draw = np.random.default_rng(3)
    x = draw.normal(size=(1500, 10)).astype(np.float32)
    x[:, 0] += 3 * made.has[:, 1]
    x[:, 1] -= 3 * made.has[:, 1]
    values = probe_dense(x, made.truth).values()
    assert values["auc"][1] > 0.98
    assert abs(values["auc"][0] - 0.5) < 0.08
