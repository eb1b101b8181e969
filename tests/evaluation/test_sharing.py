"""Energy that charts capture: exact where subspaces are planted, and not there where noise is all."""

import torch

from monosemy.evaluation.sharing import Half, Turning, energies, only, usable
from monosemy.training.charts import Bank, factors

RANK, WIDTH, GROUPS, EACH = 2, 24, 4, 5
PARENTS = GROUPS * EACH


def subspaces(count, seed=0):
    """Orthonormal, and orthogonal to each other as long as there is room."""
    draw = torch.Generator().manual_seed(seed)
    frames = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=draw))[0].T
    return torch.stack([frames[(RANK * i) % WIDTH :][:RANK] for i in range(count)])


def bank_of(rows):
    """A bank that holds these samples of each parent, all with equal activations."""
    bank = Bank(len(rows), rows.shape[1], rows.shape[2], rows)
    bank.add(torch.arange(len(rows)).repeat_interleave(rows.shape[1]), rows.flatten(0, 1),
             torch.ones(rows.shape[0] * rows.shape[1]))  # fmt: skip
    return bank


def planted(V, seed, samples=64, noise=0.0):
    """Samples of each parent inside its subspace, whitened so that their covariance is exact."""
    draw = torch.Generator().manual_seed(seed)
    inside = torch.randn(len(V), samples, RANK, generator=draw)
    inside = torch.linalg.qr(inside)[0] * samples**0.5
    rows = inside @ V
    return bank_of(rows + noise * torch.randn(rows.shape, generator=draw))


def curve(banks, rank=RANK, turning=None):
    weights = torch.ones(len(banks[0].rows))
    return energies(*(Half.of(bank, rank) for bank in banks), weights, rank, turning)


def shared_banks(noise=0.0):
    V = subspaces(GROUPS).repeat(EACH, 1, 1)
    return planted(V, 1, noise=noise), planted(V, 2, noise=noise)


def test_planted_charts_capture_everything_at_their_number():
    found = curve(shared_banks())
    assert found.shape == (PARENTS, PARENTS)
    sums = found.sum(1)
    # S_p = V_pᵀ V_p - (all)/GROUPS; a chart for each group, or one each, captures all that can be.
    whole = PARENTS * RANK * (1 - 1 / GROUPS)
    torch.testing.assert_close(sums[GROUPS - 1 :], torch.full_like(sums[GROUPS - 1 :], whole))
    # One chart fewer loses one group, whole.
    assert sums[GROUPS - 2] < whole - EACH * RANK * (1 - 1 / GROUPS) / 2
    assert abs(float(sums[0])) < 0.1 * whole


def test_an_isometry_of_everything_changes_nothing():
    draw = torch.Generator().manual_seed(3)
    Q = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=draw))[0]
    banks = shared_banks(noise=0.1)
    turned = tuple(bank_of(bank.rows @ Q) for bank in banks)
    torch.testing.assert_close(curve(turned).sum(1), curve(banks).sum(1), atol=1e-3, rtol=1e-3)


def test_weights_scale_what_parents_count_for():
    halves = [Half.of(bank, RANK) for bank in shared_banks(noise=0.1)]
    ones = torch.ones(PARENTS)
    torch.testing.assert_close(energies(*halves, 3 * ones, RANK), 3 * energies(*halves, ones, RANK),
                               atol=1e-3, rtol=1e-3)  # fmt: skip


def test_turning_destroys_sharing_and_nothing_else():
    banks = shared_banks(noise=0.1)
    draw = torch.Generator().manual_seed(0)
    own, turned = curve(banks), curve(banks, turning=Turning.draw(PARENTS, WIDTH, draw))
    # A chart of one's own captures the same, parent by parent ...
    torch.testing.assert_close(turned[-1], own[-1], atol=1e-4, rtol=1e-4)
    # ... and as many as were planted capture far less.
    assert own[GROUPS - 1].sum() > 0.95 * own[-1].sum()
    assert turned[GROUPS - 1].sum() < 0.6 * own[-1].sum()


def test_turning_is_orthogonal_and_back_undoes_it():
    draw = torch.Generator().manual_seed(0)
    turning = Turning.draw(3, WIDTH, draw)
    F = torch.randn(3, WIDTH, 4, generator=draw)
    there = turning.there(F)
    torch.testing.assert_close(there.transpose(1, 2) @ there, F.transpose(1, 2) @ F)
    returned = turning.back(there.transpose(1, 2), torch.arange(3)).transpose(1, 2)
    torch.testing.assert_close(returned, F, atol=1e-5, rtol=1e-5)


def test_turning_is_as_good_as_a_uniformly_random_rotation_in_the_mean():
    draw = torch.Generator().manual_seed(0)
    direction = torch.zeros(4000, WIDTH, 1)
    direction[:, 0] = 1
    there = Turning.draw(4000, WIDTH, draw).there(direction)[:, :, 0]
    torch.testing.assert_close(there.T @ there / 4000, torch.eye(WIDTH) / WIDTH, atol=5e-3, rtol=0)


def test_halves_take_out_what_noise_adds():
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(2, PARENTS, 24, WIDTH, generator=draw)
    banks = tuple(bank_of(rows) for rows in noise)
    held = float(curve(banks)[-1].sum())
    # The negative control: judged by the samples that chose them, charts of noise capture a lot.
    inflated = float(factors(banks[0], RANK).square().sum())
    assert inflated > PARENTS * RANK
    assert abs(held) < 0.05 * inflated


def test_who_has_too_little_is_left_out_by_reason():
    rows = torch.randn(4, 8, WIDTH, generator=torch.Generator().manual_seed(0))
    rows[2] = 0
    banks = bank_of(rows), bank_of(rows.clone())
    banks[1].seen[0] = 3
    good, dropped = usable(banks, least=4)
    assert good.tolist() == [False, True, False, True]
    assert dropped == {"few_samples": 1, "no_residual": 1}
    kept = only(banks[0], good)
    assert kept.counts.tolist() == [8, 8]
    torch.testing.assert_close(kept.rows, rows[[1, 3]])
