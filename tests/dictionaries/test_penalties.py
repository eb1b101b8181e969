"""Penalties against plain dense sums and torch's own gradients, in float64."""

import pytest
import torch
from torch import nn

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.penalties import QUADRATIC, TANH, Measure, mean_count
from monosemy.dictionaries.selection import JumpReLU, ReLU, TopK
from monosemy.tensors import kernels
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.kernels import PreActivations
from monosemy.tensors.rows import RowGradient

TOKENS, LATENTS, WIDTH = 30, 9, 6


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def sparse(latents=LATENTS):
    """A code of which the last two latents are never active, and its dense twin."""
    full = drawn(TOKENS, latents).clamp_min(0)
    full[:, -2:] = 0
    return SparseCode.from_dense(full), full


def free(W_dec):
    """Lengths of the rows of `W_dec`, as training takes them."""
    return lambda chosen: kernels.take_rows(W_dec, chosen).norm(dim=1)


def test_by_hand():
    """Two tokens: activations 3 and 1 of rows of length 2 and 1, then nothing."""
    code = SparseCode.from_dense(torch.tensor([[3.0, 1.0], [0.0, 0.0]]))
    W_dec = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    assert float(Measure().l1(code, 4)) == (3 + 1) / 2 / 2
    assert float(Measure(lengths=free(W_dec)).l1(code, 4)) == (6 + 1) / 2 / 2
    soft = Measure(TANH, slope=0.5, lengths=free(W_dec)).tanh(code)
    torch.testing.assert_close(soft, (torch.tensor(3.0).tanh() + torch.tensor(0.5).tanh()) / 2)
    count = torch.tensor(3.0)
    assert Measure().counted(count) is count
    assert float(Measure(QUADRATIC, target=2.0).counted(count)) == 0.25


@pytest.mark.parametrize("form", ["l1", "tanh"])
@pytest.mark.parametrize("attached", [False, True])
def test_values_and_decoder_rows_get_the_dense_gradients(form, attached):
    code, full = sparse()
    W_dec = nn.Parameter(drawn(LATENTS, WIDTH, seed=1))
    measure = Measure(form if form == TANH else "step", slope=0.7, lengths=free(W_dec))
    rows = RowGradient.attach(W_dec) if attached else None
    values = code.values.clone().requires_grad_()
    given = code.with_values(values)
    found = measure.tanh(given) if form == TANH else measure.l1(given, WIDTH)
    found.backward()

    dense, W = full.clone().requires_grad_(), W_dec.detach().clone().requires_grad_()
    added = dense * W.norm(dim=1)
    wanted = (0.7 * added).tanh().sum(1) if form == TANH else added.sum(1) / WIDTH**0.5
    wanted.mean().backward()
    torch.testing.assert_close(found, wanted.mean())
    torch.testing.assert_close(values.grad, dense.grad[code.rows, code.indices])
    torch.testing.assert_close(rows.dense() if attached else W_dec.grad, W.grad)
    if attached:  # rows that are not active stay untouched
        assert rows.touched.tolist() == [True] * (LATENTS - 2) + [False] * 2
    assert not torch.allclose(found, Measure(measure.form, 0.7).l1(code, WIDTH))


def test_an_empty_code_costs_nothing():
    code = SparseCode.from_dense(torch.zeros(4, 3))
    measure = Measure(TANH, lengths=free(torch.ones(3, 2)))
    assert float(measure.l1(code, 2)) == float(measure.tanh(code)) == 0


def test_which_penalties_a_selection_answers_to():
    x, W, b = drawn(TOKENS, WIDTH), drawn(LATENTS, WIDTH, seed=1), torch.zeros(LATENTS).double()

    def terms(selection, form="step"):
        selection.measure = Measure(form, target=2.0)
        return selection.penalties(selection.support(PreActivations(x, W, b)), WIDTH)

    jump = JumpReLU(torch.full((LATENTS,), 0.3).double(), bandwidth=0.5).train()
    full = torch.relu(x @ W.T)
    active = full * (full > 0.3)
    for selection in (ReLU(), TopK(3)):
        assert terms(selection).keys() == {"l1"}, "a count would have no gradient"
        assert terms(selection, TANH).keys() == {"l1", "l0"}
    torch.testing.assert_close(terms(ReLU(), TANH)["l0"], (4 * full).tanh().sum() / TOKENS)
    count = (full > 0.3).sum().double() / TOKENS
    torch.testing.assert_close(terms(jump)["l0"].detach(), count)
    torch.testing.assert_close(terms(jump, QUADRATIC)["l0"].detach(), (count / 2 - 1) ** 2)
    torch.testing.assert_close(terms(jump, TANH)["l0"].detach(), (4 * active).tanh().sum() / TOKENS)
    torch.testing.assert_close(terms(jump)["l1"].detach(), active.sum() / TOKENS / WIDTH**0.5)


def test_the_quadratic_pulls_from_both_sides():
    x, W, b = drawn(TOKENS, WIDTH), drawn(LATENTS, WIDTH, seed=1), torch.zeros(LATENTS).double()

    def slope(target):
        jump = JumpReLU(torch.full((LATENTS,), 0.3).double(), bandwidth=0.5).train()
        linear = jump.support(PreActivations(x, W, b))
        Measure(QUADRATIC, target=target).counted(
            mean_count(linear, jump.threshold, jump.bandwidth)
        ).backward()
        return float(jump.threshold.grad.sum())

    assert slope(target=1.0) < 0 < slope(target=8.0), "up where too many are active, else down"


def test_gradients_reach_a_whole_dictionary():
    """``mean sum_i f_i |W_dec[i]|`` of a ReLU dictionary, every parameter against dense autograd."""
    draw = torch.Generator().manual_seed(0)
    dictionary = FlatDictionary.random(WIDTH, LATENTS, ReLU(), draw).double()
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter.add_(0.3 * drawn(*parameter.shape, seed=3))
    dictionary.selection.measure = Measure(lengths=free(dictionary.W_dec))
    x = drawn(TOKENS, WIDTH, seed=2)
    dictionary.training_code(x)[1]["l1"].backward()
    twin = {name: p.detach().clone().requires_grad_() for name, p in dictionary.named_parameters()}
    f = torch.relu((x - twin["b_dec"]) @ twin["W_enc"].T + twin["b_enc"])
    ((f * twin["W_dec"].norm(dim=1)).sum(1).mean() / WIDTH**0.5).backward()
    for name, parameter in dictionary.named_parameters():
        torch.testing.assert_close(parameter.grad, twin[name].grad)
        assert float(parameter.grad.abs().max()) > 0
