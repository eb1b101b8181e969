from itertools import combinations

import torch

from monosemy.dictionaries import baselines

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
