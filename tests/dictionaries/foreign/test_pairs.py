"""From every form to every other: what both can express comes through with every bit."""

from itertools import permutations

import pytest
import torch

from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign import formats
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.selection import BatchTopK, GroupMax, JumpReLU, ReLU, SignedTopK, TopK
from monosemy.dictionaries.semantics import differences, semantics
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation.errors import UserError

D, M = 6, 12
WRITTEN = [form.name for form in formats.FORMATS.values() if form.write]
# These hold nothing in common: one has only a number of latents, the other only thresholds; one
# only autoencoders, the other only transcoders.
NOTHING_IN_COMMON = {
    ("sparsify", "circuit_tracer"),
    ("circuit_tracer", "sparsify"),
    ("sparsify", "gemma_scope"),
    ("gemma_scope", "sparsify"),
    ("dictionary_learning", "circuit_tracer"),
    ("circuit_tracer", "dictionary_learning"),
}
SITES = {"hook_name": "blocks.0.mlp.hook_in", "hook_name_out": "blocks.0.hook_mlp_out"}


def _drawn(*shapes):
    return [
        torch.randn(s, generator=torch.Generator().manual_seed(i)) for i, s in enumerate(shapes)
    ]


def _flat(selection, **rules):
    return FlatDictionary(*_drawn((M, D), (M,), (M, D), (D,)), selection, **rules)


def _transcoder(selection, skip=False, **rules):
    *parts, W_skip = _drawn((M, D), (M,), (M, D), (D,), (D, D))
    return Transcoder(*parts, selection, W_skip if skip else None, **rules)


def _jump():
    return JumpReLU(torch.linspace(0.1, 1.5, M))


def _batch():
    selection = BatchTopK(3)
    selection.threshold.fill_(0.8)
    return selection


def _with(dictionary, **rules):
    for name, value in rules.items():
        setattr(dictionary, name, value)
    return dictionary


def _gated():
    return GatedDictionary(*_drawn((M, D), (M,), (M,), (M,), (M, D), (D,)))


def _layers(selection):
    parts = [_drawn(*shapes) for shapes in (((M, D),) * 2, ((M,),) * 2, ((M, 2, D), (M, 1, D)))]
    return CrossLayerTranscoder(*parts, *_drawn((2, D)), [selection(), selection()])


KINDS = {
    "relu": lambda: _flat(ReLU()),
    "relu uncentred": lambda: _flat(ReLU(), centred=False),
    "relu without an offset": lambda: _with(
        _flat(ReLU()), b_dec=torch.nn.Parameter(torch.zeros(D))
    ),
    "topk": lambda: _flat(TopK(3)),
    "topk uncentred": lambda: _flat(TopK(3), centred=False),
    "topk rescaled": lambda: _flat(TopK(3), weighing="rescaled"),
    "signed topk": lambda: _flat(SignedTopK(3)),
    "groupmax": lambda: _flat(GroupMax(4)),
    "jumprelu": lambda: _flat(_jump()),
    "jumprelu uncentred": lambda: _flat(_jump(), centred=False),
    "jumprelu below zero": lambda: _flat(JumpReLU(torch.linspace(-1, 1, M)), centred=False),
    "batchtopk": lambda: _flat(_batch()),
    "batchtopk uncentred": lambda: _flat(_batch(), centred=False),
    "matryoshka": lambda: _with(_flat(_batch()), prefixes=(2, 5, M)),
    "gated": _gated,
    "gated uncentred": lambda: _with(_gated(), centred=False),
    "transcoder": lambda: _transcoder(ReLU()),
    "transcoder with a skip": lambda: _transcoder(ReLU(), skip=True),
    "transcoder, jumprelu": lambda: _transcoder(_jump()),
    "transcoder, jumprelu, skip": lambda: _transcoder(_jump(), skip=True),
    "transcoder, batchtopk": lambda: _transcoder(_batch()),
    "transcoder, topk": lambda: _transcoder(TopK(3)),
    "transcoder, topk, skip": lambda: _transcoder(TopK(3), skip=True),
    "autoencoder with a skip": lambda: _with(
        _transcoder(TopK(3), skip=True, centred=True), autoencodes=True
    ),
    "layers": lambda: _layers(ReLU),
    "layers, jumprelu": lambda: _layers(_jump),
}


def _collection(kind, dtype=torch.float32):
    made = KINDS[kind]().to(dtype).eval()
    made.metadata = dict(SITES)
    return {"" if isinstance(made, CrossLayerTranscoder) else "layer_0": made}


def _folder(root, collection):
    """Called as Gemma Scope tells transcoders from autoencoders."""
    autoencodes = all(dictionary.autoencodes for dictionary in collection.values())
    return root / ("gemma-scope-res" if autoencodes else "gemma-scope-transcoders")


def _through(collection, name, root):
    """`collection` after it was written in a form and read again."""
    folder = _folder(root / name, collection)
    formats.write(collection, folder, name)
    return formats.read(folder, name)


def _can(collection, name):
    return not formats.refusals(collection, formats.find(name))


@pytest.mark.parametrize(("one", "other"), list(permutations(WRITTEN, 2)))
def test_what_both_can_express_comes_through_both(one, other, tmp_path):
    able = [kind for kind in KINDS if all(_can(_collection(kind), name) for name in (one, other))]
    assert bool(able) == ((one, other) not in NOTHING_IN_COMMON)
    for kind in able:
        given = _collection(kind)
        between = _through(given, one, tmp_path / kind)
        found = _through(between, other, tmp_path / kind)
        assert list(found) == list(between) == list(given)
        for part in given:
            assert differences(given[part], found[part]) == [], kind
            x = torch.randn(20, given[part].width, generator=torch.Generator().manual_seed(1))
            assert torch.equal(found[part].encode(x), given[part].encode(x))
            assert torch.equal(found[part](x), given[part](x))


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_come_through_or_are_refused(name, dtype, tmp_path):
    for kind in KINDS:
        given = _collection(kind, dtype)
        if _can(given, name):
            found = _through(given, name, tmp_path / kind)
            assert [differences(given[part], found[part]) for part in given] == [[]] * len(given)


def test_every_kind_is_expressed_by_some_form_that_is_not_ours():
    alone = [
        kind
        for kind in KINDS
        if not any(_can(_collection(kind), name) for name in WRITTEN if name != "monosemy")
    ]
    assert alone == []
    assert len(WRITTEN) == 6


def test_a_digit_or_a_rule_that_is_lost_would_be_seen(tmp_path):
    given = _collection("topk")
    found = _through(given, "sparsify", tmp_path)["layer_0"]
    with torch.no_grad():
        found.W_dec[0, 0] = torch.nextafter(found.W_dec[0, 0], torch.tensor(9.0))
    assert differences(given["layer_0"], found) == ["W_dec holds other numbers"]
    found.centred = False
    assert len(differences(given["layer_0"], found)) == 2


def test_what_a_form_does_not_say_is_not_made_up(tmp_path):
    """JumpReLU of one threshold stays so; BatchTopK that was written by us has its k again."""
    again = _through(_collection("batchtopk"), "saelens", tmp_path / "a")["layer_0"]
    assert (semantics(again)["selection"], semantics(again)["k"]) == ("batchtopk", 3)
    flat = {"layer_0": _flat(JumpReLU(torch.full((M,), 0.8))).eval()}
    again = _through(flat, "saelens", tmp_path / "b")["layer_0"]
    assert semantics(again)["selection"] == "jumprelu"
    with pytest.raises(UserError, match="no class that does both"):
        _through({"layer_0": again}, "dictionary_learning", tmp_path / "c")
