import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import (
    BatchTopK,
    JumpReLU,
    ReLU,
    SignedTopK,
    TopK,
    batch_topk_mask,
    build_selection,
)
from monosemy.foundation.errors import UserError
from monosemy.tensors import plain

PRE = torch.tensor([[0.5, -1.0, 2.0, 0.75], [-3.0, -2.0, -1.0, 0.25]])


def test_by_hand():
    assert ReLU().support(PRE).dense().tolist() == [[0.5, 0, 2, 0.75], [0, 0, 0, 0.25]]
    assert TopK(2).support(PRE).dense().tolist() == [[0, 0, 2, 0.75], [0, 0, 0, 0.25]]
    assert SignedTopK(2).support(PRE).dense().tolist() == [[0, -1, 2, 0], [-3, -2, 0, 0]]
    assert BatchTopK(1).train().support(PRE).dense().tolist() == [[0, 0, 2, 0.75], [0, 0, 0, 0]]


def test_thresholds_are_strict_and_never_let_a_negative_entry_through():
    thresholds = torch.tensor([0.5, -5.0, 1.0, -5.0])
    assert JumpReLU(thresholds).support(PRE).dense().tolist() == [[0, 0, 2, 0.75], [0, 0, 0, 0.25]]
    selection = BatchTopK(1).eval()
    selection.threshold.fill_(0.75)
    assert selection.support(PRE).dense().tolist() == [[0, 0, 2, 0], [0, 0, 0, 0]]


# --- the fast selection over a batch -------------------------------------------------------------


def _matrix(tokens, latents, levels, seed):
    """Entries with many ties where there are few levels."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(-levels, levels + 1, (tokens, latents), generator=draw).float()


@settings(max_examples=150, deadline=None)
@given(
    tokens=st.integers(1, 8),
    latents=st.integers(1, 8),
    k=st.integers(1, 8),
    levels=st.sampled_from([1, 3, 1000]),
    guess=st.sampled_from([0.0, 0.5, 2.0, 1e9]),
    seed=st.integers(0, 10_000),
)
def test_the_fast_mask_keeps_what_its_plain_twin_keeps(tokens, latents, k, levels, guess, seed):
    pre, count = _matrix(tokens, latents, levels, seed), min(k, latents) * tokens
    fast = batch_topk_mask(pre, count, guess)
    plainly = plain.batch_topk_mask(pre, count) & (pre > 0)
    # Of equal entries either may be kept, so values are compared, not places.
    assert torch.equal(pre[fast].sort().values, pre[plainly].sort().values)
    if pre.unique().numel() == pre.numel():
        assert torch.equal(fast, plainly)


def test_without_ties_the_same_places_are_kept():
    pre = torch.randn(16, 32, generator=torch.Generator().manual_seed(0))
    wanted = plain.batch_topk_mask(pre, 64)
    for guess in (0.0, 0.1, float(pre.flatten().topk(64).values.min()) - 1e-6, 50.0):
        assert torch.equal(batch_topk_mask(pre, 64, guess), wanted)
    assert not torch.equal(batch_topk_mask(pre, 63), wanted)


def test_a_threshold_follows_the_smallest_entry_kept():
    selection = BatchTopK(1, momentum=0.9).train()
    selection.support(PRE)
    assert float(selection.threshold) == 0.75  # the first batch is taken as it is
    selection.support(2 * PRE)
    assert float(selection.threshold) == pytest.approx(0.9 * 0.75 + 0.1 * 1.5)
    selection.eval().support(5 * PRE)
    assert float(selection.threshold) == pytest.approx(0.825)


# --- k ------------------------------------------------------------------------------------------


def _with(selection, latents=4):
    return FlatDictionary.random(3, latents, selection, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("make", [TopK, SignedTopK, BatchTopK])
def test_k_may_be_as_large_as_the_dictionary_and_no_larger(make):
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    code = _with(make(4)).code(x)
    kept = 4 if make is SignedTopK else (x @ _with(make(4)).W_enc.T > 0).sum(1)
    assert torch.equal(code.counts, torch.as_tensor(kept).expand(5))
    for k in (0, 5):
        with pytest.raises(UserError, match=f"k = {k} for 4 latents; wanted 1 <= k <= latents"):
            _with(make(k))


@pytest.mark.parametrize("make", [TopK, SignedTopK, BatchTopK])
def test_one_latent_is_enough(make):
    dictionary = _with(make(1), latents=1).eval()
    x = dictionary.directions() * torch.tensor([[3.0], [-3.0]])
    negative = -3.0 if make is SignedTopK else 0.0
    torch.testing.assert_close(dictionary.encode(x), torch.tensor([[3.0], [negative]]))


def test_thresholds_must_be_as_many_as_latents():
    with pytest.raises(UserError, match="3 thresholds for 4 latents; wanted one each"):
        _with(JumpReLU(torch.zeros(3)))


def test_selections_by_name():
    assert isinstance(build_selection("relu", 5), ReLU)
    assert build_selection("topk", 5).k == 5
    assert build_selection("batchtopk", 5).k == 5
    with pytest.raises(
        UserError, match="unknown selection 'softmax'; known: relu, topk, batchtopk"
    ):
        build_selection("softmax", 5)
