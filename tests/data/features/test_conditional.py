from dataclasses import replace

import pytest
import torch

from monosemy.data.features.conditional import ConditionalConfig, conditional_world
from monosemy.foundation.errors import UserError

DEFAULT = ConditionalConfig()


def corners(world, parent: int):
    return world.features.directions[world.features.parents == parent]


def shared(one, other) -> torch.Tensor:
    """Cosines of the principal angles between the subspaces that two sets of rows span."""
    spaces = [torch.linalg.svd(rows, full_matrices=False).Vh[:3] for rows in (one, other)]
    return torch.linalg.svdvals(spaces[0] @ spaces[1].T)


@pytest.mark.parametrize("sharing", ["rotated", "analogy", "unshared"])
def test_sizes_and_rates_are_those_of_the_configuration(sharing):
    features = conditional_world(replace(DEFAULT, sharing=sharing)).features
    assert features.directions.shape == (480, 48)
    assert features.true_l0 == pytest.approx(12 * 0.15 * 1.8)
    top = features.levels == 0
    assert int(top.sum()) == 96
    torch.testing.assert_close(features.rates[top], torch.full((96,), 0.15 / 8))
    torch.testing.assert_close(features.rates[~top], torch.full((384,), 0.15 / 8 * 0.8 / 4))
    assert torch.bincount(features.parents[~top]).unique().tolist() == [4]
    assert len(features.charts.unique()) == (97 if sharing == "unshared" else 13)
    torch.testing.assert_close(features.directions.norm(dim=1), torch.ones(480))


@pytest.mark.parametrize("sharing", ["rotated", "analogy", "unshared"])
def test_children_are_corners_of_a_tetrahedron(sharing):
    world = conditional_world(replace(DEFAULT, sharing=sharing))
    for parent in (0, 50, 95):
        rows = corners(world, parent)
        wanted = torch.full((4, 4), -1 / 3).fill_diagonal_(1)
        torch.testing.assert_close(rows @ rows.T, wanted, rtol=1e-4, atol=1e-5)
        assert torch.linalg.matrix_rank(rows, rtol=1e-4) == 3


def test_who_shares_a_subspace_and_who_shares_children():
    worlds = {
        sharing: conditional_world(replace(DEFAULT, sharing=sharing))
        for sharing in ("rotated", "analogy", "unshared")
    }
    for sharing, world in worlds.items():
        within = shared(corners(world, 0), corners(world, 7)).min()  # parents of one group
        across = shared(corners(world, 0), corners(world, 8)).min()
        assert (within > 0.9999) == (sharing != "unshared"), sharing
        assert across < 0.9
        same = torch.allclose(corners(world, 0), corners(world, 7), atol=1e-5)
        assert same == (sharing == "analogy"), sharing


def test_charts_name_the_subspace_and_levels_the_depth():
    config = replace(DEFAULT, groups=2, parents=3, depth=3, width=20)
    features = conditional_world(config).features
    assert torch.bincount(features.levels).tolist() == [6, 24, 96]
    assert features.charts[features.levels == 0].unique().tolist() == [-1]
    for level, charts in ((1, 2), (2, 2)):
        assert len(features.charts[features.levels == level].unique()) == charts
    for chart in range(4):
        rows = features.directions[features.charts == chart]
        assert torch.linalg.matrix_rank(rows, rtol=1e-3) == 3


def test_groups_are_independent_and_their_parents_exclusive():
    world = conditional_world(DEFAULT)
    on = world.sample(50_000, torch.Generator().manual_seed(0)).truth.dense()[:, :96] > 0
    groups = on.view(-1, 12, 8).sum(2)
    assert groups.max() == 1
    correlation = torch.corrcoef(groups.T.double()) - torch.eye(12)
    assert correlation.abs().max() < 4.5 / 50_000**0.5


def test_a_childs_size_is_a_part_of_its_parents():
    world = conditional_world(DEFAULT)
    code = world.sample(20_000, torch.Generator().manual_seed(0)).truth
    full = code.dense()
    child = code.indices >= 96
    parts = code.values[child] / full[code.rows[child], world.features.parents[code.indices[child]]]
    assert 0.4 <= parts.min() < 0.401
    assert 0.799 < parts.max() <= 0.8001
    tops = code.values[~child]
    assert 1.0 <= tops.min() < 1.001
    assert 1.999 < tops.max() <= 2.0


def test_what_is_left_is_the_noise():
    world = conditional_world(replace(DEFAULT, noise=0.05))
    samples = world.sample(5000, torch.Generator().manual_seed(0))
    rest = samples.x - samples.truth.dense() @ world.features.directions
    assert rest.std() == pytest.approx(0.05, rel=0.01)


def test_the_seed_decides_directions_and_nothing_else():
    one, same, other = (conditional_world(DEFAULT, seed) for seed in (0, 0, 1))
    assert one.fingerprint == same.fingerprint
    assert one.law.fingerprint == other.law.fingerprint
    assert one.fingerprint != other.fingerprint


def test_every_field_has_an_effect():
    changes = {
        "sharing": "analogy", "width": 40, "groups": 5, "parents": 4, "children": 3, "depth": 1,
        "rank": 4, "group_rate": 0.2, "child_rate": 0.5, "parent_size": (1.0, 3.0),
        "child_size": (0.4, 0.9), "noise": 0.1,
    }  # fmt: skip
    assert set(changes) == set(ConditionalConfig.__dataclass_fields__)
    plain = conditional_world(DEFAULT).fingerprint
    for name, value in changes.items():
        assert conditional_world(replace(DEFAULT, **{name: value})).fingerprint != plain, name


def test_any_size_can_be_asked_for():
    config = ConditionalConfig(width=7, groups=1, parents=1, children=9, rank=2, group_rate=1.0)
    world = conditional_world(config)
    assert world.features.count == 10
    rows = corners(world, 0)
    apart = (rows @ rows.T - 2 * torch.eye(9)).max()
    assert apart < 0.8  # nine points on a circle: cos 40° is 0.77
    assert world.features.rates[0] == 1.0


def test_worlds_that_cannot_be_are_refused_with_all_reasons():
    config = ConditionalConfig(
        sharing="rotate", width=2, groups=0, group_rate=1.5, parent_size=(2.0, 1.0), noise=-1.0
    )
    with pytest.raises(UserError) as caught:
        conditional_world(config)
    assert str(caught.value) == (
        "this conditional world has 6 problems:\n"
        "  - unknown sharing 'rotate'; known: rotated, analogy, unshared; did you mean 'rotated'?\n"
        "  - groups is 0; wanted at least 1\n"
        "  - charts of rank 3 do not fit in 2 dimensions; use a rank of at most 2\n"
        "  - group_rate is 1.5; wanted a probability above 0, at most 1\n"
        "  - parent_size is from 2.0 to 1.0; wanted 0 < smallest <= largest\n"
        "  - noise is -1.0; wanted 0 or more"
    )
    with pytest.raises(
        UserError, match="4 children on one line coincide; use a rank of at least 2"
    ):
        conditional_world(ConditionalConfig(rank=1))
