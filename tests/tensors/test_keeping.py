"""One battery for everything that encodes and selects, against the plain twin in float64.

Numbers are small whole ones: products of them are exact in every order of summing and in bfloat16
too, and many are equal. So the survivors must be the same to the last one, and their values to the
last bit.
"""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monosemy.tensors import compiled, plain, portable
from monosemy.tensors.compiled import tiles

VARIANTS = {
    "compiled": (compiled, torch.float32, {}),
    "compiled in float64": (compiled, torch.float64, {}),
    "compiled, proposing": (compiled, torch.float32, {"propose": True}),
    "compiled in small tiles": (compiled, torch.float32, {}),
    "proposing in small tiles": (compiled, torch.float32, {"propose": True}),
    "proposing in float64": (compiled, torch.float64, {"propose": True}),
    "portable": (portable, torch.float32, {}),
}
# None but the first is a multiple of a block of 64; the last makes three shares and several blocks.
SIZES = st.sampled_from([64, 1, 2, 63, 65, 200, 515])
STRANGE = (
    "nothing", "nan in x", "nan in W", "nan in b", "inf in x", "inf in W", "-inf in b",
    "equal rows", "zero rows", "all positive", "none positive", "not contiguous",
)  # fmt: skip


@st.composite
def encoders(draw):
    """`x`, `W` and `b` in float64, with something strange about them."""
    tokens, latents, width = draw(SIZES), draw(SIZES), draw(st.integers(1, 5))
    levels, seed = draw(st.sampled_from([1, 3, 40])), draw(st.integers(0, 10_000))
    strange = draw(st.sampled_from(STRANGE))
    random = torch.Generator().manual_seed(seed)

    def whole(*shape):
        return torch.randint(-levels, levels + 1, shape, generator=random).double()

    x, W, b = whole(tokens, width), whole(latents, width), whole(latents)
    spot = draw(st.integers(0, 63))
    for name, tensor in (("x", x), ("W", W), ("b", b)):
        for number in ("nan", "inf", "-inf"):
            if strange == f"{number} in {name}":
                tensor.view(-1)[spot % tensor.numel() :: 7] = float(number)
    if strange == "equal rows":
        x, W, b = (part[:1].expand_as(part).clone() for part in (x, W, b))
    if strange == "zero rows":
        x[::2], W[::3] = 0, 0
    if strange in ("all positive", "none positive"):
        b += 1e5 if strange == "all positive" else -1e5
    if strange == "not contiguous":
        x, W = x.T.contiguous().T, W.repeat(1, 2)[:, ::2]
    return x, W, b


def _run(variant, name, encoder, *rest):
    module, dtype, options = VARIANTS[variant]
    rest = [value.to(dtype) if isinstance(value, torch.Tensor) else value for value in rest]
    with pytest.MonkeyPatch.context() as patch:
        if "small tiles" in variant:
            patch.setattr(tiles, "_ENTRIES", 64 * 7)
            patch.setattr(tiles, "_ROWS", 7)
        code = getattr(module, name)(*(part.to(dtype) for part in encoder), *rest, **options)
    assert code.values.dtype == dtype
    return code, getattr(plain, name)(*encoder, *rest)


def _same(code, truth):
    assert torch.equal(code.offsets, truth.offsets)
    assert torch.equal(code.indices, truth.indices)
    assert torch.equal(code.values.double(), truth.values.double())
    assert code.latents == truth.latents


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=60, deadline=None)
@given(encoder=encoders(), k=st.sampled_from([1, 2, 7, 30, 10_000]))
def test_the_largest_of_each_token(variant, encoder, k):
    k = min(k, len(encoder[1]))
    code, truth = _run(variant, "keep_largest", encoder, k)
    if variant != "portable":
        _same(code, truth)
        return
    # Of equal entries torch.topk may take any, so values are compared, and where they stand.
    assert torch.equal(code.offsets, truth.offsets)
    pre = plain.pre_activations(*encoder)
    assert torch.equal(code.values.double(), pre[code.rows, code.indices])
    ranked = [
        [part.sort().values for part in one.values.double().split(one.counts.tolist())]
        for one in (code, truth)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*ranked, strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=60, deadline=None)
@given(encoder=encoders(), seed=st.integers(0, 10_000), low=st.integers(-30, 5))
def test_entries_above_a_floor(variant, encoder, seed, low):
    random = torch.Generator().manual_seed(seed)
    floor = torch.randint(low, low + 9, (len(encoder[1]),), generator=random).double()
    floor[::5], floor[3::7] = torch.inf, -torch.inf
    _same(*_run(variant, "keep_above", encoder, floor))


GUESSES = [-1.0, 0.0, 0.5, 1.0, 8.0, 1e9]


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=60, deadline=None)
@given(
    encoder=encoders(), share=st.sampled_from([0.0, 0.01, 0.3, 2.0]), guess=st.sampled_from(GUESSES)
)
@example((torch.ones(200, 1).double(), torch.ones(70, 1).double(), torch.zeros(70).double()), 0, 1)
def test_the_largest_of_the_batch(variant, encoder, share, guess):
    x, W, _ = encoder
    count = max(1, round(share * len(x) * len(W)))
    _same(*_run(variant, "keep_batch", encoder, count, guess))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("name", "rest"), [("keep_largest", 3), ("keep_above", None),
                                            ("keep_batch", 7)])  # fmt: skip
def test_no_tokens_have_no_entries(variant, name, rest):
    W, b = torch.ones(20, 4).double(), torch.ones(20).double()
    rest = b if rest is None else rest
    code, truth = _run(variant, name, (torch.zeros(0, 4).double(), W, b), rest)
    _same(code, truth)
    assert code.tokens == len(code.values) == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_battery_can_fail(variant):
    x, W, b = (
        torch.ones(3, 1).double(),
        torch.arange(1, 9).double()[:, None],
        torch.zeros(8).double(),
    )
    code, _ = _run(variant, "keep_largest", (x, W, b), 2)
    assert code.indices.tolist() == [6, 7] * 3
    with pytest.raises(AssertionError):
        _same(code, plain.keep_largest(x, W, b + 8 * (torch.arange(8) == 0), 2))
    with pytest.raises(AssertionError):
        _same(code, plain.keep_largest(x, W, b, 3))


# --- the twin itself, by hand ----------------------------------------------------------------------


def _of(pre):
    """An encoder with these pre-activations."""
    pre = torch.tensor(pre)
    return torch.eye(len(pre)), pre.T.contiguous(), torch.zeros(pre.shape[1])


PRE = [[0.5, -1.0, 2.0, 0.5], [-3.0, 0.5, -1.0, 0.25], [0.0, -0.0, -1.0, -2.0]]


def test_plain_by_hand():
    encoder = _of(PRE)
    largest = plain.keep_largest(*encoder, 2)
    assert largest.dense().tolist() == [[0.5, 0, 2, 0], [0, 0.5, 0, 0.25], [0] * 4]
    assert largest.counts.tolist() == [2, 2, 0]
    floor = torch.tensor([0.25, -1.0, 3.0, -2.0])
    above = plain.keep_above(*encoder, floor)
    assert above.offsets.tolist() == [0, 2, 4, 5]
    assert above.indices.tolist() == [0, 3, 1, 3, 1]
    assert plain.keep_batch(*encoder, 3).dense().tolist() == [[0.5, 0, 2, 0.5], [0] * 4, [0] * 4]
    assert plain.keep_batch(*encoder, 99).counts.tolist() == [3, 2, 0]


def test_plain_never_keeps_a_nan():
    pre = torch.tensor([[torch.nan, 1.0, torch.inf], [torch.nan, torch.nan, -1.0]])
    encoder = torch.zeros(2, 2), torch.zeros(3, 2), torch.zeros(3)
    for code in (
        _kept_of(pre, lambda: plain.keep_largest(*encoder, 3)),
        _kept_of(pre, lambda: plain.keep_above(*encoder, torch.full((3,), -0.5))),
        _kept_of(pre, lambda: plain.keep_batch(*encoder, 9)),
    ):
        assert (code.rows.tolist(), code.indices.tolist()) == ([0, 0], [1, 2])


def _kept_of(pre, keep):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "pre_activations", lambda x, W, b: pre)
        return keep()
