"""Formulas against numpy by hand, and what each of the three explained variances can see."""

import numpy as np
import pytest
import torch

from monosemy.evaluation.reconstruction import METRICS, fidelity_terms, spread_terms
from monosemy.evaluation.results import estimate
from monosemy.evaluation.sums import DocumentSums

TOKENS, WIDTH = 300, 8
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(TOKENS, WIDTH)) * np.linspace(0.5, 2, WIDTH)
X_HAT = 0.9 * X + 0.3 * DRAW.normal(size=X.shape)
MEAN = X.mean(0)
ACTIVE = DRAW.integers(0, 9, TOKENS)
DOCUMENT = torch.from_numpy(np.sort(DRAW.integers(0, 10, TOKENS)))


def _measure(x, x_hat, mean, batch=64, active=ACTIVE, dtype=torch.float64):
    x, x_hat, mean = (torch.tensor(array, dtype=dtype) for array in (x, x_hat, mean))
    sums = DocumentSums(10)
    for at in range(0, len(x), batch):
        part = slice(at, at + batch)
        sums.add(DOCUMENT[part], spread_terms(x[part]))
        latents = torch.as_tensor(active)[part]
        sums.add(DOCUMENT[part], fidelity_terms(x[part], x_hat[part], latents, mean))
    return estimate(sums.sums(), METRICS, 0)


def _values(*arguments, **options):
    return {name: e.value for name, e in _measure(*arguments, **options).items()}


def _by_hand(x, x_hat, mean):
    error = ((x - x_hat) ** 2).sum(1)
    norm, norm_hat = (np.linalg.norm(array, axis=1) for array in (x, x_hat))
    return {
        "l0": ACTIVE.mean(),
        "explained_variance": 1 - error.sum() / ((x - x.mean(0)) ** 2).sum(),
        "explained_variance_per_token": np.mean(1 - error / ((x - mean) ** 2).sum(1)),
        "explained_variance_uncentred": 1 - error.sum() / (norm**2).sum(),
        "cosine": np.mean((x * x_hat).sum(1) / (norm * norm_hat)),
        "mse": error.mean(),
        "l2_ratio": np.mean(norm_hat / norm),
        "relative_reconstruction_bias": (norm_hat**2).mean() / (x * x_hat).sum(1).mean(),
    }


@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_every_metric_is_its_formula(offset):
    x, x_hat, mean = X + offset, X_HAT + offset, MEAN + offset + 0.1
    assert _values(x, x_hat, mean) == pytest.approx(_by_hand(x, x_hat, mean), rel=1e-9)


@pytest.mark.parametrize("batch", [1, 7, 300])
def test_the_batch_does_not_matter(batch):
    assert _values(X, X_HAT, MEAN, batch=batch) == pytest.approx(_by_hand(X, X_HAT, MEAN))


def test_intervals_contain_their_values():
    for found in _measure(X, X_HAT, MEAN).values():
        assert found.low < found.value < found.high


# --- explained variance -------------------------------------------------------------------------


def _as_computed_elsewhere(x, x_hat):
    """SAEBench's "new" form: the mean of squares where the square of the mean belongs."""
    error, square = ((x - x_hat) ** 2).sum(1).mean(), (x**2).sum(1).mean()
    return 1 - error / (square - (x**2).mean(0).mean() ** 2)


@pytest.mark.parametrize("offset", [1.0, 10.0, 1000.0])
@pytest.mark.parametrize("scale", [0.01, 1.0, 20.0])
def test_explained_variance_sees_neither_offset_nor_scale(offset, scale):
    plain, moved = (
        _values(scale * (X + o), scale * (X_HAT + o), scale * (MEAN + o)) for o in (0.0, offset)
    )
    wanted = _by_hand(X, X_HAT, MEAN)
    for name in ("explained_variance", "explained_variance_per_token"):
        assert plain[name] == pytest.approx(wanted[name], abs=1e-6)
        assert moved[name] == pytest.approx(wanted[name], abs=1e-6)


def test_the_formula_used_elsewhere_sees_both():
    truth = _values(X, X_HAT, MEAN)["explained_variance"]
    assert abs(_as_computed_elsewhere(X + 10, X_HAT + 10) - truth) > 0.05
    assert abs(_as_computed_elsewhere(4 * X, 4 * X_HAT) - truth) > 0.05


def test_the_uncentred_form_rises_with_the_offset():
    values = [
        _values(X + o, X_HAT + o, MEAN + o)["explained_variance_uncentred"] for o in (0, 3, 30)
    ]
    assert values[0] < values[1] < values[2]
    assert values[2] > 0.999


def test_the_mean_itself_explains_nothing():
    constant = np.broadcast_to(X.mean(0), X.shape)
    values = _values(X, constant, MEAN)
    assert values["explained_variance"] == pytest.approx(0, abs=1e-9)
    assert values["explained_variance_per_token"] == pytest.approx(0, abs=1e-9)


def test_a_large_offset_in_float32_does_not_wash_the_variance_away():
    offset = np.float32(4096.0)
    x, x_hat = (X + offset).astype(np.float32), (X_HAT + offset).astype(np.float32)
    wanted = _by_hand(x.astype(np.float64), x_hat.astype(np.float64), MEAN)["explained_variance"]
    found = _values(x, x_hat, MEAN, dtype=torch.float32)["explained_variance"]
    assert found == pytest.approx(wanted, abs=1e-4)
    in_float32 = (x**2).sum() - (x.sum(0) ** 2).sum() / np.float32(TOKENS)
    truth = ((x.astype(np.float64) - x.mean(0, dtype=np.float64)) ** 2).sum()
    assert abs(in_float32 / truth - 1) > 0.01


# --- shrinkage and edges --------------------------------------------------------------------------


def test_a_perfect_reconstruction():
    values = _values(X, X, MEAN)
    for name in set(METRICS) - {"l0", "mse"}:
        assert values[name] == pytest.approx(1), name
    assert values["mse"] == 0


def test_shrinkage_is_seen_where_the_cosine_sees_none():
    values = _values(X, 0.5 * X, MEAN)
    assert values["cosine"] == pytest.approx(1)
    assert values["l2_ratio"] == pytest.approx(0.5)
    assert values["relative_reconstruction_bias"] == pytest.approx(0.5)


def test_nothing_reconstructed():
    found = _measure(X, 0 * X, MEAN)
    assert (found["cosine"].value, found["l2_ratio"].value) == (0, 0)
    bias = found["relative_reconstruction_bias"]
    assert (bias.value, bias.note) == (None, "reconstructions do not point along their activations")


def test_activations_that_do_not_vary():
    x = np.broadcast_to(np.linspace(0.1, 1, WIDTH), X.shape)
    found = _measure(x, 0.9 * x, x[0])
    assert found["explained_variance"].value is None
    assert "no variance to explain" in found["explained_variance"].note
    assert found["explained_variance_per_token"].note == "every activation is equal to the mean"
    assert found["explained_variance_uncentred"].value == pytest.approx(0.99)


def test_tokens_at_zero_are_left_out_of_ratios():
    x, x_hat = X.copy(), X_HAT.copy()
    x[:100] = 0
    kept = _by_hand(X, X_HAT, MEAN)
    norm, norm_hat = np.linalg.norm(x[100:], axis=1), np.linalg.norm(x_hat[100:], axis=1)
    values = _values(x, x_hat, MEAN)
    assert values["l2_ratio"] == pytest.approx((norm_hat / norm).mean())
    assert values["cosine"] == pytest.approx(((x * x_hat).sum(1)[100:] / (norm * norm_hat)).mean())
    assert values["cosine"] == pytest.approx(kept["cosine"], abs=0.05)
