"""Charts from residuals: dense covariances, planted subspaces, and where there is nothing."""

import pytest
import torch

from monosemy.training import charts
from monosemy.training.charts import Bank

WIDTH, RANK = 12, 2


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=draw(seed), dtype=torch.float64)


def axes(seed: int = 0) -> torch.Tensor:
    """Orthonormal rows, as many as there are dimensions."""
    return torch.linalg.qr(normal(WIDTH, WIDTH, seed=seed))[0]


def filled(rows: torch.Tensor) -> Bank:
    """A bank that holds these samples of each bearer."""
    bearers, samples, width = rows.shape
    bank = Bank(bearers, samples, width, rows)
    who = torch.arange(bearers).repeat_interleave(samples)
    bank.add(who, rows.flatten(0, 1), torch.ones(len(who), dtype=rows.dtype))
    return bank


def planted(groups: int = 3, each: int = 4, samples: int = 40, noise: float = 0.0) -> torch.Tensor:
    """Samples of bearers of which `each` at a time lie in a plane of their own."""
    planes = axes()[: groups * RANK].view(groups, RANK, WIDTH).repeat_interleave(each, 0)
    inside = normal(groups * each, samples, RANK, seed=1) @ planes
    return inside + noise * normal(groups * each, samples, WIDTH, seed=2)


def projector(V: torch.Tensor) -> torch.Tensor:
    return V.mT @ V


# --- the bank -------------------------------------------------------------------------------------


def test_a_bank_holds_the_last_residuals_relative_to_the_activation():
    bank = Bank(3, 2, 1, normal(1))
    rows = torch.tensor([[1.0], [2.0], [30.0], [4.0]]).double()
    bank.add(torch.tensor([0, 0, 2, 0]), rows, torch.tensor([1.0, 1.0, 10.0, 2.0]).double())
    assert sorted(bank.of(0).flatten().tolist()) == [2, 2]  # 2 / 1, and 4 / 2 over the first
    assert bank.of(2).tolist() == [[3]]
    assert bank.of(1).shape == (0, 1)
    assert bank.counts.tolist() == [2, 0, 1]
    assert bank.fullness == 0.5
    assert bank.energy.tolist() == [6, 0, 100]
    bank.add(torch.tensor([0]), torch.tensor([[7.0]]).double(), torch.ones(1).double())
    assert sorted(bank.of(0).flatten().tolist()) == [2, 7]


def test_it_does_not_matter_how_residuals_are_divided_into_batches():
    who, rows = torch.randint(4, (50,), generator=draw()), normal(50, WIDTH)
    size = 1 + torch.rand(50, generator=draw(1), dtype=torch.float64)
    once, often = Bank(4, 5, WIDTH, rows), Bank(4, 5, WIDTH, rows)
    once.add(who, rows, size)
    for part in torch.arange(50).split(7):
        often.add(who[part], rows[part], size[part])
    assert torch.equal(once.rows, often.rows)
    assert torch.equal(once.seen, often.seen)
    torch.testing.assert_close(once.energy, often.energy)


def test_halves_have_no_sample_in_common_and_together_all():
    rows = torch.arange(1, 11).double().view(1, 10, 1)
    for held in (10, 7, 1):
        bank = Bank(1, 10, 1, rows)
        bank.add(torch.zeros(held, dtype=torch.int64), rows[0, :held], torch.ones(held).double())
        first, second = bank.halves()
        values = [half.of(0).flatten().tolist() for half in (first, second)]
        assert not set(values[0]) & set(values[1])
        assert sorted(values[0] + values[1]) == rows[0, :held, 0].tolist()


def test_a_bank_goes_on_where_it_was_saved():
    bank, more = filled(planted()), planted(samples=1)
    again = Bank.load({name: tensor.clone() for name, tensor in bank.state_dict().items()})
    for one in (bank, again):
        one.add(torch.arange(len(more)), more[:, 0], torch.ones(len(more)).double())
    assert torch.equal(bank.rows, again.rows)
    assert torch.equal(bank.weights(), again.weights())


def test_weights_are_energies_over_their_mean_but_for_the_largest():
    bank = Bank(20, 1, 1, normal(1))
    bank.energy[:19], bank.energy[19] = 1.0, 1e9
    bank.seen[:] = 1
    weights = bank.weights()
    assert weights[19] == 8
    bank.energy[19] = 3.0
    torch.testing.assert_close(bank.weights()[0], torch.tensor(20 / 22).double())


# --- factors --------------------------------------------------------------------------------------


def test_factors_are_what_a_bearers_covariance_has_more_than_everyones():
    rows = normal(5, 4 * WIDTH, WIDTH) * torch.rand(5, 1, WIDTH, generator=draw(3)).double()
    F = charts.factors(filled(rows), WIDTH)
    everyone = torch.einsum("bmd,bme->de", rows, rows) / (5 * 4 * WIDTH)
    for bearer, own in enumerate(rows):
        values, vectors = torch.linalg.eigh(own.T @ own / len(own) - everyone)
        wanted = (vectors * values.clamp_min(0)) @ vectors.T
        torch.testing.assert_close(F[bearer] @ F[bearer].T, wanted)
        few = charts.factors(filled(rows), 2)[bearer]
        torch.testing.assert_close((few @ few.T).trace(), values[-2:].clamp_min(0).sum())


def test_factors_of_few_samples_lie_in_their_span():
    rows = normal(3, 4, WIDTH)
    F = charts.factors(filled(rows), 6)
    assert F.shape == (3, WIDTH, 6)
    for own, factor in zip(rows, F, strict=True):
        outside = factor - own.T @ torch.linalg.lstsq(own.T, factor).solution
        assert outside.abs().max() < 1e-9


# --- merging --------------------------------------------------------------------------------------


def test_merging_finds_who_shares_a_plane_and_loses_nothing_until_then():
    F = charts.factors(filled(planted()), 2 * RANK)
    merged = charts.merge(F, RANK)
    each = torch.linalg.eigvalsh(F @ F.mT)[:, -RANK:].sum()
    torch.testing.assert_close(merged.captured[-1], each)
    assert merged.captured[2] > 0.97 * each  # a little noise: samples are few
    assert merged.captured[1] < 0.9 * each
    groups = merged.labels(3).view(3, 4)
    assert (groups == groups[:, :1]).all()
    assert len(groups[:, 0].unique()) == 3


def test_the_curve_rises_with_the_number_of_charts():
    F = normal(9, WIDTH, 4)
    captured = charts.merge(F, RANK).captured
    assert (captured.diff() >= -1e-9).all()
    assert captured[-1] <= F.square().sum()
    one = F.permute(1, 0, 2).flatten(1)
    least = torch.linalg.eigvalsh(one @ one.T)[-RANK:].sum()
    assert captured[0] <= least + 1e-9  # merged pairs keep as many axes as each had


def test_exactly_orthogonal_planes_are_merged_exactly():
    planes = axes()[:6].view(3, RANK, WIDTH).mT
    F = planes.repeat_interleave(2, 0) * torch.tensor([1.0, 2, 3, 4, 5, 6]).double()[:, None, None]
    merged = charts.merge(F, RANK)
    torch.testing.assert_close(merged.captured[2:], torch.full((4,), 2.0 * 91).double())
    assert merged.labels(3).tolist() == [0, 0, 1, 1, 2, 2]
    assert merged.labels(6).tolist() == list(range(6))
    assert merged.labels(1).tolist() == [0] * 6
    torch.testing.assert_close(merged.captured[1], torch.tensor(2.0 * (91 - 5)).double())


# --- finding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_planted_planes_are_found(noise: float):
    F = charts.factors(filled(planted(noise=noise)), 2 * RANK)
    found = charts.find_charts(F, 3, RANK, draw())
    groups = found.routes.view(3, 4)
    assert (groups == groups[:, :1]).all()
    for group in range(3):
        plane = axes()[group * RANK : (group + 1) * RANK]
        mine = found.V[groups[group, 0]]
        assert (projector(mine) @ projector(plane)).trace() > RANK - 0.05


def test_planted_planes_are_found_where_only_some_bearers_are_merged(monkeypatch):
    monkeypatch.setattr(charts, "MERGED", 6)
    F = charts.factors(filled(planted()), 2 * RANK)
    groups = charts.find_charts(F, 3, RANK, draw()).routes.view(3, 4)
    assert (groups == groups[:, :1]).all()


def test_a_chart_each_captures_all_that_one_can():
    F = normal(5, WIDTH, 4)
    found = charts.find_charts(F, 5, RANK, draw())
    assert found.routes.tolist() == list(range(5))
    torch.testing.assert_close(found.captured, torch.linalg.eigvalsh(F @ F.mT)[:, -RANK:].sum(1))


def test_rounds_of_k_subspaces_never_capture_less():
    F = normal(20, WIDTH, 4)
    V = charts.leading(normal(4, WIDTH, RANK, seed=5), RANK)
    captured = [float(charts.k_subspaces(F, V, rounds).captured.sum()) for rounds in range(6)]
    assert captured == sorted(captured)
    assert captured[-1] > 1.05 * captured[0]


def test_every_bearer_points_at_the_chart_that_captures_most_of_it():
    F = normal(20, WIDTH, 4)
    found = charts.find_charts(F, 4, RANK, draw())
    each = torch.einsum("srd,bdk->bsrk", found.V, F).square().sum((2, 3))
    assert torch.equal(each.argmax(1), found.routes)
    torch.testing.assert_close(each.max(1).values, found.captured)
    torch.testing.assert_close(found.V @ found.V.mT, torch.eye(RANK).double().expand(4, -1, -1))


def test_axes_of_nothing_are_orthonormal_too():
    one = axes()[:1].T[None]  # one direction, where two are wanted
    for F in (torch.zeros(1, WIDTH, 4).double(), one, torch.zeros(1, WIDTH, 1).double()):
        V = charts.leading(F, RANK)
        torch.testing.assert_close(V @ V.mT, torch.eye(RANK).double()[None])
    assert (projector(charts.leading(one, RANK)[0]) @ axes()[0] - axes()[0]).norm() < 1e-5


# --- children inside ------------------------------------------------------------------------------


TETRAHEDRON = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double() / 3**0.5


def test_the_corners_of_tetrahedra_are_found():
    turned = torch.stack([torch.linalg.qr(normal(3, 3, seed=seed))[0] for seed in range(6)])
    corners = TETRAHEDRON @ turned
    which = torch.randint(4, (6, 60), generator=draw())
    amounts = 1 + torch.rand(6, 60, 1, generator=draw(1), dtype=torch.float64)
    silent = torch.rand(6, 60, 1, generator=draw(2)) < 0.3  # no child: noise alone
    inside = corners.gather(1, which[:, :, None].expand(-1, -1, 3)) * amounts * ~silent
    inside += 0.05 * normal(6, 60, 3, seed=4)
    C = charts.cluster(inside, torch.full((6,), 60), 4, draw())
    assert (corners @ C.mT).max(2).values.min() > 0.99
    torch.testing.assert_close(C.norm(dim=2), torch.ones(6, 4).double())


def test_places_without_a_sample_do_not_count():
    inside = normal(2, 10, 3)
    dirty = inside.clone()
    dirty[:, 6:] = 1e6
    counts = torch.tensor([6, 6])
    inside[:, 6:] = 0
    one, other = (charts.cluster(rows, counts, 3, draw()) for rows in (inside, dirty))
    assert torch.equal(one, other)


@pytest.mark.parametrize("starts", [1, 4])
def test_more_rounds_and_starts_leave_no_more(starts: int):
    inside, counts = normal(5, 40, 3), torch.full((5,), 40)

    def left(rounds: int) -> torch.Tensor:
        C = charts.cluster(inside, counts, 4, draw(), rounds, starts)
        return -torch.einsum("bmr,bcr->bmc", inside, C).clamp_min(0).max(2).values.square().sum(1)

    assert (left(8) <= left(1) + 1e-9).all()
    assert left(8).sum() < left(0).sum()


# --- nothing, or hardly anything ------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        torch.zeros(4, 8, WIDTH),
        normal(4, 1, WIDTH).float(),
        torch.zeros(4, 8, WIDTH).index_fill(0, torch.tensor([1]), 1.0),
        torch.full((4, 8, WIDTH), 1e-20),
        1e6 * normal(4, 8, WIDTH).float(),
    ],
    ids=["zeros", "one sample", "one bearer, one direction", "tiny", "huge"],
)
@pytest.mark.parametrize("many", [1, 2, 4])
def test_degenerate_covariances_give_charts_that_are_finite(rows: torch.Tensor, many: int):
    bank = filled(rows)
    F = charts.factors(bank, 2 * RANK) * bank.weights().sqrt()[:, None, None]
    assert F.isfinite().all()
    found = charts.find_charts(F, many, RANK, draw())
    assert found.V.isfinite().all()
    torch.testing.assert_close(found.V @ found.V.mT, torch.eye(RANK).expand(many, -1, -1),
                               atol=1e-5, rtol=0)  # fmt: skip
    inside = torch.einsum("bmd,brd->bmr", bank.rows, found.V[found.routes])
    C = charts.cluster(inside, bank.counts, 3, draw())
    torch.testing.assert_close(C.norm(dim=2), torch.ones(4, 3))


def test_bearers_that_were_never_there_have_no_energy():
    bank = Bank(3, 4, WIDTH, normal(1))
    assert charts.factors(bank, 4).abs().max() == 0
    assert bank.weights().tolist() == [0, 0, 0]
    assert len(charts.common_directions(torch.zeros(5, WIDTH), 3, draw())) == 0


# --- parents --------------------------------------------------------------------------------------


def many_parents() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Twenty parents in six planes: directions are anywhere, and none lies in a plane."""
    basis = torch.linalg.qr(normal(64, 64, seed=9))[0]
    V = basis[:12].view(6, RANK, 64)
    W_dec = torch.nn.functional.normalize(basis[20:40] + 0.01 * normal(20, 64), dim=1)
    return W_dec, V, torch.arange(20) % 6


def test_a_parent_inside_the_chart_of_others_is_a_child_in_disguise():
    W_dec, V, routes = many_parents()
    assert not charts.in_disguise(W_dec, V, routes).any()
    W_dec[3] = V[1, 0]
    assert charts.in_disguise(W_dec, V, routes).nonzero().flatten().tolist() == [3]


def test_inside_its_own_chart_it_is_not_unless_others_point_there():
    W_dec, V, routes = many_parents()
    W_dec[3] = V[routes[3], 0]
    assert charts.in_disguise(W_dec, V, routes).nonzero().flatten().tolist() == [3]
    alone = torch.where(routes == routes[3], 0, routes)
    alone[3] = routes[3]
    assert not charts.in_disguise(W_dec, V, alone).any()
    two = alone.clone()
    two[4] = routes[3]  # one other is not enough
    assert not charts.in_disguise(W_dec, V, two).any()


def test_at_most_a_tenth_are_the_clearest():
    W_dec, V, routes = many_parents()
    for n, parent in enumerate((1, 2, 7, 8)):
        W_dec[parent] = torch.nn.functional.normalize(V[0, 0] + 0.1 * n * W_dec[parent], dim=0)
    assert charts.in_disguise(W_dec, V, routes).nonzero().flatten().tolist() == [1, 2]


def test_directions_that_many_residuals_share_are_found():
    truth = axes()[:3]
    which = torch.randint(3, (300,), generator=draw())
    amounts = 1 + torch.rand(300, 1, generator=draw(1), dtype=torch.float64)
    rest = truth[which] * amounts + 0.1 * normal(300, WIDTH, seed=2)
    found = charts.common_directions(rest, 3, draw())
    assert (truth @ found.T).max(1).values.min() > 0.97
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3).double())


def test_rows_are_orthonormal_again_and_hardly_turned():
    V = axes()[:6].view(3, RANK, WIDTH)
    moved = V + 0.01 * normal(3, RANK, WIDTH, seed=8)
    again = charts.near_orthonormal(moved)
    eye = torch.eye(RANK).double().expand(3, -1, -1)
    torch.testing.assert_close(again @ again.mT, eye, atol=1e-5, rtol=0)
    assert (moved @ moved.mT - eye).abs().max() > 1e-2
    U, _, Vh = torch.linalg.svd(moved, full_matrices=False)
    torch.testing.assert_close(again, U @ Vh, atol=1e-5, rtol=0)
    torch.testing.assert_close(charts.near_orthonormal(V), V)
