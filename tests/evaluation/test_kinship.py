"""Parents beside their children: small cases by hand, and what a random direction gives."""

import numpy as np
import pytest
import torch

from monosemy.evaluation import kinship
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.firings import Firings


def of(mask):
    return Firings.of([SparseCode.from_dense(torch.tensor(mask).float())])


def values(latents, features, latent_of, parents):
    sums = kinship.sums(
        of(latents), of(features), torch.tensor(latent_of), torch.tensor(parents), 100
    )
    totals = {name: array.sum(0, keepdims=True).astype(float) for name, array in sums.items()}
    with np.errstate(invalid="ignore"):
        return {name: float(m.formula(totals)[0]) for name, m in kinship.METRICS.items()}


# One parent (0) and two children (1, 2): what is on, and what fires.
TRUTH = [[1, 0, 0]] * 4 + [[1, 1, 0]] * 4 + [[1, 0, 1]] * 2


def test_by_hand():
    fires = [[1, 0, 0]] * 3 + [[0, 0, 0]] + [[0, 1, 0]] * 3 + [[1, 1, 0]] + [[1, 0, 1]] * 2
    found = values(fires, TRUTH, [0, 1, 2], [-1, 0, 0])
    assert found["silent_parent_rate"] == pytest.approx(3 / 6)
    assert found["absorption"] == pytest.approx((3 / 4 + 0 / 2) / 2)
    # Where child 1's latent is silent the parent's is in 1 of 6, for child 2 in 1 + 3 of 8.
    assert found["parent_miss_rate"] == pytest.approx((1 / 6 + 4 / 8) / 2)


def test_false_firings_count_as_silent_parents_but_are_no_absorption():
    fires = [[0, 1, 0]] * 3
    found = values(fires, [[0, 0, 0]] * 2 + [[1, 1, 0]], [0, 1, 2], [-1, 0, 0])
    assert found["silent_parent_rate"] == found["absorption"] == 1
    found = values(
        [[0, 1, 0]] * 2 + [[1, 1, 0]], [[0, 0, 0]] * 2 + [[1, 1, 0]], [0, 1, 2], [-1, 0, 0]
    )
    assert found["silent_parent_rate"] == pytest.approx(2 / 3)
    assert found["absorption"] == 0


def test_pairs_without_a_latent_are_left_out():
    fires = [[1, 0]] * 4 + [[1, 1]] * 4 + [[0, 0]] * 2
    found = values(fires, TRUTH, [0, 1, -1], [-1, 0, 0])
    assert (found["silent_parent_rate"], found["absorption"]) == (0, 0)
    assert np.isnan(values(fires, TRUTH, [-1, 1, 0], [-1, 0, 0])["silent_parent_rate"])


def hedging(rows, features, latent_of, parents):
    return kinship.hedging(
        torch.tensor(rows).float(), torch.tensor(features).float(), torch.tensor(latent_of),
        torch.tensor(parents),
    )  # fmt: skip


def test_hedging_is_the_share_along_relatives():
    axes = torch.eye(3).tolist()
    found = hedging([[3, 4, 0], [0, 1, 0], [0, 0, 1]], axes, [0, 1, 2], [-1, 0, -1])
    assert found.tolist() == pytest.approx([16 / 25, 0])
    # A stranger's direction is no hedging, nor is a longer row.
    found = hedging([[6, 0, 8], [0, 5, 0], [0, 0, 1]], axes, [0, 1, 2], [-1, 0, -1])
    assert found.tolist() == pytest.approx([0, 0])


def test_what_relatives_share_with_the_feature_is_its_own():
    features = [[1, 0, 0], [0.6, 0.8, 0], [0, 0, 1]]
    assert hedging(features, features, [0, 1, 2], [-1, 0, -1]).tolist() == pytest.approx([0, 0])


def test_children_that_span_fewer_dimensions_than_they_are():
    """A parent and four children, the corners of a tetrahedron: three dimensions, not four."""
    corners = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
    features = torch.zeros(5, 6)
    features[0, 0], features[1:, 1:4] = 1, corners
    row = torch.tensor([[1.0, 2, 2, 2, 1, 1]])
    parents = torch.tensor([-1, 0, 0, 0, 0])
    latent_of = torch.tensor([0, -1, -1, -1, -1])
    found = kinship.hedging(row, features, latent_of, parents)
    assert found.tolist() == pytest.approx([12 / 15])


def test_a_random_direction_has_rank_over_width():
    draw = torch.Generator().manual_seed(0)
    width, trials = 20, 4000
    features = torch.eye(width)[:4]
    parents = torch.tensor([-1, 0, 0, 0])
    rows = torch.randn(trials, width, generator=draw)
    latent_of = torch.full((4,), -1)
    found = []
    for latent in range(trials):
        latent_of[0] = latent
        found.append(float(kinship.hedging(rows, features, latent_of, parents)))
    assert sum(found) / trials == pytest.approx(3 / width, abs=0.005)


def test_no_relatives():
    assert len(hedging([[1, 0]], [[1, 0]], [0], [-1])) == 0
