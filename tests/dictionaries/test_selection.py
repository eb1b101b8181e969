import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import (
    BatchTopK,
    GroupMax,
    Identity,
    JumpReLU,
    RawTopK,
    ReLU,
    SignedTopK,
    TopK,
    build_selection,
)
from monosemy.foundation.errors import UserError
from monosemy.tensors import plain
from monosemy.tensors.kernels import PreActivations


def of(pre):
    """The question whose answer is `pre`, by an encoder of ones and zeros."""
    return PreActivations(torch.eye(len(pre)), pre.T.contiguous(), torch.zeros(pre.shape[1]))


ENTRIES = torch.tensor([[0.5, -1.0, 2.0, 0.75], [-3.0, -2.0, -1.0, 0.25]])
PRE = of(ENTRIES)


def test_by_hand():
    assert ReLU().support(PRE).dense().tolist() == [[0.5, 0, 2, 0.75], [0, 0, 0, 0.25]]
    assert TopK(2).support(PRE).dense().tolist() == [[0, 0, 2, 0.75], [0, 0, 0, 0.25]]
    assert SignedTopK(2).support(PRE).dense().tolist() == [[0, -1, 2, 0], [-3, -2, 0, 0]]
    assert BatchTopK(1).train().support(PRE).dense().tolist() == [[0, 0, 2, 0.75], [0, 0, 0, 0]]


def test_thresholds_are_strict_and_never_let_a_negative_entry_through():
    thresholds = torch.tensor([0.5, -5.0, 1.0, -5.0])
    jump = JumpReLU(thresholds).eval()
    assert jump.support(PRE).dense().tolist() == [[0, 0, 2, 0.75], [0, 0, 0, 0.25]]
    selection = BatchTopK(1).eval()
    selection.threshold.fill_(0.75)
    assert selection.support(PRE).dense().tolist() == [[0, 0, 2, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("propose", [False, True])
def test_a_batch_keeps_the_largest_whatever_the_batch_before_had(propose):
    """Each batch's smallest entry is a guess for the next: too high, too low, or about right."""
    selection = BatchTopK(3).train()
    for scale in (1.0, 100.0, 0.01, 0.011, 1.0):
        parts = _encoder(scale)
        wanted = plain.keep_batch(*parts, 3 * 40)
        found = selection.support(PreActivations(*parts, propose))
        assert torch.equal(found.indices, wanted.indices)
        assert torch.equal(found.offsets, wanted.offsets)


def _encoder(scale=1.0):
    draw = torch.Generator().manual_seed(0)
    x, W, b = (torch.randn(shape, generator=draw) for shape in ((40, 8), (90, 8), (90,)))
    return scale * x, W, scale * b


def test_a_threshold_follows_the_smallest_entry_kept():
    selection = BatchTopK(1, momentum=0.9).train()
    selection.support(PRE)
    assert float(selection.threshold) == 0.75  # the first batch is taken as it is
    selection.support(of(2 * ENTRIES))
    assert float(selection.threshold) == pytest.approx(0.9 * 0.75 + 0.1 * 1.5)
    selection.eval().support(of(5 * ENTRIES))
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
    assert isinstance(build_selection("relu", 5, 9), ReLU)
    assert build_selection("topk", 5, 9).k == 5
    assert build_selection("batchtopk", 5, 9).k == 5
    with pytest.raises(
        UserError, match="unknown selection 'softmax'; known: relu, topk, batchtopk, jumprelu"
    ):
        build_selection("softmax", 5, 9)


# --- JumpReLU learns its thresholds ---------------------------------------------------------------


def test_thresholds_have_the_straight_through_gradients():
    """Against the formula of arXiv:2407.14435, entry by entry, on dense pre-activations."""
    draw = torch.Generator().manual_seed(0)
    x, W = (torch.randn(*shape, generator=draw).double() for shape in ((30, 6), (9, 6)))
    weights = torch.randn(30, 9, generator=draw).double()
    width, slope = 0.4, 0.25
    threshold = torch.rand(9, generator=draw).double()
    selection = JumpReLU(threshold, bandwidth=width).train()
    linear = selection.support(PreActivations(x, W, torch.zeros(9).double()))
    code = selection.activate(linear)
    count = selection.penalties(linear, 6)["l0"]
    ((code.values * weights[code.rows, code.indices]).sum() + slope * count).backward()
    pre = x @ W.T
    inside = ((pre - threshold).abs() < width / 2) & (pre > 0)
    assert inside.any()
    jump = -(threshold / width * inside * weights).sum(0)
    step = -slope * inside.sum(0) / width / 30
    torch.testing.assert_close(selection.threshold.grad, jump + step)
    torch.testing.assert_close(count.detach(), (pre > threshold).sum().double() / 30)


def test_training_codes_hold_zeros_inside_the_rectangle_and_evaluation_none():
    x, W, none = torch.tensor([[1.0]]), torch.tensor([[0.9], [1.04], [1.3]]), torch.zeros(3)
    selection = JumpReLU(torch.ones(3), bandwidth=0.3)
    pre = PreActivations(x, W, none)
    code = selection.train().activate(selection.support(pre))
    torch.testing.assert_close(code.values, torch.tensor([0.0, 1.04, 1.3]))
    code = selection.eval().activate(selection.support(pre))
    torch.testing.assert_close(code.values, torch.tensor([1.04, 1.3]))


# --- selections of files that others wrote --------------------------------------------------------


def test_selections_of_other_libraries_by_hand():
    assert RawTopK(2).support(PRE).dense().tolist() == [[0, 0, 2, 0.75], [0, 0, -1, 0.25]]
    assert RawTopK(4).support(PRE).dense().tolist() == ENTRIES.tolist()
    assert Identity().support(PRE).dense().tolist() == ENTRIES.tolist()
    assert GroupMax(2).support(PRE).dense().tolist() == [[0.5, 0, 2, 0], [0, 0, 0, 0.25]]
    assert GroupMax(1).support(PRE).dense().tolist() == [[0, 0, 2, 0], [0, 0, 0, 0.25]]
    assert torch.equal(GroupMax(4).support(PRE).dense(), ReLU().support(PRE).dense())


def test_of_equal_entries_the_lowest_latent():
    same = of(torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]))
    assert GroupMax(2).support(same).dense().tolist() == [[1, 0, 1, 0], [0, 0, 0, 0]]
    assert RawTopK(3).support(same).dense().tolist() == [[1, 1, 1, 0], [0, 0, 0, 0]]
    assert Identity().support(same).counts.tolist() == [4, 0]


@pytest.mark.parametrize("make", [RawTopK, GroupMax])
def test_their_k_must_fit(make):
    for k in (0, 5):
        with pytest.raises(UserError, match=f"k = {k} for 4 latents; wanted 1 <= k <= latents"):
            _with(make(k))
    assert _with(make(2)).selection.compares


def test_groups_must_be_of_equal_size():
    with pytest.raises(UserError, match="4 latents do not fall into 3 groups of equal size"):
        _with(GroupMax(3))
    _with(GroupMax(4))


@pytest.mark.parametrize("selection", [RawTopK(3), GroupMax(3), Identity()])
def test_their_entries_have_the_gradients_of_dense_ones(selection):
    draw = torch.Generator().manual_seed(0)
    dictionary = FlatDictionary.random(6, 9, selection, draw).double()
    x = torch.randn(20, 6, generator=draw).double()
    weights = torch.randn(20, 9, generator=draw).double()
    code = dictionary.encode(x)
    (code * weights).sum().backward()
    pre = (x - dictionary.b_dec) @ dictionary.W_enc.T + dictionary.b_enc
    wanted = torch.autograd.grad((pre * (code != 0) * weights).sum(), dictionary.W_enc)[0]
    torch.testing.assert_close(dictionary.W_enc.grad, wanted)
