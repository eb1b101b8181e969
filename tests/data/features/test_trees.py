from dataclasses import replace

import pytest
import torch

from monosemy.data.features.law import Rule
from monosemy.data.features.trees import TreeConfig, loadings, tree_law, tree_world
from monosemy.foundation.errors import UserError
from monosemy.tensors.compute import Compute

SMALL = TreeConfig(
    features=100, width=12, least=0.01, roots=4, branching=3, depth=2, rank=4, steps=5, most=0.3
)
# Four roots, eight children, sixteen below these, and features in no tree.
GIVEN = (0.3, 0.25, 0.2, 0.2, *[0.06] * 7, 0.11, *[0.02] * 14, 0.06, 0.04, *[0.03] * 72)
EXACT = replace(SMALL, rank=0, compensation="exact", branching=2, given=GIVEN)


def test_the_law_is_the_configurations():
    law = tree_law(SMALL, Compute())
    assert law.parents[:20].tolist() == [-1] * 4 + [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [
        4
    ] * 3 + [5]
    assert (law.parents[4 + 12 + 36 :] == -1).all()
    assert law.rules.unique().tolist() == [Rule.CONTEST]
    torch.testing.assert_close(law.mean, torch.linspace(5, 4, 100))
    below = law.parents >= 0
    torch.testing.assert_close(law.gain[below], 1 / law.mean[law.parents[below]])
    assert (law.gain[~below] == 0).all()


def test_spreads_are_folded_normal():
    spread = tree_law(replace(SMALL, features=20_000), Compute()).spread
    assert (spread > 0).all()
    drawn = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    folded = (0.5 + 0.5 * drawn).abs()
    assert spread.mean() == pytest.approx(float(folded.mean()), abs=0.015)
    assert spread.std() == pytest.approx(float(folded.std()), abs=0.015)


def test_loadings_have_their_scale_and_leave_a_hundredth():
    drawn = loadings(5000, 20, 0.1, Compute())
    assert drawn.std() == pytest.approx(0.1, rel=0.02)
    large = loadings(5000, 20, 1.0, Compute()).square().sum(1)
    torch.testing.assert_close(large, torch.full((5000,), 0.99))


def test_exact_compensation_gives_the_wanted_rates():
    wanted = torch.tensor(GIVEN)
    torch.testing.assert_close(tree_world(EXACT).features.rates, wanted, rtol=1e-5, atol=0)
    near = tree_world(replace(EXACT, compensation="first-order")).features.rates
    assert (near / wanted - 1).abs()[26:28].max() > 0.02


def test_given_rates_take_zipfs_place():
    given = tuple(0.2 / (1 + rank / 10) for rank in range(100))
    config = replace(SMALL, given=given, compensation="none", depth=0)
    torch.testing.assert_close(tree_law(config, Compute()).chance.tolist(), list(given))


def test_without_a_hierarchy_every_feature_is_a_root():
    features = tree_world(replace(SMALL, depth=0)).features
    assert (features.parents == -1).all()


def test_the_bias_has_its_length_and_the_rest_is_noise():
    world = tree_world(replace(SMALL, bias=2.0, noise=0.1))
    assert world.bias.norm() == pytest.approx(2.0)
    samples = world.sample(4000, torch.Generator().manual_seed(0))
    rest = samples.x - samples.truth.dense() @ world.features.directions
    assert (rest.mean(0) - world.bias).abs().max() < 0.01
    assert rest.std(0).mean() == pytest.approx(0.1, rel=0.02)


def test_the_seed_decides():
    one, same, other = (tree_world(SMALL, seed).fingerprint for seed in (0, 0, 1))
    assert one == same != other


def test_every_field_has_an_effect():
    changes = {
        "features": 90, "width": 11, "exponent": 0.7, "most": 0.4, "least": 0.02, "given": (0.1,) * 100,
        "roots": 5, "branching": 2, "depth": 1, "exclusive": False, "compensation": "none",
        "scaled": False, "mean": (3.0, 2.0), "spread": (0.1, 0.2), "rank": 3, "correlation": 0.2,
        "steps": 6, "rate": 1e-2, "bias": 1.0, "noise": 0.1,
    }  # fmt: skip
    assert set(changes) == set(TreeConfig.__dataclass_fields__)
    plain = tree_world(SMALL).fingerprint
    for name, value in changes.items():
        assert tree_world(replace(SMALL, **{name: value})).fingerprint != plain, name


def test_worlds_that_cannot_be_are_refused_with_all_reasons():
    config = TreeConfig(
        features=0, depth=-1, mean=(1.0, 0.0), bias=-1.0, given=(0.5, 1.5), exponent=0.0,
        compensation="exakt",
    )  # fmt: skip
    with pytest.raises(UserError) as caught:
        tree_world(config)
    assert str(caught.value) == (
        "this world of trees has 8 problems:\n"
        "  - features is 0; wanted at least 1\n"
        "  - depth is -1; wanted 0 or more\n"
        "  - mean activations are (1.0, 0.0); wanted above 0\n"
        "  - bias is -1.0; wanted 0 or more\n"
        "  - 2 rates are given for 0 features\n"
        "  - rates are given that are no probabilities; wanted above 0, at most 1\n"
        "  - exponent is 0.0; wanted above 0\n"
        "  - unknown compensation 'exakt'; known: none, first-order, exact; did you mean 'exact'?"
    )
    with pytest.raises(
        UserError, match="rates fall from 0.1 to 0.2; wanted 0 < least <= most <= 1"
    ):
        tree_world(replace(SMALL, most=0.1, least=0.2))


def test_rates_that_the_hierarchy_cannot_give_are_refused():
    with pytest.raises(UserError, match="and its exclusive siblings are wanted together on"):
        tree_world(replace(EXACT, branching=8))
    with pytest.raises(UserError, match="rates are exact only without correlation; use rank = 0"):
        tree_world(replace(EXACT, rank=2))
    # A child that fills its parent but for activations below zero, which nothing can make up for.
    given = (0.3, 0.299, *[0.01] * 98)
    config = replace(EXACT, given=given, roots=1, branching=1, depth=1, mean=(1.0, 1.0))
    with pytest.raises(UserError, match="would have to fire with probability"):
        tree_world(config)
