import torch

from monosemy.data.features.rates import alive_shares, rates


def test_rates_of_independent_nodes_by_hand(law):
    found = rates(law)
    alive = torch.special.ndtr(torch.tensor([2 / 0.5, 1 / 1.0], dtype=torch.float64))
    first = 0.5 * alive[0]
    stays = 0.8 * alive[1] * (1 - 0.6 / 2)  # against 2, which is active with 0.6
    torch.testing.assert_close(found[0], first)
    torch.testing.assert_close(found[1], first * stays)
    torch.testing.assert_close(found[2], first * 0.6 * (1 - 0.8 * alive[1] / 2))
    torch.testing.assert_close(found[3], first * stays * 0.5)
    torch.testing.assert_close(found[[4, 5]].tolist(), [0.4 * 0.2, 0.4 * 0.7], rtol=1e-6, atol=0)
    assert found[7] == found[8] == found[16]
    assert found[10] == found[11] == found[12] == found[9]


def test_without_loadings_correlation_changes_nothing(law, make_law):
    none = make_law(factor=torch.zeros(18, 2))
    torch.testing.assert_close(rates(none), rates(law), rtol=1e-9, atol=1e-12)


def test_two_correlated_nodes_meet_as_the_bivariate_normal_says(make_law):
    """A child with its parent's loadings: P(both above their medians) = 1/4 + asin(r) / (2 pi)."""
    parents = torch.full((18,), -1)
    parents[1] = 0
    r = 0.6
    factor = torch.zeros(18, 1)
    factor[:2] = r**0.5
    law = make_law(
        parents=parents, chance=torch.full((18,), 0.5, dtype=torch.float64), factor=factor,
        rules=torch.zeros(18, dtype=torch.int64), mean=torch.ones(18), spread=torch.zeros(18),
    )  # fmt: skip
    both = 1 / 4 + torch.asin(torch.tensor(r)) / (2 * torch.pi)
    torch.testing.assert_close(rates(law)[1].float(), both, rtol=1e-3, atol=0)


def test_alive_is_the_share_of_activations_above_zero(make_law):
    mean = torch.linspace(-1, 2, 18)
    for uniform in (False, True):
        law = make_law(mean=mean, spread=torch.ones(18), uniform=uniform)
        drawn = torch.rand(200_000, generator=torch.Generator().manual_seed(0)) * 2 - 1
        if not uniform:
            drawn = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
        measured = (mean[:, None] + drawn > 0).double().mean(1)
        inside = law.sibling_rules < 3
        error = (alive_shares(law) - measured)[inside].abs()
        assert error.max() < 0.005  # four standard errors
