"""Geometry of superposition: regular figures have their dimensionality, and are found and named."""

from __future__ import annotations

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.superposition.geometry import (
    PLATEAUS,
    Block,
    blocks,
    dimensionality,
    dimensions_per_feature,
    frame,
    interference,
    norms,
    plateau_shares,
    solids,
)


def regular(features: int) -> torch.Tensor:
    angle = torch.arange(features) * (2 * torch.pi / features)
    return torch.stack([angle.cos(), angle.sin()])


def simplex(features: int) -> torch.Tensor:
    centred = torch.eye(features) - 1 / features
    columns = torch.linalg.svd(centred).U[:, : features - 1].T @ centred
    return columns / columns.norm(dim=0)


def antiprism() -> torch.Tensor:
    """Eight corners: a square, and another turned by 45 degrees below it, as a tight frame."""
    height = (1 / 3) ** 0.5
    flat = (2 / 3) ** 0.5
    angle = torch.arange(4) * torch.pi / 2
    above = torch.stack([flat * angle.cos(), flat * angle.sin(), torch.full((4,), height)])
    turned = angle + torch.pi / 4
    below = torch.stack([flat * turned.cos(), flat * turned.sin(), torch.full((4,), -height)])
    return torch.cat([above, below], 1)


FIGURES = {
    "own dimension": torch.ones(1, 1), "antipodal pair": torch.tensor([[1.0, -1.0]]),
    "triangle": regular(3), "pentagon": regular(5), "tetrahedron": simplex(4),
    "square antiprism": antiprism(),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_a_regular_figure_has_its_dimensionality_and_name(name):
    weights = FIGURES[name]
    hidden, features = weights.shape
    values = dimensionality(weights)
    assert torch.allclose(values, torch.full((features,), PLATEAUS[name]), atol=1e-5)
    assert values.sum() == pytest.approx(hidden, rel=1e-5)
    assert torch.allclose(frame(weights), torch.eye(hidden) * features / hidden, atol=1e-5)
    assert plateau_shares(weights)[0][name] == 1
    assert dimensions_per_feature(weights) == pytest.approx(hidden / features)
    turn = torch.linalg.qr(
        torch.randn(hidden, hidden, generator=torch.Generator().manual_seed(1))
    ).Q
    assert [block.name for block in blocks(turn @ weights)] == [name]


def test_figures_in_one_space_are_taken_apart():
    parts = list(FIGURES.values())
    weights = torch.block_diag(*parts, torch.zeros(1, 3))
    order = torch.randperm(weights.shape[1], generator=torch.Generator().manual_seed(2))
    found = blocks(weights[:, order])
    assert sorted(block.name for block in found) == sorted(FIGURES)
    assert sum(len(block.features) for block in found) == weights.shape[1] - 3
    assert sum(block.dimensions for block in found) == weights.shape[0] - 1


def test_dimensionality_is_unchanged_by_scale_of_all_and_zero_for_nothing():
    weights = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    weights[:, 3] = 0
    assert torch.allclose(dimensionality(weights), dimensionality(3 * weights), atol=1e-6)
    assert dimensionality(weights)[3] == 0
    assert dimensionality(weights).sum() <= 4
    # The identity with the frame operator: D = |W|² / (Ŵ F Ŵ).
    unit = weights[:, 0] / weights[:, 0].norm()
    wanted = weights[:, 0].square().sum() / (unit @ frame(weights) @ unit)
    assert dimensionality(weights)[0] == pytest.approx(float(wanted), rel=1e-5)


def test_interference_by_hand():
    weights = torch.tensor([[1.0, -0.5, 0.0], [0.0, 0.0, 2.0]])
    assert interference(weights).tolist() == pytest.approx([0.25, 1.0, 0.0])
    assert norms(weights).tolist() == [1.0, 0.5, 2.0]


def test_random_columns_are_on_no_plateau_and_irregular():
    weights = torch.randn(10, 60, generator=torch.Generator().manual_seed(0))
    assert plateau_shares(weights)[0]["none"] > 0.8
    assert [block.name for block in blocks(weights)] == ["irregular"]


def test_near_figures_are_not_taken_for_regular_ones():
    assert [b.name for b in blocks(torch.tensor([[1.0, 0.9]]))] == ["irregular"]
    assert [b.name for b in blocks(torch.tensor([[1.0, -0.9]]))] == ["antipodal pair"]
    bent = regular(5) * torch.tensor([[1.0], [0.8]])
    assert [b.name for b in blocks(bent)] == ["irregular"]
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).T / 3**0.5
    assert [b.name for b in blocks(corners)] == ["cube"]


def test_pairs_make_an_octahedron_where_they_fill_the_space():
    weights = torch.block_diag(*[torch.tensor([[1.0, -1.0]])] * 3)
    assert solids(blocks(weights), 3) == "octahedron"
    assert solids(blocks(weights), 4) == "3 antipodal pair"
    assert solids([Block((0,), 1, "own dimension")], 1) == "1 own dimension"


def test_a_model_that_represents_nothing_is_refused():
    with pytest.raises(UserError, match="instance 1 represents no feature"):
        plateau_shares(torch.stack([torch.eye(3), torch.zeros(3, 3)]))
