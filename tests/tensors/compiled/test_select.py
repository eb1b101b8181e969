"""Proposals in bfloat16, shares, pruning and guesses: none of them changes what is kept."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monosemy.tensors import compiled, plain
from monosemy.tensors.compiled import select, tiles


def _normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def _encoder(tokens=150, width=32, latents=700, seed=0):
    b = 0.3 * _normal(latents, seed=seed)
    return _normal(tokens, width, seed=seed), _normal(latents, width, seed=seed + 1), b


@pytest.fixture
def again(monkeypatch):
    """Tokens that were encoded again in full precision, because too few were proposed."""
    seen, keep = [], select.keep_largest

    def spy(x, *rest):
        seen.append(len(x))
        return keep(x, *rest)

    monkeypatch.setattr(select, "keep_largest", spy)
    return seen


def _equal(one, other):
    parts = [(code.offsets, code.indices, code.values) for code in (one, other)]
    return all(torch.equal(a, b) for a, b in zip(*parts, strict=True))


def _exact_within_rounding(code, truth, pre):
    """Values are the truth's; where support differs, entries are too close for float32 to tell."""
    near = 1e-5 * float(pre.abs().max())
    torch.testing.assert_close(
        code.values.double(), pre[code.rows, code.indices], rtol=0, atol=near
    )
    differs = (code.dense() != 0) != (truth.dense() != 0)
    for token in differs.any(1).nonzero().flatten():
        entries = pre[token][differs[token]]
        assert len(entries) % 2 == 0
        assert entries.max() - entries.min() < near
    return int(differs.sum())


KEEP = {
    "keep_largest": lambda pre: (8,),
    "keep_above": lambda pre: (torch.linspace(-1, 4, pre.shape[1]),),
    "keep_batch": lambda pre: (8 * len(pre), 0.5),
}


# --- bfloat16 proposes, float32 decides -------------------------------------------------------------


@pytest.mark.parametrize("name", KEEP)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000), width=st.sampled_from([1, 5, 64]),
    scale=st.sampled_from([1e-12, 1.0, 1e12]),
)  # fmt: skip
def test_proposals_lead_to_the_exact_selection(name, seed, width, scale):
    x, W, b = _encoder(130, width, seed=seed)
    encoder = scale * x, W, scale * b
    pre = plain.pre_activations(*(part.double() for part in encoder))
    rest = KEEP[name](pre)
    rest = [scale * part if isinstance(part, torch.Tensor) else part for part in rest]
    code = getattr(compiled, name)(*encoder, *rest, propose=True)
    exact = getattr(plain, name)(*(part.double() for part in encoder), *rest)
    if name != "keep_above":
        assert torch.equal(code.counts, exact.counts) or name == "keep_batch"
        assert len(code.values) == len(exact.values)
    _exact_within_rounding(code, exact, pre)


def test_the_proposals_alone_would_be_wrong():
    """What is compared above does fail without the second look."""
    x, W, b = _encoder(latents=3000)
    low = [part.bfloat16().double() for part in (x, W, b)]
    exact = plain.keep_largest(x.double(), W.double(), b.double(), 8)
    proposed = plain.keep_largest(*low, 8)
    assert ((proposed.dense() != 0) != (exact.dense() != 0)).sum() > 5
    with pytest.raises(AssertionError):
        _exact_within_rounding(proposed, exact, plain.pre_activations(*low))


def test_ordinary_activations_are_never_encoded_again(again):
    compiled.keep_largest(*_encoder(width=256), 8, True)
    assert again == []


def _near_equal():
    """Whole numbers from 65,536 to 65,791: bfloat16 cannot tell one from another."""
    random = torch.Generator().manual_seed(0)
    steps = torch.randint(0, 256, (3000,), generator=random).float()
    x = torch.tensor([[256.0, 1.0]]).repeat(90, 1)
    return x, torch.stack([torch.full_like(steps, 256.0), steps], 1), torch.zeros(3000)


def _huge_bias():
    x, W, b = _encoder()
    b[5] = 1e6
    return x, W, b


HARD = {"thousands of near-equal entries": _near_equal, "one huge bias": _huge_bias}


@pytest.mark.parametrize("case", HARD)
def test_where_the_proposals_run_out_the_token_is_encoded_again(case, again):
    encoder = HARD[case]()
    code = compiled.keep_largest(*encoder, 8, True)
    assert again == [len(encoder[0])]
    exact = [part.double() for part in encoder]
    pre = plain.pre_activations(*exact)
    assert _exact_within_rounding(code, plain.keep_largest(*exact, 8), pre) == 0


def test_only_tokens_that_need_it_are_encoded_again(again):
    x, W, b = _near_equal()
    x[::3] = torch.tensor([0.0, 1.0])  # 0 to 255, exact in bfloat16; many equal ones at the top
    x[1::3] = 0
    code = compiled.keep_largest(x, W, b, 8, True)
    # Equal ones run out too; of tokens without a positive entry nothing is left to find.
    assert again
    assert again[0] <= 90
    assert _equal(code, compiled.keep_largest(x, W, b, 8))
    assert code.counts.tolist() == [8, 0, 8] * 30


@pytest.mark.parametrize("case", HARD)
def test_hard_cases_of_a_batch(case):
    encoder = HARD[case]()
    exact = [part.double() for part in encoder]
    for count in (1, 700, 5000):
        code = compiled.keep_batch(*encoder, count, 0.0, True)
        truth = plain.keep_batch(*exact, count)
        assert torch.equal(code.indices, truth.indices)
        assert torch.equal(code.offsets, truth.offsets)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("propose", [False, True])
@pytest.mark.parametrize("name", KEEP)
def test_one_strange_token_does_not_disturb_the_others(name, propose, number):
    x, W, b = _encoder(150, 4)
    strange = x.clone()
    strange[70, 1] = number
    rest = KEEP[name](plain.pre_activations(x, W, b))
    code, usual = (getattr(plain, name)(some, W, b, *rest) for some in (strange, x))
    found = getattr(compiled, name)(strange, W, b, *rest, propose=propose)
    assert torch.equal(found.indices, code.indices)
    assert torch.equal(found.offsets, code.offsets)
    if name != "keep_batch":
        assert torch.equal(found.counts[:70], usual.counts[:70])


# --- how the work is cut up ------------------------------------------------------------------------


@pytest.fixture
def pruned(monkeypatch):
    """How often entries of a share were thinned out."""
    seen, only = [], select._Growing.only
    spy = lambda self, chosen: (seen.append(int((~chosen).sum())), only(self, chosen))  # noqa: E731
    monkeypatch.setattr(select._Growing, "only", spy)
    return seen


def test_entries_that_are_proposed_below_zero_and_lie_above_it_are_kept(pruned):
    """More candidates than may be held, most of them within the margin of zero."""
    x, W, b = _encoder(200, 64, 600)
    x[:, 0], W[:, 0], b[:] = 8.0, -1.8, 0.0
    b[0] = -1e6  # widens the margin for everybody
    positive = plain.pre_activations(x.double(), W.double(), b.double()) > 0
    proposed = plain.pre_activations(x.bfloat16().float(), W.bfloat16().float(), b) > 0
    assert (positive & ~proposed).any()
    count = int(positive.sum()) + 100
    code = compiled.keep_batch(x, W, b, count, 0.0, True)
    assert len(pruned) == 3
    assert len(code.values) == count - 100


@pytest.mark.parametrize("propose", [False, True])
@pytest.mark.parametrize("guess", [0.0, 0.1, 3.0, 11.0, 1e6])
def test_a_guess_saves_time_and_changes_nothing(pruned, propose, guess):
    encoder = _encoder()
    code = compiled.keep_batch(*encoder, 300, guess, propose)
    assert _equal(code, compiled.keep_batch(*encoder, 300, 0.0, propose))
    plainly = plain.keep_batch(*encoder, 300)
    assert torch.equal(code.indices, plainly.indices)
    assert torch.equal(code.offsets, plainly.offsets)
    if guess == 0.0:
        assert sum(pruned) > 1000


def test_a_good_guess_leaves_nothing_to_prune(pruned):
    encoder = _encoder()
    least = float(compiled.keep_batch(*encoder, 300).values.min())
    pruned.clear()
    compiled.keep_batch(*encoder, 300, 0.95 * least)
    assert pruned == []


@pytest.mark.parametrize("propose", [False, True])
@pytest.mark.parametrize("name", KEEP)
def test_tiles_and_threads_change_nothing(name, propose, monkeypatch):
    encoder = _encoder(300)
    rest = KEEP[name](torch.zeros(300, 700))
    whole = getattr(compiled, name)(*encoder, *rest, propose=propose)
    assert _equal(whole, getattr(compiled, name)(*encoder, *rest, propose=propose))
    # Another shape of product may round differently, so whole numbers for what follows.
    encoder = [(3 * part).round() for part in encoder]
    whole = getattr(compiled, name)(*encoder, *rest, propose=propose)
    monkeypatch.setattr(tiles, "_ENTRIES", 130 * 7)
    monkeypatch.setattr(tiles, "_ROWS", 7)
    assert _equal(whole, getattr(compiled, name)(*encoder, *rest, propose=propose))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert _equal(whole, getattr(compiled, name)(*encoder, *rest, propose=propose))
    finally:
        torch.set_num_threads(threads)


def test_an_equal_entry_of_an_earlier_token_in_a_later_tile_comes_first(monkeypatch, pruned):
    monkeypatch.setattr(tiles, "_ENTRIES", 64 * 2)
    pre = torch.zeros(2, 130)
    pre[1, :10], pre[0, 100] = 5.0, 5.0
    code = compiled.keep_batch(torch.eye(2), pre.T.contiguous(), torch.zeros(130), 1)
    assert (code.rows.tolist(), code.indices.tolist()) == ([0], [100])
    assert pruned


def test_more_entries_than_there_was_memory_for():
    x, W, b = _encoder(300)
    code = compiled.keep_above(x, W, b, torch.full((700,), -1e9))
    assert code.counts.tolist() == [700] * 300
    torch.testing.assert_close(code.dense(), plain.pre_activations(x, W, b))
    few = torch.full((700,), -1e9)
    few[13] = torch.inf
    assert compiled.keep_above(x, W, b, few).counts.tolist() == [699] * 300
