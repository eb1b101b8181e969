import math

import pytest
import torch

from monosemy.data.features import directions
from monosemy.data.features.directions import (
    orthogonalised,
    random_directions,
    random_rotation,
    random_subspace,
    spread_points,
)
from monosemy.tensors import workers


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def overlaps(rows):
    cosines = rows @ rows.T
    return cosines[~torch.eye(len(rows), dtype=torch.bool)]


def test_random_directions_have_length_one_and_overlaps_of_chance():
    rows = random_directions(500, 64, generator())
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(500))
    assert overlaps(rows).square().mean() == pytest.approx(1 / 64, rel=0.02)


def test_orthogonalising_follows_the_gradient_that_autograd_finds():
    begun = random_directions(20, 8, generator())
    rows = begun.clone().requires_grad_()
    adam = torch.optim.Adam([rows], lr=3e-3)
    for _ in range(7):
        gram = rows @ rows.T
        off = gram - torch.diag(gram.diagonal())
        loss = off.square().sum() + len(rows) * (gram.diagonal() - 1).square().sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
    wanted = (rows / rows.norm(dim=1, keepdim=True)).detach()
    torch.testing.assert_close(orthogonalised(begun, 7, 3e-3), wanted, rtol=1e-4, atol=1e-5)


def test_more_steps_overlap_less_down_to_what_must_be():
    begun = random_directions(128, 32, generator())
    means = [overlaps(orthogonalised(begun, n, 3e-3)).square().mean() for n in (0, 10, 30, 100)]
    assert all(a > b for a, b in zip(means, means[1:], strict=False))
    # A tight frame: sum of squared cosines = n² / d, so no mean can be below this (Welch's bound).
    assert means[-1] >= (128 / 32 - 1) / 127 - 1e-6
    torch.testing.assert_close(orthogonalised(begun, 0, 1.0), begun)


def test_threads_do_not_change_a_number(monkeypatch):
    monkeypatch.setattr(directions, "_PART", 50)
    begun, found = random_directions(333, 48, generator()), []
    for threads in (1, 2, 5):
        monkeypatch.setattr(workers, "_threads", lambda threads=threads: threads)
        found.append(orthogonalised(begun, 5, 1e-2))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_subspace_has_orthonormal_rows():
    axes = random_subspace(10, 4, generator())
    torch.testing.assert_close(axes @ axes.T, torch.eye(4))


def test_rotations_turn_without_mirroring_and_favour_no_axis():
    drawn = torch.stack([random_rotation(3, generator(seed)) for seed in range(2000)])
    eye = torch.eye(3).expand_as(drawn)
    torch.testing.assert_close(drawn @ drawn.mT, eye, rtol=1e-4, atol=1e-5)
    assert (torch.linalg.det(drawn) > 0).all()
    # Uniform rotations have entries of mean 0 and variance 1/3 and a trace of mean 0.
    assert drawn.mean(0).abs().max() < 4 * (1 / 3 / 2000) ** 0.5
    assert (drawn.var(0) - 1 / 3).abs().max() < 0.05


@pytest.mark.parametrize(("count", "rank"), [(4, 3), (3, 3), (2, 1), (9, 8)])
def test_few_points_are_corners_of_a_simplex(count, rank):
    points = spread_points(count, rank)
    torch.testing.assert_close(points.norm(dim=1), torch.ones(count))
    torch.testing.assert_close(overlaps(points), torch.full((count * (count - 1),), -1 / rank))


def test_more_points_find_the_known_best():
    octahedron = spread_points(6, 3)
    cosines = (octahedron @ octahedron.T).sort(1).values
    torch.testing.assert_close(cosines[:, 0], -torch.ones(6), rtol=0, atol=1e-3)
    assert cosines[:, 1:5].abs().max() < 1e-2
    pentagon = spread_points(5, 2)
    nearest = (pentagon @ pentagon.T - 2 * torch.eye(5)).max(1).values
    assert nearest.tolist() == pytest.approx([math.cos(2 * math.pi / 5)] * 5, abs=1e-3)
