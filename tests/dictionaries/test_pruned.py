import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.dictionaries.pruned import PrunedDictionary
from monosemy.dictionaries.selection import ReLU, SignedTopK
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import UserError
from monosemy.tensors.prefixes import Prefixes


def squared_errors(code, dictionary, rows):
    return (rows - code @ dictionary.W_dec - dictionary.b_dec).square().sum(1)


def test_what_is_dropped_at_zero_made_the_reconstruction_worse(make, rows):
    """Each by itself: leaving out any one of them alone lowers the squared error."""
    inner = make("relu")
    pruned = PrunedDictionary(inner, 0.0)
    full, kept = inner.encode(rows), pruned.encode(rows)
    dropped = (full != 0) & (kept == 0)
    assert 0 < dropped.sum() < (full != 0).sum()
    for latent in range(inner.latents):
        without = full.clone()
        without[:, latent] = 0
        change = squared_errors(without, inner, rows) - squared_errors(full, inner, rows)
        assert (change[dropped[:, latent]] < 0).all()


def test_scores_say_what_leaving_one_out_costs(make, rows):
    """``change = f (2 score - f |W|²)``, the identity behind the rule."""
    inner = make("relu")
    code = inner.code(rows)
    scores = PrunedDictionary(inner).scores(code, rows)
    full, length = code.dense(), inner.W_dec.square().sum(1)
    cost = code.values * (2 * scores - code.values * length[code.indices])
    for entry in range(0, len(cost), 37):
        without = full.clone()
        token, latent = code.rows[entry], code.indices[entry]
        without[token, latent] = 0
        change = squared_errors(without, inner, rows) - squared_errors(full, inner, rows)
        torch.testing.assert_close(cost[entry], change[token], rtol=1e-3, atol=1e-2)


def test_a_higher_threshold_keeps_fewer_and_none_keeps_all(make, rows):
    inner = make("batchtopk")
    codes = [PrunedDictionary(inner, t).code(rows) for t in (-1e9, 0.0, 2.0, 1e9)]
    counts = [len(code.values) for code in codes]
    assert counts == sorted(counts, reverse=True)
    assert torch.equal(codes[0].dense(), inner.encode(rows))
    assert 0 < counts[2] < counts[1]
    assert counts[3] == 0


def test_what_stays_stays_as_it_was(make, rows):
    inner, pruned = make("relu"), make("pruned")
    full, kept = inner.encode(rows), pruned.encode(rows)
    assert torch.equal(kept[kept != 0], full[kept != 0])
    code = pruned.code(rows)
    torch.testing.assert_close(pruned(rows), inner.decode(code))
    torch.testing.assert_close(pruned.squared_error(code, rows, rows)[0],
                               squared_errors(kept, inner, rows))  # fmt: skip
    ends = torch.tensor([4, 10])
    nested = pruned.nested_squared_error(code, rows, rows, Prefixes(ends))[0]
    torch.testing.assert_close(nested[:, 1], squared_errors(kept, inner, rows))


def test_negative_activations_are_judged_by_their_size():
    """Without the sign, every one of them would be dropped."""
    axes = FlatDictionary.tied(torch.eye(3), torch.zeros(3), SignedTopK(3))
    x = torch.tensor([[-3.0, 0.1, 2.0]])
    assert PrunedDictionary(axes, 0.5).encode(x).tolist() == [[-3, 0, 2]]


def test_a_latent_that_only_resembles_what_is_there_is_pruned():
    directions = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.19**0.5, 0.0], [0.0, 0.0, 1.0]])
    inner = FlatDictionary.tied(directions, torch.zeros(3), ReLU())
    x = torch.tensor([[2.0, 0.0, 1.0]])
    assert (inner.encode(x)[0] > 0).tolist() == [True, True, True]
    assert (PrunedDictionary(inner, 0.1).encode(x)[0] > 0).tolist() == [True, False, True]


def test_it_is_not_trained_and_not_folded(make, rows):
    pruned = make("pruned")
    with pytest.raises(UserError) as caught:
        pruned.training_code(rows)
    assert str(caught.value) == (
        "pruning is for a dictionary that has learned; train the dictionary inside and prune it "
        "afterwards"
    )
    with pytest.raises(UserError, match="fold the units of the dictionary inside, then choose"):
        pruned.fold_(Units.scaled(2.0), Units.scaled(2.0))


def test_dictionaries_whose_code_does_not_say_what_is_left_are_refused(make):
    with pytest.raises(UserError, match="writes another place than it reads cannot be pruned"):
        PrunedDictionary(make("transcoder jumprelu"))
    with pytest.raises(UserError, match="is pruned inside its normalisation"):
        PrunedDictionary(make("layer_norm"))


def test_pruned_inside_a_normalisation(make, rows):
    """Judged against the normalised token, which is what the inner dictionary is to write."""
    inner = make("layer_norm").inner
    kept = NormalisedDictionary(PrunedDictionary(inner, 0.4), "layer_norm", eps=1e-5).code(rows)
    z = (rows - rows.mean(1, keepdim=True)) / (rows.std(1, keepdim=True) + 1e-5)
    wanted = PrunedDictionary(inner, 0.4).encode(z)
    torch.testing.assert_close(kept.dense(), wanted)
    assert 0 < (wanted != 0).sum() < (inner.encode(z) != 0).sum()


def test_its_parameters_are_the_inner_ones(make):
    for kind in ("pruned", "pruned pursuit"):
        pruned = make(kind)
        assert pruned.W_enc is pruned.inner.W_enc
        assert pruned.prefixes == pruned.inner.prefixes
        inner = [matrix for matrix, _ in pruned.inner.row_matrices()]
        assert all(a is b for (a, _), b in zip(pruned.row_matrices(), inner, strict=True))
    with pytest.raises(AttributeError, match="W_other"):
        pruned.W_other
