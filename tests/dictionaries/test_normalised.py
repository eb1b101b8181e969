import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.dictionaries.selection import ReLU
from monosemy.foundation.errors import UserError

NEEDS_INPUT = ["layer_norm", "unit_norm"]


@pytest.mark.parametrize("kind", NEEDS_INPUT)
def test_a_code_alone_cannot_be_decoded(make, kind, rows):
    dictionary = make(kind)
    assert dictionary.needs_input
    with pytest.raises(UserError) as caught:
        dictionary.decode(dictionary.code(rows))
    assert str(caught.value) == (
        f"a dictionary under {kind} needs the activations to decode their code: each token is "
        "scaled back by its own statistics; give decode(code, x)"
    )


def test_a_constant_needs_no_activations_to_come_back(make, rows):
    for kind in ("constant", "constant transcoder"):
        dictionary = make(kind)
        assert not dictionary.needs_input
        code = dictionary.code(rows)
        torch.testing.assert_close(dictionary.decode(code), dictionary.decode(code, rows))


def test_a_constant_is_a_change_of_units(make, rows):
    dictionary, plain = make("constant"), make("batchtopk")
    torch.testing.assert_close(dictionary.encode(rows), plain.encode(1.7 * rows))
    torch.testing.assert_close(dictionary(rows), plain(1.7 * rows) / 1.7)


def test_codes_do_not_see_what_is_normalised_away(make, rows):
    scaled = make("unit_norm").encode(3 * rows)
    torch.testing.assert_close(scaled, make("unit_norm").encode(rows), rtol=1e-4, atol=1e-4)
    moved = make("layer_norm").encode(3 * rows + 5)
    torch.testing.assert_close(moved, make("layer_norm").encode(rows), rtol=1e-4, atol=1e-4)
    assert (make("unit_norm").encode(rows + 5) - make("unit_norm").encode(rows)).abs().max() > 0.1


@pytest.mark.parametrize("kind", NEEDS_INPUT)
def test_what_was_taken_from_a_token_is_given_back(kind, rows):
    """A dictionary that keeps every number of what it sees gives back what was read."""
    both = torch.cat([torch.eye(6), -torch.eye(6)])
    inner = FlatDictionary(both, torch.zeros(12), both.clone(), torch.zeros(6), ReLU())
    # The published layer norm leaves its eps out on the way back.
    dictionary = NormalisedDictionary(inner, kind, eps=0.0 if kind == "layer_norm" else 0.3)
    torch.testing.assert_close(dictionary(rows), rows)
    assert (inner(rows[:, :1].expand(-1, 6)) - rows).abs().max() > 0.1


def test_its_parameters_are_the_inner_ones(make):
    dictionary = make("layer_norm")
    assert dictionary.W_dec is dictionary.inner.W_dec
    assert [name for name, _ in dictionary.named_parameters()] == [
        "inner.W_enc", "inner.b_enc", "inner.W_dec", "inner.b_dec"
    ]  # fmt: skip
    with pytest.raises(AttributeError, match="W_other"):
        dictionary.W_other


def test_another_normalisation_is_refused(make):
    with pytest.raises(
        UserError, match="unknown normalisation 'rms'; known: layer_norm, unit_norm, constant"
    ):
        NormalisedDictionary(make("relu"), "rms")
