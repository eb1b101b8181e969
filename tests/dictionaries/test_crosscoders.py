"""Shared latents over several parts, and what tells which part a latent belongs to."""

import pytest
import torch

from monosemy.dictionaries.crosscoders import Crosscoder
from monosemy.dictionaries.selection import JumpReLU, ReLU, TopK
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import UserError
from monosemy.tensors.rows import RowGradient

WIDTHS, LATENTS, TOKENS = (4, 3, 5), 14, 30


def draw(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(selection=None, **options) -> Crosscoder:
    width = sum(WIDTHS)
    return Crosscoder(
        draw(LATENTS, width, seed=0), draw(LATENTS, seed=1), draw(LATENTS, width, seed=2),
        draw(width, seed=3), selection or ReLU(), WIDTHS, **options,
    )  # fmt: skip


@pytest.fixture
def x():
    return draw(TOKENS, sum(WIDTHS), seed=9)


def norms_of(W_dec):
    """Part by part, row by row."""
    parts = W_dec[:, :4], W_dec[:, 4:7], W_dec[:, 7:]
    return torch.stack([part.square().sum(1).sqrt() for part in parts], 1)


def test_code_and_reconstruction_are_the_formula(x):
    for centred in (True, False):
        dictionary = made(centred=centred)
        shift = dictionary.b_dec if centred else 0
        code = ((x - shift) @ dictionary.W_enc.T + dictionary.b_enc).relu()
        torch.testing.assert_close(dictionary.encode(x), code)
        torch.testing.assert_close(dictionary(x), code @ dictionary.W_dec + dictionary.b_dec)


@pytest.mark.parametrize("by_rows", [True, False])
def test_the_penalty_sums_the_norms_of_parts_and_every_gradient_is_dense_autograds(x, by_rows):
    ours, twin = made(), made()
    if by_rows:
        for matrix, unit in ours.row_matrices():
            RowGradient.attach(matrix, unit=unit)
    code, terms = ours.training_code(x)
    total = ours.squared_error(code, x, x)[0].mean() + 0.7 * terms["l1"]
    total.backward()
    full = ((x - twin.b_dec) @ twin.W_enc.T + twin.b_enc).relu()
    error = (x - full @ twin.W_dec - twin.b_dec).square().sum(1).mean()
    l1 = (full * norms_of(twin.W_dec).sum(1)).sum() / TOKENS / sum(WIDTHS) ** 0.5
    torch.testing.assert_close(terms["l1"], l1)
    (error + 0.7 * l1).backward()
    for name, one in ours.named_parameters():
        found = one.row_gradient.dense() if hasattr(one, "row_gradient") else one.grad
        torch.testing.assert_close(found, twin.get_parameter(name).grad, msg=name)
    # The plain norm of whole rows would be another penalty.
    plain = (full * twin.W_dec.norm(dim=1)).sum() / TOKENS / sum(WIDTHS) ** 0.5
    assert abs(plain - l1) > 0.1 * l1


def test_selections_keep_their_own_penalties(x):
    jump = JumpReLU(0.3 * torch.ones(LATENTS, dtype=torch.float64))
    dictionary = made(jump).train()
    terms = dictionary.training_code(x)[1]
    active = (dictionary.eval().encode(x) > 0).sum(1).double().mean()
    torch.testing.assert_close(terms["l0"], active)


def test_norms_tell_where_a_latent_lives():
    dictionary = made()
    torch.testing.assert_close(dictionary.decoder_norms(), norms_of(dictionary.W_dec.detach()))
    with torch.no_grad():
        dictionary.W_dec[0, 4:] = 0
        dictionary.W_dec[1] = 0
        dictionary.W_dec[2] = torch.tensor([2.0] + 3 * [0] + [1] + 2 * [0] + [1] + 4 * [0])
    shares = dictionary.relative_norms()
    assert shares[0].tolist() == [1, 0, 0]
    assert shares[1].tolist() == pytest.approx([1 / 3] * 3)
    assert shares[2].tolist() == [0.5, 0.25, 0.25]
    torch.testing.assert_close(shares.sum(1), torch.ones(LATENTS, dtype=torch.float64))


def test_parts_of_different_size_are_compared_in_the_units_of_learning(x):
    """Activations of one model are ten times as large: folding must not hand it every latent."""
    scale = torch.tensor([0.1] * 4 + [1.0] * 3 + [3.0] * 5, dtype=torch.float64)
    dictionary, units = made(), Units.scaled(scale)
    shares, before = dictionary.relative_norms(), dictionary(units.apply(x)) / scale
    dictionary.fold_(units, units)
    torch.testing.assert_close(dictionary(x), before)
    assert dictionary.scales == pytest.approx((0.1, 1, 3))
    torch.testing.assert_close(dictionary.relative_norms(), shares)
    dictionary.scales = (1.0, 1.0, 1.0)
    assert (dictionary.relative_norms() - shares).abs().max() > 0.1


def test_whitened_parts_are_refused_by_their_units():
    matrix = torch.eye(sum(WIDTHS), dtype=torch.float64)
    dictionary = made()
    before = dictionary.W_enc.detach().clone()
    with pytest.raises(UserError, match="whitening mixes the parts of a crosscoder"):
        dictionary.fold_(Units(matrix, matrix), Units(matrix, matrix))
    assert torch.equal(dictionary.W_enc, before)


def test_what_does_not_fit_is_all_named():
    good = made()
    # Below the annotations, which tests check first, stands the check that users meet.
    make = Crosscoder.__init__.__wrapped__
    with pytest.raises(UserError) as caught:
        make(object.__new__(Crosscoder), good.W_enc, torch.zeros(3), good.W_dec, good.b_dec,
             TopK(99), (4, 3), scales=(1.0,))  # fmt: skip
    assert str(caught.value) == (
        "this crosscoder has 4 problems:\n"
        "  - b_enc has shape (3,); wanted (14,), as W_dec is (14, 12)\n"
        "  - k = 99 for 14 latents; wanted 1 <= k <= latents\n"
        "  - parts of [4, 3] numbers; wanted parts of at least 1 that add up to the 12 of W_dec\n"
        "  - 1 scales for 2 parts; wanted one each"
    )
