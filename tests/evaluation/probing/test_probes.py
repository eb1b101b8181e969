"""Logistic regression with silent rows as one, against all rows written out."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from monosemy.evaluation.probing.probes import fit


@pytest.mark.parametrize("strength", [0.003, 1.0])
def test_silent_rows_as_two_are_the_same_sum(strength):
    draw = np.random.default_rng(0)
    x = np.abs(draw.normal(size=(500, 3))) * (draw.random((500, 3)) < 0.2) * [1.0, 30.0, 0.1]
    y = draw.random(500) < np.where(x[:, 0] > 0, 0.8, 0.1)
    found = fit(x, y, strength)
    scale = np.sqrt((x**2).sum(0) / (x != 0).sum(0))
    plain = LogisticRegression(C=strength, tol=1e-10, max_iter=1000).fit(x / scale, y)
    np.testing.assert_allclose(found.weights, plain.coef_[0] / scale, rtol=1e-3)
    np.testing.assert_allclose(found.scores(x), plain.decision_function(x / scale), atol=1e-3)


def test_a_latent_that_never_fires_has_no_weight():
    x = np.array([[1.0, 0], [2, 0], [0, 0], [0, 0]])
    found = fit(x, np.array([True, True, False, False]), 1.0)
    assert found.weights[0] > 0
    assert found.weights[1] == 0
