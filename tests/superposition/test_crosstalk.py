"""The gain of one half: kept out by its own pool, let in by a global norm."""

from __future__ import annotations

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.models.norms import make
from monosemy.superposition.crosstalk import (
    GAINS,
    NOISE,
    TwoSubspaces,
    decoding_errors,
    learn_pools,
    purity,
)


def toy(samples=1000, width=16, seed=0, shuffled=False):
    return TwoSubspaces.draw(samples, width, torch.Generator().manual_seed(seed), shuffled)


def errors(kind, of="other", **how):
    return decoding_errors(make(kind, 16, pools=2, sigma=0.0).normalised, toy(**how), of=of)


def test_contents_have_mean_square_one_and_gains_are_gains():
    two = toy()
    torch.testing.assert_close(two.first.square().mean(1), torch.ones(1000))
    stream = two.stream(3.0, 0.5)
    torch.testing.assert_close(stream[:, :8], 3 * two.first)
    torch.testing.assert_close(stream[:, 8:], 0.5 * two.second)
    hidden = toy(shuffled=True)
    torch.testing.assert_close(hidden.stream(3.0, 0.5)[:, hidden.places[:8]], 3 * hidden.first)


def test_separate_pools_are_deaf_to_every_gain():
    for of in ("other", "own"):
        found = errors("divisive", of)
        assert max(found) / min(found) < 1.0001
        assert found[0] == pytest.approx(NOISE**2, rel=0.2)


def test_global_norms_are_not():
    for kind in ("layernorm", "rmsnorm"):
        found = errors(kind)
        assert found[-1] > 5 * found[GAINS.index(1.0)]


def test_without_a_norm_its_own_gain_stays_in():
    own = errors("none", "own")
    assert own[-1] > 100 * own[GAINS.index(1.0)]


def test_pools_across_the_halves_are_as_leaky():
    found = errors("divisive", shuffled=True)
    assert found[-1] > 5 * found[GAINS.index(1.0)]


def test_hidden_halves_are_found():
    draw = torch.Generator().manual_seed(0)
    hidden = TwoSubspaces.draw(500, 16, draw, shuffled=True)
    assert learn_pools(hidden, 2, draw, steps=0)[1] < 0.75
    norm, pure = learn_pools(hidden, 2, draw, steps=250)
    assert pure > 0.95
    found = decoding_errors(lambda z: norm.normalised(z).detach(), hidden)
    assert max(found) / min(found) < 1.1


def test_purity_is_no_more_than_half_where_halves_share_a_pool():
    norm, pure = learn_pools(toy(), 2, torch.Generator().manual_seed(0), steps=0)
    norm.logits.data = torch.tensor([[30.0], [0.0]]).expand(2, 16)
    assert purity(norm, toy()) == 0.5
    norm.logits.data = 30.0 * torch.nn.functional.one_hot(torch.arange(16) // 8, 2).T.float()
    assert purity(norm, toy()) == pytest.approx(1)
    # Half of the axes of either side in the wrong pool: nothing is left of it.
    norm.logits.data = 30.0 * torch.nn.functional.one_hot(torch.arange(16) % 2, 2).T.float()
    assert purity(norm, toy()) == pytest.approx(0.5)
    assert pure > 0.5


def test_refusals():
    draw = torch.Generator()
    with pytest.raises(UserError, match="width = 5; wanted an even number from 4"):
        TwoSubspaces.draw(100, 5, draw)
    with pytest.raises(UserError, match="50 samples of 16 axes; a decoder needs at least 64"):
        TwoSubspaces.draw(50, 16, draw)
