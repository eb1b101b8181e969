import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import BatchTopK, TopK
from monosemy.interventions import edits
from monosemy.interventions.edits import MeanAblate, Only, Patch, Splice, ZeroAblate, chunks


def _draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _dictionary(selection):
    return FlatDictionary.random(5, 12, selection, torch.Generator().manual_seed(0)).eval()


X = _draw(3, 4, 5, seed=1)
EDITS = {
    "zero": ZeroAblate(),
    "mean": MeanAblate(_draw(5, seed=2)),
    "patch": Patch(_draw(3, 4, 5, seed=3)),
    "splice": Splice(_dictionary(TopK(2))),
    "only": Only(ZeroAblate(), torch.eye(3, 4).bool()),
}


# --- one battery for every edit -------------------------------------------------------------------


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shape_and_dtype_are_kept_and_the_activation_is_not_written_to(name, dtype):
    x = X.to(dtype)
    before = x.clone()
    out = EDITS[name](x)
    assert (out.shape, out.dtype) == (x.shape, dtype)
    assert torch.equal(x, before)
    assert not torch.equal(out, x)
    with torch.no_grad():
        out.add_(1)  # what comes out shares no memory with what went in
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", EDITS)
def test_only_kept_positions_change(name):
    kept = torch.rand(3, 4, generator=torch.Generator().manual_seed(4)) < 0.5
    out = Only(EDITS[name], kept)(X)
    assert torch.equal(out[~kept], X[~kept])
    assert torch.equal(out[kept], EDITS[name](X)[kept])


# --- each by itself -------------------------------------------------------------------------------


def test_values_by_hand():
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert ZeroAblate()(x).tolist() == [[[0, 0], [0, 0]]]
    assert MeanAblate(torch.tensor([5.0, 6.0]))(x).tolist() == [[[5, 6], [5, 6]]]
    assert Patch(x + 1)(x).tolist() == [[[2, 3], [4, 5]]]
    assert Only(ZeroAblate(), torch.tensor([[True, False]]))(x).tolist() == [[[0, 0], [3, 4]]]


def test_a_splice_is_the_reconstruction_of_every_token():
    dictionary = _dictionary(TopK(2))
    torch.testing.assert_close(Splice(dictionary)(X), dictionary(X.view(12, 5)).view(3, 4, 5))


def test_a_splice_works_in_the_precision_of_the_dictionary():
    dictionary, x = _dictionary(TopK(2)), X.bfloat16()
    wanted = dictionary(x.float().view(12, 5)).view(3, 4, 5).bfloat16()
    assert torch.equal(Splice(dictionary)(x), wanted)


@pytest.mark.parametrize("entries", [1, 30, 10**6])
def test_chunks_change_nothing_in_evaluation_mode(monkeypatch, entries):
    dictionary = _dictionary(BatchTopK(2))
    dictionary.selection.threshold.fill_(0.7)
    whole = dictionary(X.view(12, 5)).view(3, 4, 5)
    monkeypatch.setattr(edits, "_ENTRIES", entries)
    torch.testing.assert_close(Splice(dictionary)(X), whole)


def test_while_training_the_whole_batch_is_encoded_at_once(monkeypatch):
    dictionary = _dictionary(BatchTopK(2)).train()
    whole = dictionary(X.view(12, 5)).view(3, 4, 5)
    monkeypatch.setattr(edits, "_ENTRIES", 1)
    torch.testing.assert_close(Splice(dictionary)(X), whole)
    parts = torch.cat([dictionary(x) for x in X.view(12, 5).split(1)]).view(3, 4, 5)
    assert (whole - parts).abs().max() > 0.1  # so chunks would have been seen


def test_a_splice_is_differentiable():
    dictionary = _dictionary(TopK(2))
    Splice(dictionary)(X).square().sum().backward()
    assert dictionary.W_enc.grad.abs().sum() > 0


def test_chunks_bound_the_matrix_of_pre_activations(monkeypatch):
    monkeypatch.setattr(edits, "_ENTRIES", 100)
    assert [len(part) for part in chunks(torch.zeros(25, 3), 10)] == [10, 10, 5]
    assert [len(part) for part in chunks(torch.zeros(2, 3), 1000)] == [1, 1]
