"""Shares of variance, factorisation, subspaces: additive and conditional codes by hand."""

from __future__ import annotations

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.superposition.coded import MADE, MadeConfig, made
from monosemy.superposition.factorisation import (
    CONDITIONAL,
    GLOBAL,
    SEPARATE,
    TURNED,
    UNSTRUCTURED,
    Grid,
    factorisation,
    kind_of,
    ravel,
    sharing,
    variance_shares,
)

WANTED = {"global": GLOBAL, "separate": SEPARATE, "turned": TURNED, "random": UNSTRUCTURED}


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def grid_of(means):
    """Without noise: both halves are the means."""
    values = tuple(tuple(map(str, range(size))) for size in means.shape[:-1])
    names = tuple("abc"[: len(values)])
    counts = torch.full(means.shape[:-1], 2)
    return Grid(torch.stack([means, means]).double(), names, values, counts)


def test_an_additive_code_has_no_interaction_and_is_all_common():
    first, second = (
        torch.randn(5, 1, 20, generator=draw()),
        torch.randn(1, 4, 20, generator=draw(1)),
    )
    found = grid_of(first + 2 * second)
    shares = variance_shares(found)
    assert shares["interaction"] == pytest.approx(0, abs=1e-6)
    assert shares["a"] + shares["b"] == pytest.approx(1)
    assert sharing(found, 0).common == pytest.approx(1)
    assert sharing(found, 0).overlap == pytest.approx(1)


def test_orthogonal_subspaces_have_nothing_in_common():
    means = torch.zeros(4, 3, 30)
    for context in range(3):
        means[:, context, 4 * context : 4 * context + 4] = torch.eye(4)
    found = sharing(grid_of(means), 0)
    assert found.common == pytest.approx(0, abs=1e-9)
    assert found.overlap == pytest.approx(0, abs=1e-9)
    assert found.angle == pytest.approx(90)
    assert found.dimensions == pytest.approx(3)
    assert found.share == pytest.approx(1)


def test_factorisation_by_hand():
    eye = torch.eye(4)
    apart = eye[:2][:, None] + 3 * eye[2:][None]
    assert factorisation(grid_of(apart), 0)["factorisation"] == pytest.approx(1)
    assert factorisation(grid_of(apart), 0)["invariance"] == pytest.approx(1 - 1 / 9)
    along = torch.arange(3.0)[:, None, None] * eye[0] + torch.arange(2.0)[None, :, None] * eye[0]
    assert factorisation(grid_of(along), 0)["factorisation"] == pytest.approx(0)


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_made_codes_are_told_apart(kind, seed):
    coded = made(kind, MadeConfig(), draw(seed))
    half = coded.halves(draw(seed))
    found = Grid.of(coded.x, coded.labels, half, coded.names, coded.values)
    assert sharing(found, 0).kind == WANTED[kind]
    assert sharing(found, 1).kind == (UNSTRUCTURED if kind == "random" else GLOBAL)


def test_noise_alone_has_nothing_in_common_with_itself():
    """Halves take the noise out: without them its variance would count as interaction."""
    coded = made("global", MadeConfig(noise=5.0, samples=20), draw())
    half = coded.halves(draw(1))
    found = Grid.of(coded.x, coded.labels, half, coded.names, coded.values)
    assert variance_shares(found)["interaction"] == pytest.approx(0, abs=0.1)
    biased = Grid(
        found.means.mean(0).expand(2, -1, -1, -1), found.names, found.values, found.counts
    )
    assert variance_shares(biased)["interaction"] > 0.15


def test_the_rule():
    assert kind_of(0.5, 1.0, 0.0, 2) == GLOBAL
    assert kind_of(0.4, 1.0, 0.0, 3) == CONDITIONAL
    assert kind_of(0.4, 0.7, 0.9, 4) == UNSTRUCTURED
    assert kind_of(0.4, 0.5, 0.5, 4) == TURNED
    assert kind_of(0.4, 0.5, 0.4, 4) == SEPARATE


def test_empty_combinations_are_named():
    x, labels = (
        torch.randn(8, 3, generator=draw()),
        torch.tensor([[0, 0], [0, 1], [1, 0], [1, 0]] * 2),
    )
    half = torch.arange(8) < 4
    with pytest.raises(UserError, match="no sample of size = large, colour = red"):
        Grid.of(x, labels, half, ("size", "colour"), (("small", "large"), ("blue", "red")))
    with pytest.raises(UserError, match="variable 'size' has 1 value"):
        Grid.of(x, labels * 0, half, ("size", "colour"), (("small",), ("blue", "red")))
    assert ravel(labels, (2, 2)).tolist()[:3] == [0, 1, 2]
