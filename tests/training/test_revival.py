import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import ReLU
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.rows import RowGradient
from monosemy.training import revival
from monosemy.training.revival import Firing, auxiliary_loss


def test_silence_is_counted_in_tokens_since_the_last_firing():
    firing = Firing(3, window=5)
    firing.see(SparseCode.from_dense(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])))
    assert firing.silent.tolist() == [0, 0, 2]
    firing.see(SparseCode.from_dense(torch.tensor([[1.0, 0.0, 0.0]] * 3)))
    assert firing.silent.tolist() == [0, 3, 5]
    assert firing.dead.tolist() == [False, False, True]
    firing.see(SparseCode.from_dense(torch.tensor([[0.0, 0.0, 1.0]])))
    assert firing.dead.tolist() == [False, False, False], "one firing brings it back"


def test_an_entry_that_is_stored_but_not_above_zero_is_no_firing():
    firing = Firing(2, window=1)
    stored = torch.tensor([[True, True]])
    firing.see(SparseCode.from_mask(stored, torch.tensor([[0.0, 1.0]])))
    assert firing.silent.tolist() == [1, 0]


@pytest.fixture
def dictionary() -> FlatDictionary:
    draw = torch.Generator().manual_seed(0)
    return FlatDictionary.random(4, 10, ReLU(), draw).double()


@pytest.fixture
def every_token(monkeypatch):
    """Small batches are read whole, as large ones with few dead latents are."""
    monkeypatch.setattr(revival, "_SHARE", 1.0)


DEAD = torch.tensor([1, 4, 7])


def test_by_hand():
    """Two axes of three are dead; the residual is what lies along the second."""
    dictionary = FlatDictionary.tied(torch.eye(3), torch.zeros(3), ReLU())
    x = torch.tensor([[5.0, 2.0, 1.0]])
    residual = torch.tensor([[0.0, 2.0, 0.0]])

    def loss(x: torch.Tensor, k: int) -> float:
        return float(auxiliary_loss(dictionary, x, residual, torch.tensor([1, 2]), k).detach())

    # One dead latent a token: the second, with 2, explains the residual whole.
    assert loss(x, 1) == 0
    # Two: the third adds 1 where nothing is left, so (1²/3) / (2²/3).
    assert loss(x, 2) == 0.25
    # k beyond the number of dead latents takes them all.
    assert loss(x, 9) == 0.25
    # Nothing dead points at it: -x has no positive pre-activation, so nothing is explained.
    assert loss(-x, 2) == 1


def test_it_equals_plain_torch_over_the_whole_dictionary(dictionary, every_token):
    x, residual = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1)).double()
    pre = (x - dictionary.b_dec) @ dictionary.W_enc.T + dictionary.b_enc
    alive = torch.ones(10, dtype=torch.bool)
    alive[DEAD] = False
    dead_only = pre.masked_fill(alive, -torch.inf)
    kept = dead_only.topk(2, dim=1).indices
    code = torch.zeros_like(pre).scatter(1, kept, pre.gather(1, kept).clamp_min(0))
    expected = (residual - code @ dictionary.W_dec).square().sum() / residual.square().sum()
    torch.testing.assert_close(auxiliary_loss(dictionary, x, residual, DEAD, 2), expected)


def test_only_dead_latents_learn_from_it(dictionary, every_token):
    x, residual = torch.randn(2, 40, 4, generator=torch.Generator().manual_seed(1)).double()
    residual.requires_grad_()
    auxiliary_loss(dictionary, x, residual, DEAD, 3).backward()
    touched = torch.zeros(10, dtype=torch.bool)
    touched[DEAD] = True
    for gradient in (dictionary.W_enc.grad, dictionary.W_dec.grad):
        assert torch.equal(gradient.abs().sum(1) > 0, touched)
    assert torch.equal(dictionary.b_enc.grad != 0, touched)
    assert residual.grad is None, "the residual is a constant: the living are not blamed for it"


def test_row_gradients_receive_the_same(dictionary, every_token):
    x, residual = torch.randn(2, 40, 4, generator=torch.Generator().manual_seed(1)).double()
    auxiliary_loss(dictionary, x, residual, DEAD, 3).backward()
    carried = [RowGradient.attach(matrix) for matrix in (dictionary.W_enc, dictionary.W_dec)]
    auxiliary_loss(dictionary, x, residual, DEAD, 3).backward()
    for rows, matrix in zip(carried, (dictionary.W_enc, dictionary.W_dec), strict=True):
        torch.testing.assert_close(rows.dense(), matrix.grad)
        assert rows.touched.nonzero().flatten().tolist() == DEAD.tolist()


def test_the_more_latents_are_dead_the_fewer_tokens_are_read(dictionary):
    """``0.02 · tokens · latents / dead`` of them, the first of the batch."""
    share = revival._SHARE
    x, residual = torch.randn(2, 900, 4, generator=torch.Generator().manual_seed(1)).double()

    def loss(tokens: int, dead: torch.Tensor, scale: float) -> float:
        revival._SHARE = scale
        return float(auxiliary_loss(dictionary, x[:tokens], residual[:tokens], dead, 2).detach())

    try:
        for dead in (DEAD, torch.arange(10)):
            read = round(share * 900 * 10 / len(dead))
            assert 1 < read < 900
            assert loss(900, dead, share) == loss(read, dead, 1.0) != loss(read + 1, dead, 1.0)
        assert loss(1, torch.arange(10), share) == loss(1, torch.arange(10), 1.0), "at least one"
    finally:
        revival._SHARE = share


def test_no_residual_is_no_division_by_zero(dictionary):
    x = torch.randn(3, 4).double()
    assert torch.isfinite(auxiliary_loss(dictionary, x, torch.zeros(3, 4).double(), DEAD, 1))
