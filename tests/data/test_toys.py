"""Sparse features: rates and companies, exact expectations, batches that repeat."""

from __future__ import annotations

import pytest
import torch

from monosemy.data.toys import (
    APART,
    ONE_OF,
    TOGETHER,
    EveryCase,
    SparseFeatures,
    ToyStream,
    densities,
)
from monosemy.foundation.errors import UserError
from monosemy.tensors.compute import Compute

SAMPLES = 40_000


def drawn(density: float, company: str, signed: bool = False) -> torch.Tensor:
    law = SparseFeatures(
        densities([density, 0.1], 4), company, 1 if company == APART else 2, signed
    )
    return law.draw(SAMPLES, Compute().generator("test"))[0]


@pytest.mark.parametrize("company", [APART, TOGETHER, ONE_OF])
@pytest.mark.parametrize("signed", [False, True])
def test_features_have_their_density_and_are_uniform_beside(company, signed):
    x = drawn(0.4, company, signed)
    fired = x != 0
    # Five standard deviations of a share of 0.4 among so many samples.
    assert (fired.float().mean(0) - 0.4).abs().max() < 5 * (0.24 / SAMPLES) ** 0.5
    sizes = x[fired]
    low = -1 if signed else 0
    assert low <= sizes.min() < low + 0.01
    assert 0.99 < sizes.max() <= 1
    # Mean and mean square of a uniform number.
    assert abs(sizes.mean() - (0 if signed else 0.5)) < 0.015
    assert abs(sizes.square().mean() - 1 / 3) < 0.01


def test_companies_fire_as_they_say():
    both = {company: (drawn(0.4, company) != 0) for company in (APART, TOGETHER, ONE_OF)}
    together = both[TOGETHER]
    assert torch.equal(together[:, 0], together[:, 1])
    assert not torch.equal(together[:, 1], together[:, 2])
    assert not (both[ONE_OF][:, 0] & both[ONE_OF][:, 1]).any()
    assert (both[ONE_OF][:, 1] & both[ONE_OF][:, 2]).any()
    assert abs((both[APART][:, 0] & both[APART][:, 1]).float().mean() - 0.16) < 0.01


def test_sizes_of_a_set_are_their_own():
    x = drawn(0.4, TOGETHER)
    x = x[x[:, 0] != 0]
    assert abs(torch.corrcoef(x[:, :2].T)[0, 1]) < 0.05


def test_every_case_gives_exact_expectations():
    cases = EveryCase.of(2)
    density = torch.tensor([0.3, 1.0, 0.01])
    weights = cases.weights(density)
    assert torch.allclose(weights.sum(1), torch.ones(3), atol=1e-5)
    # E x1² x2 = (s/3)(s/2); E of neither firing = (1-s)².
    product = cases.x[:, 0].square() * cases.x[:, 1]
    assert torch.allclose((weights * product).sum(1), density**2 / 6, atol=1e-6)
    assert torch.allclose(weights[:, cases.fired == 0].sum(1), (1 - density) ** 2, atol=1e-6)
    # A kink: E |x1 - x2| given both is 1/3.
    kink = (weights * (cases.x[:, 0] - cases.x[:, 1]).abs())[1, cases.fired == 2].sum()
    assert abs(kink - 1 / 3) < 3e-3


def test_batches_are_a_function_of_seed_and_number():
    law = SparseFeatures(densities([0.5], 3, fits=2))
    one, other = ToyStream(law, 8, Compute(seed=1)), ToyStream(law, 8, Compute(seed=1))
    first = [next(one) for _ in range(3)]
    other.load_state_dict({"drawn": 2})
    assert torch.equal(next(other), first[2])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(next(ToyStream(law, 8, Compute(seed=2))), first[0])
    assert one.seconds["input"] > 0


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="densities from 0 to 0.5; wanted above 0"):
        SparseFeatures(torch.tensor([[0.0, 0.5]]))
    with pytest.raises(UserError, match="3 features do not divide into sets of 2"):
        SparseFeatures(torch.full((1, 3), 0.5), TOGETHER, 2)
    with pytest.raises(
        UserError, match="would fire more than always; wanted a density of at most 0.5"
    ):
        SparseFeatures(torch.full((1, 4), 0.6), ONE_OF, 2)
    with pytest.raises(
        UserError, match="unknown company|company 'togeter'.*did you mean 'together'"
    ):
        SparseFeatures(torch.full((1, 4), 0.6), "togeter", 2)
    with pytest.raises(UserError, match="batch of 0 samples"):
        ToyStream(SparseFeatures(densities([0.5], 3)), 0, Compute())
