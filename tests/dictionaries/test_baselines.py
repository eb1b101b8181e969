import warnings
from itertools import combinations

import pytest
import torch
from torch.nn.functional import normalize

from monosemy.dictionaries import baselines
from monosemy.foundation.errors import UserError

WIDTH, K = 6, 2


def _errors(dictionary, rows):
    return (dictionary(rows) - rows).square().sum(1)


def _best_of_all_choices(axes, mean, rows, k):
    """Least squared error of each token over every way to keep k coordinates, one by one."""
    choices = []
    for chosen in combinations(range(len(axes)), k):
        basis = axes[list(chosen)]
        choices.append(((rows - mean) @ basis.T @ basis + mean - rows).square().sum(1))
    return torch.stack(choices).min(0).values


def test_pca_keeps_the_best_coordinates_of_its_basis(rows):
    pca = baselines.principal_components(rows, K)
    best = _best_of_all_choices(pca.W_dec, pca.b_dec, rows, K)
    torch.testing.assert_close(_errors(pca, rows), best, rtol=1e-4, atol=1e-4)


def test_pca_is_at_least_as_good_as_its_first_components(rows):
    pca = baselines.principal_components(rows, K)
    first = pca.W_dec[:K]
    projected = (rows - pca.b_dec) @ first.T @ first + pca.b_dec
    fixed = (projected - rows).square().sum(1)
    assert (_errors(pca, rows) <= fixed + 1e-4).all()
    assert _errors(pca, rows).sum() < 0.95 * fixed.sum()


def test_first_components_beat_any_other_subspace(rows):
    pca = baselines.principal_components(rows, K)
    centred = rows - rows.mean(0)

    def left_over(basis):
        return (centred - centred @ basis.T @ basis).square().sum()

    for seed in range(20):
        draw = torch.randn(WIDTH, K, generator=torch.Generator().manual_seed(seed))
        other = torch.linalg.qr(draw).Q.T
        assert left_over(pca.W_dec[:K]) < left_over(other)


def test_pca_axes_are_orthonormal_in_falling_order_of_variance(rows):
    pca = baselines.principal_components(rows, K)
    torch.testing.assert_close(pca.W_dec @ pca.W_dec.T, torch.eye(WIDTH), rtol=0, atol=1e-5)
    variances = ((rows - rows.mean(0)) @ pca.W_dec.T).var(0)
    assert (variances.diff() <= 0).all()


def test_with_every_coordinate_pca_and_neurons_are_perfect(rows):
    for dictionary in (baselines.principal_components(rows, 99), baselines.neurons(WIDTH, 99)):
        torch.testing.assert_close(dictionary(rows), rows, rtol=1e-4, atol=1e-4)


def test_neurons_keep_the_largest_in_magnitude():
    x = torch.tensor([[1.0, -3.0, 2.0, 0.0, 0.5, -0.1]])
    assert baselines.neurons(WIDTH, 2)(x).tolist() == [[0, -3, 2, 0, 0, 0]]


# --- independent components -----------------------------------------------------------------------


def _mixed(tokens=3000, seed=0):
    """Sums of six directions, each active now and then, about an offset."""
    draw = torch.Generator().manual_seed(seed)
    sources = torch.empty(tokens, WIDTH).exponential_(generator=draw)
    sources *= torch.randn(tokens, WIDTH, generator=draw).sign()
    mixing = torch.randn(WIDTH, WIDTH, generator=draw)
    return sources @ mixing + 3, mixing


def _components(rows, k=K, seed=1, rounds=200):
    return baselines.independent_components(rows, k, torch.Generator().manual_seed(seed), rounds)


def test_ica_finds_the_directions_that_were_mixed_and_pca_does_not():
    rows, mixing = _mixed()

    def matched(dictionary):
        return (dictionary.directions() @ normalize(mixing, dim=1).T).abs().max(0).values

    assert matched(_components(rows)).min() > 0.99
    assert matched(baselines.principal_components(rows, K)).min() < 0.9


def test_ica_reads_what_it_writes_and_weighs_what_it_adds():
    rows, _ = _mixed()
    ica = _components(rows)
    torch.testing.assert_close(ica.W_enc @ ica.W_dec.T, torch.eye(WIDTH), rtol=0, atol=1e-5)
    torch.testing.assert_close(ica.W_dec.norm(dim=1), torch.ones(WIDTH))
    coordinates = (rows - ica.b_dec) @ ica.W_enc.T
    # Decorrelated: that is what whitening did, and no rotation or length undoes it.
    correlation = torch.corrcoef(coordinates.T)
    torch.testing.assert_close(correlation, torch.eye(WIDTH), rtol=0, atol=1e-4)
    assert (ica.code(rows).counts == K).all()
    torch.testing.assert_close(_components(rows, 99)(rows), rows, rtol=1e-4, atol=1e-4)


def test_ica_repeats_and_follows_its_generator():
    rows, _ = _mixed()
    assert torch.equal(_components(rows).W_dec, _components(rows).W_dec)
    assert not torch.equal(_components(rows).W_dec, _components(rows, seed=2).W_dec)


def test_ica_says_whether_it_settled():
    rows, _ = _mixed()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _components(rows).metadata == {"ica_converged": True}
    with pytest.warns(
        UserWarning, match="did not settle within 2 rounds on 3,000 activations.*give more rounds"
    ):
        assert _components(rows, rounds=2).metadata == {"ica_converged": False}


def test_ica_has_as_many_components_as_activations_vary_in():
    rows, _ = _mixed()
    flat = torch.cat([rows, rows[:, :2]], 1)
    ica = _components(flat, 99)
    assert (ica.latents, ica.selection.k, ica.width) == (WIDTH, WIDTH, WIDTH + 2)
    torch.testing.assert_close(ica(flat), flat, rtol=1e-4, atol=1e-4)


def test_ica_is_fitted_on_evenly_spaced_rows(monkeypatch):
    rows, _ = _mixed()
    monkeypatch.setattr(baselines, "_MIXED", 1000)
    third = _components(rows)
    assert torch.equal(third.W_dec, _components(rows[::3]).W_dec)


def test_ica_of_activations_that_are_all_the_same_is_refused():
    with pytest.raises(
        UserError, match="all 9 activations are the same, so they have no components"
    ):
        _components(torch.full((9, 4), 0.1))
    with pytest.raises(UserError, match="all 1 activations are the same"):
        _components(torch.ones(1, 4))


# --- random directions ----------------------------------------------------------------------------


def _fitted(rows):
    return baselines.random_directions(rows, 10, 3, torch.Generator().manual_seed(3))


def test_no_other_scale_of_the_random_dictionary_fits_better(rows):
    dictionary = _fitted(rows)
    error = _errors(dictionary, rows).sum()
    for factor in (0.9, 1.1):
        with torch.no_grad():
            dictionary.W_enc.mul_(factor)
            assert _errors(dictionary, rows).sum() > error
            dictionary.W_enc.div_(factor)


def test_the_scale_of_the_random_dictionary_is_fitted_on_evenly_spaced_rows(rows, monkeypatch):
    monkeypatch.setattr(baselines, "_FITTED", 20)
    every_second = _fitted(rows)
    monkeypatch.setattr(baselines, "_FITTED", 40)
    ratio = every_second.W_enc / _fitted(rows).W_enc
    assert 0.8 < ratio.mean() < 1.2
    assert not torch.equal(every_second.W_enc, _fitted(rows).W_enc)
