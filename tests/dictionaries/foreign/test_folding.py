"""What is folded computes the same: codes, reconstructions, at any point."""

import pytest
import torch

from monosemy.dictionaries.foreign import dictionary_learning, folding, gemma_scope, sparsify
from monosemy.dictionaries.foreign.saelens import SAELENS
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.dictionaries.selection import BatchTopK, JumpReLU
from monosemy.dictionaries.semantics import differences

GEMMA, LEARNING, SPARSIFY = gemma_scope.FORMAT, dictionary_learning.FORMAT, sparsify.FORMAT
CENTRING, CENTRED = folding.UNCENTRED, folding.CENTRED
FACTORS, LENGTHS, THRESHOLDS = folding.FACTORS, folding.LENGTHS, folding.THRESHOLDS


def _ruled(make, **rules):
    found = make()
    for name, value in rules.items():
        setattr(found, name, value)
    return found


@pytest.fixture
def kinds(named):
    """Every rule that can be folded, alone and with others, and the form that it is folded for."""

    def scaled(kind, factor, factor_out=None, **rules):
        inner = _ruled(lambda: named(kind), **rules)
        return NormalisedDictionary(inner, "constant", factor=factor, factor_out=factor_out)

    return {
        "jumprelu": (named("jumprelu"), GEMMA, (CENTRING,)),
        "jumprelu for another": (named("jumprelu"), LEARNING, (CENTRING,)),
        "batchtopk": (named("batchtopk"), GEMMA, (CENTRING,)),
        "batchtopk uncentred": (
            _ruled(lambda: named("batchtopk"), centred=False), LEARNING, (CENTRED,),
        ),
        "topk uncentred": (_ruled(lambda: named("topk"), centred=False), SPARSIFY, (CENTRED,)),
        "topk rescaled": (named("topk rescaled"), SPARSIFY, (LENGTHS,)),
        "gated uncentred": (named("gated uncentred"), LEARNING, (CENTRED,)),
        "centred transcoder": (named("centred transcoder"), SAELENS, (CENTRING,)),
        "jumprelu rescaled": (named("jumprelu rescaled"), GEMMA, (LENGTHS, CENTRING)),
        "jumprelu selected": (
            _ruled(lambda: named("jumprelu"), weighing="selected"), GEMMA, (LENGTHS, CENTRING),
        ),
        "batchtopk selected": (
            _ruled(lambda: named("batchtopk"), weighing="selected"), SAELENS, (LENGTHS,),
        ),
        "relu selected": (_ruled(lambda: named("relu"), weighing="selected"), SAELENS, (LENGTHS,)),
        "constant": (scaled("topk", 0.3), SAELENS, (FACTORS,)),
        "constant in and out": (scaled("topk", 0.3, 0.7), SAELENS, (FACTORS,)),
        "constant, gated": (scaled("gated", 0.3, 0.7), SAELENS, (FACTORS,)),
        "constant, rescaled": (
            scaled("topk", 3.0, 0.7, weighing="rescaled"), SAELENS, (FACTORS,),
        ),
        "constant, nested": (scaled("matryoshka", 0.3), LEARNING, (FACTORS,)),
        "constant, skip": (scaled("skip", 0.3, 0.7), SAELENS, (FACTORS,)),
        "constant, jumprelu": (scaled("jumprelu", 0.3), GEMMA, (FACTORS, CENTRING)),
    }  # fmt: skip


KINDS = (
    "jumprelu", "jumprelu for another", "batchtopk", "batchtopk uncentred", "topk uncentred",
    "topk rescaled", "gated uncentred", "centred transcoder", "jumprelu rescaled",
    "jumprelu selected", "batchtopk selected", "relu selected", "constant", "constant in and out",
    "constant, gated", "constant, rescaled", "constant, nested", "constant, skip",
    "constant, jumprelu",
)  # fmt: skip


def test_every_kind_is_asked_for(kinds):
    assert tuple(kinds) == KINDS


@torch.no_grad()
def _same(one, other, x, bound):
    for here, there in ((one.encode(x), other.encode(x)), (one(x), other(x))):
        assert float((here - there).abs().max()) <= bound * float(here.abs().max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_codes_and_reconstructions_stay(kinds, kind, dtype, bound, rows_for):
    dictionary, _, steps = kinds[kind]
    dictionary = dictionary.to(dtype).eval()
    before = {name: value.clone() for name, value in dictionary.state_dict().items()}
    folded = folding.fold(dictionary, steps)
    x = rows_for(dictionary)
    assert (dictionary.encode(x) != 0).any()
    assert differences(dictionary, folded)
    _same(dictionary, folded, x, bound)
    assert folding.distance(dictionary, folded) <= bound
    assert (folded.b_dec.dtype, folded.prefixes) == (dtype, dictionary.prefixes)
    # What was given is left as it was.
    assert all(torch.equal(value, before[name]) for name, value in dictionary.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_is_folded_than_the_form_asks_for(kinds, kind, tmp_path):
    dictionary, form, steps = kinds[kind]
    assert form.refuse({"": dictionary})
    found = folding.fold_for({"": dictionary}, form.refuse)
    assert (found.steps, found.reasons) == (steps, [])
    assert 0 <= found.difference < 1e-5
    root = tmp_path / ("a" if dictionary.autoencodes else "gemma-scope-transcoders")
    form.write(found.collection, root)
    (again,) = form.read(root).values()
    assert differences(found.collection[""], again) == []


def test_a_fold_done_wrong_would_be_seen(named, rows_for):
    dictionary = named("jumprelu")
    folded = folding.fold(dictionary, (CENTRING,))
    with torch.no_grad():
        folded.b_enc.copy_(dictionary.b_enc)
    assert folding.distance(dictionary, folded) > 0.01
    with pytest.raises(AssertionError):
        _same(dictionary, folded, rows_for(dictionary), 1e-5)


def test_what_is_expressed_as_it_is_stays_as_it_is(named):
    collection = {"": named("topk")}
    found = folding.fold_for(collection, SPARSIFY.refuse)
    assert found.collection is collection
    assert (found.steps, found.difference, found.reasons) == ((), 0.0, [])


@pytest.mark.parametrize("kind", ["selected", "layer norm", "pruned", "lista", "crosscoder"])
def test_what_has_no_equal_is_left(named, kind):
    """A comparison without lengths, a norm of each token, and what is no plain encoder."""
    dictionary = named(kind)
    folded = folding.fold(dictionary, tuple(folding.FOLDS))
    if kind == "selected":  # the rest may be folded, the lengths not
        assert folded.weighing == "selected"
        folded = folding.fold(dictionary, (LENGTHS,))
    assert differences(dictionary, folded) == []
    assert folding.fold_for({"": dictionary}, GEMMA.refuse).reasons


def test_a_row_of_length_zero_has_no_threshold_of_its_own(named):
    dictionary = _ruled(lambda: named("jumprelu"), weighing="selected")
    with torch.no_grad():
        dictionary.W_dec[3] = 0
    assert folding.fold(dictionary, (LENGTHS,)).weighing == "selected"


def test_a_threshold_that_was_never_set_is_no_threshold(named):
    dictionary = named("batchtopk")
    dictionary.selection.threshold.fill_(-1)
    assert folding.fold(dictionary, (THRESHOLDS,)).selection.kind == "batchtopk"


def test_batchtopk_becomes_jumprelu(named, rows_for):
    dictionary = named("batchtopk")
    folded = folding.fold(dictionary, (THRESHOLDS,))
    assert isinstance(dictionary.selection, BatchTopK)
    assert isinstance(folded.selection, JumpReLU)
    x = rows_for(dictionary)
    assert torch.equal(folded.encode(x), dictionary.encode(x))


def test_parts_are_folded_together_and_the_largest_difference_counts(named):
    collection = {"a": named("jumprelu"), "b": named("relu"), "c": named("uncentred")}
    found = folding.fold_for(collection, GEMMA.refuse)
    assert found.steps == (CENTRING,)
    each = [folding.distance(collection[part], found.collection[part]) for part in collection]
    assert found.difference == max(each) > 0
    assert differences(collection["c"], found.collection["c"]) == []


def test_the_fewest_reasons_are_left(named):
    """A fold that helps, where another thing cannot be said at all."""
    nested = named("matryoshka")
    found = folding.fold_for({"": nested}, GEMMA.refuse)
    assert found.steps == (CENTRING,)
    assert len(found.reasons) == 1
    assert "it is nested" in found.reasons[0]
