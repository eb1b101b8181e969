"""Logistic regressions: the minimum they claim, in any units, and the ranking they give."""

import numpy as np
import pytest
import scipy.sparse

from monosemy.evaluation.structure import probes
from monosemy.evaluation.structure.probes import f1, fit_on_latents, fit_probe, ranked, typical_size


def test_f1_by_hand():
    scores = np.array([1.0, 1.0, -1.0, 1.0, -1.0])
    positive = np.array([True, True, True, False, False])
    assert f1(scores, positive) == pytest.approx(2 * 2 / (3 + 3))
    assert f1(-np.ones(5), positive) == 0.0
    assert f1(scores, np.zeros(5, dtype=bool)) == 0.0


def test_typical_size_is_that_of_the_numbers_about_their_mean():
    x = np.random.default_rng(0).normal(5, 3, (20_000, 4))
    assert typical_size(x) == pytest.approx(3, rel=0.02)
    assert typical_size(7 * x) == pytest.approx(7 * typical_size(x))
    assert typical_size(np.ones((3, 2))) > 0


def task(seed, tokens=3000, width=6):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(tokens, width))
    positive = x[:, 0] - 0.5 * x[:, 1] + 0.3 * draw.normal(size=tokens) > 1.2
    return x, positive


def test_a_probe_finds_the_direction():
    x, positive = task(0)
    probe = fit_probe(x, positive)
    wanted = np.array([1, -0.5, 0, 0, 0, 0]) / 1.25**0.5
    assert probe.direction @ wanted > 0.99
    assert np.linalg.norm(probe.direction) == pytest.approx(1)
    assert f1(probe.scores(x), positive) > 0.8


def test_a_probe_is_the_same_in_any_units():
    x, positive = task(1)
    here, there = fit_probe(x, positive), fit_probe(100 * x + 7, positive)
    np.testing.assert_allclose(here.scores(x), there.scores(100 * x + 7), rtol=1e-3, atol=1e-3)


def codes(seed, tokens=2000, latents=400):
    """Latents 0, 1 and 2 fire with the label, the rarer the later; the rest by chance."""
    draw = np.random.default_rng(seed)
    positive = draw.random(tokens) < 0.2
    full = draw.random((tokens, latents)) * (draw.random((tokens, latents)) < 0.03)
    kind = draw.choice(3, tokens, p=[0.7, 0.2, 0.1])
    for latent in range(3):
        full[:, latent] = np.where(positive & (kind == latent), 1.0, 0.0)
    return scipy.sparse.csr_array(full), positive


def test_latents_that_go_with_the_label_come_first():
    code, positive = codes(0)
    assert ranked(code, positive, 0.01)[:2].tolist() == [0, 1]
    # The stronger the penalty, the fewer.
    assert len(ranked(code, positive, 0.1)) < len(ranked(code, positive, 0.01))


def many(seed, tokens=3000, latents=400):
    """Sixty latents that each go a little with the label, among others that do not."""
    draw = np.random.default_rng(seed)
    full = draw.random((tokens, latents)) * (draw.random((tokens, latents)) < 0.1)
    size = np.zeros(latents)
    size[:60] = np.linspace(4, 0.5, 60)
    positive = full @ size + draw.normal(size=tokens) > 9
    return scipy.sparse.csr_array(full), positive


def test_screening_changes_nothing(monkeypatch):
    code, positive = many(1)
    found = ranked(code, positive, 0.002)
    monkeypatch.setattr(probes, "_SCREENED", 400)
    everything = ranked(code, positive, 0.002)
    assert len(everything) > 20
    monkeypatch.setattr(probes, "_SCREENED", 5)
    few = ranked(code, positive, 0.002)
    assert few[:10].tolist() == everything[:10].tolist() == found[:10].tolist()


def test_screening_without_the_second_look_would_be_seen(monkeypatch):
    code, positive = many(1)
    everything = set(ranked(code, positive, 0.002).tolist())
    monkeypatch.setattr(probes, "_SCREENED", 5)
    monkeypatch.setattr(probes, "_CALLS", 1)
    assert len(everything - set(ranked(code, positive, 0.002).tolist())) > 10


def test_the_weights_are_the_minimum_of_the_penalised_loss(monkeypatch):
    code, positive = codes(2, latents=40)
    l1, cost = 0.01, np.where(positive, (~positive).sum() / positive.sum(), 1.0)
    weights, residual = probes._sparse_weights(code, positive, cost, l1)
    slope = code.T @ residual / len(positive)
    # Where a weight is not zero the slope is the penalty, with its sign; elsewhere it is less.
    on = weights != 0
    assert on.sum() >= 3
    np.testing.assert_allclose(slope[on], l1 * np.sign(weights[on]), atol=5e-4)
    assert np.abs(slope[~on]).max() <= l1 + 5e-4
    # The bias is free: the residuals add up to nothing.
    assert abs(residual.mean()) < 5e-3


def test_where_no_weight_is_positive_the_likeliest_latent_is_taken():
    code, positive = codes(3)
    assert ranked(code, positive, 100.0).tolist() == [0]


def test_a_probe_on_latents_sees_these_alone():
    code, positive = codes(4)
    alone = fit_on_latents(code, positive, np.array([0]))
    together = fit_on_latents(code, positive, np.array([0, 1, 2]))
    assert f1(together.scores(code[:, [0, 1, 2]].toarray()), positive) == 1.0
    assert 0.7 < f1(alone.scores(code[:, [0]].toarray()), positive) < 0.95
