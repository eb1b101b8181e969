"""Codes with one latent changed, against dense twins, and the rules of families."""

import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.dictionaries.selection import BatchTopK, TopK
from monosemy.interventions.recoding import (
    change_latent,
    difference,
    put,
    rows,
    touched,
    values_of,
)
from monosemy.tensors.codes import SparseCode

TOKENS, LATENTS = 30, 7


@pytest.fixture
def code():
    draw = torch.Generator().manual_seed(0)
    full = torch.randn(TOKENS, LATENTS, generator=draw)
    return SparseCode.from_dense(full * (torch.rand(TOKENS, LATENTS, generator=draw) < 0.4))


@pytest.fixture
def values():
    draw = torch.Generator().manual_seed(1)
    values = torch.randn(TOKENS, generator=draw)
    return values * (torch.rand(TOKENS, generator=draw) < 0.5)


@pytest.mark.parametrize("latent", [0, 3, LATENTS - 1])
def test_a_latent_is_put_as_a_column_is_written(code, values, latent):
    wanted = code.dense()
    wanted[:, latent] = values
    found = put(code, latent, values)
    assert torch.equal(found.dense(), wanted)
    assert (found.values != 0).all()
    assert torch.equal(values_of(found, latent), values)
    assert torch.equal(found.counts, (wanted != 0).sum(1))
    # The others stand in the order they had.
    for token in range(TOKENS):
        before, after = (one[token : token + 1].indices for one in (code, found))
        assert torch.equal(before[before != latent], after[after != latent])


def test_what_is_put_as_it_was_changes_no_bit(code):
    found = put(code, 3, values_of(code, 3))
    assert torch.equal(found.indices, code.indices)
    assert torch.equal(found.values, code.values)
    assert not touched(code, found).any()


def test_touched_tokens_are_those_whose_row_differs(code, values):
    found = put(code, 3, values)
    wanted = (code.dense() != found.dense()).any(1)
    assert torch.equal(touched(code, found), wanted)
    assert wanted.any()
    assert not wanted.all()


def test_rows_are_those_of_the_dense_code(code):
    chosen = torch.arange(TOKENS) % 3 == 1
    assert torch.equal(rows(code, chosen).dense(), code.dense()[chosen])
    assert rows(code, chosen & False).tokens == 0


def test_an_empty_code_takes_entries(values):
    nothing = SparseCode.from_dense(torch.zeros(TOKENS, LATENTS))
    wanted = torch.zeros(TOKENS, LATENTS)
    wanted[:, 2] = values
    assert torch.equal(put(nothing, 2, values).dense(), wanted)


def test_a_difference_is_that_of_the_two_decodings():
    dictionary = FlatDictionary.random(5, LATENTS, TopK(2), torch.Generator().manual_seed(2)).eval()
    dictionary.b_dec.data.fill_(0.3)
    x = torch.randn(TOKENS, 5, generator=torch.Generator().manual_seed(3))
    full = dictionary.encode(x)
    full[:, 1], full[:, 2] = 0, 2 * full[:, 2]

    def first(code):
        return put(code, 1, torch.zeros(TOKENS))

    def second(code):
        return put(code, 2, 2 * values_of(code, 2))

    found = difference(dictionary, x, [first, second])
    torch.testing.assert_close(found, dictionary.decode(full) - dictionary(x))
    silent = (full == dictionary.encode(x)).all(1)
    assert silent.any()
    assert (found[silent] == 0).all()
    assert (difference(dictionary, x, []) == 0).all()


# --- families -------------------------------------------------------------------------------------


@pytest.fixture
def tree():
    """Two parents (0, 1) with two children each (2, 3 and 4, 5), which have one child each."""

    def grown(trunk, bearers, children):
        axes = torch.randn(1, 4, 2, generator=torch.Generator().manual_seed(bearers))
        V = torch.linalg.qr(axes)[0].transpose(1, 2).contiguous()
        C = torch.nn.functional.normalize(torch.ones(bearers, children, 2), dim=2)
        return LocalDictionary(trunk, V, torch.zeros(bearers, dtype=torch.int64), C)

    eye = torch.eye(2, 4)
    trunk = FlatDictionary(eye, torch.zeros(2), eye.clone(), torch.zeros(4), BatchTopK(1))
    made = grown(grown(trunk, 2, 2), 4, 1).eval()
    found = made.parent_of(torch.arange(10))
    assert found.tolist() == [-1, -1, 0, 0, 1, 1, 2, 3, 4, 5]
    return made


def told(**entries):
    full = torch.zeros(1, 10)
    for place, value in entries.items():
        full[0, int(place[1:])] = value
    return full


FAMILIES = {
    "a parent goes with all below it": (
        {"z0": 1, "z2": 2, "z6": 3, "z1": 4}, 0, 0.0, {"z1": 4}),
    "a child goes with its own child": ({"z0": 1, "z2": 2, "z6": 3}, 2, 0.0, {"z0": 1}),
    "a parent that is changed keeps its child": ({"z0": 1, "z2": 2}, 0, 5.0, {"z0": 5, "z2": 2}),
    "a child of a silent parent stays silent": ({"z1": 1}, 2, 5.0, {"z1": 1}),
    "a child takes its sibling's place, and its nephew's": (
        {"z0": 1, "z2": 2, "z6": 3, "z1": 4, "z4": 5}, 3, 7.0, {"z0": 1, "z3": 7, "z1": 4, "z4": 5}),
    "a child that is taken out leaves its sibling": (
        {"z0": 1, "z2": 2, "z6": 3}, 3, 0.0, {"z0": 1, "z2": 2, "z6": 3}),
    "a silent parent can be woken": ({"z1": 1}, 0, 2.0, {"z0": 2, "z1": 1}),
    "the last latent is nobody's parent and nobody": ({"z0": 1, "z9": 1}, 0, 0.0, {"z9": 1}),
}  # fmt: skip


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_families_stay_families(name, tree, wrapped):
    """Also inside what is wrapped around them."""
    before, latent, value, after = FAMILIES[name]
    dictionary = NormalisedDictionary(tree, "constant", factor=2.0) if wrapped else tree
    code = SparseCode.from_dense(told(**before))
    found = change_latent(dictionary, code, latent, torch.tensor([value]))
    assert torch.equal(found.dense(), told(**after)), name


def test_latents_of_a_flat_dictionary_are_free():
    """The same numbers, but nobody is anybody's child."""
    dictionary = FlatDictionary.random(5, 10, TopK(2), torch.Generator().manual_seed(0)).eval()
    found = change_latent(dictionary, SparseCode.from_dense(told(z0=1, z2=2)), 0, torch.zeros(1))
    assert torch.equal(found.dense(), told(z2=2))
