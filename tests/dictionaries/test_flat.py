import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import TopK
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import UserError

LEARNED = ["relu", "topk", "batchtopk", "jumprelu"]


@pytest.mark.parametrize("kind", LEARNED)
def test_a_power_of_two_folds_bit_for_bit(make, rows, kind):
    """It changes no digit where directions have length one, as training leaves them."""
    before, folded = _unit(make(kind)), _unit(make(kind))
    code, out = before.code(rows), before(rows)
    units = Units.scaled(0.25)
    folded.fold_(units, units)
    assert torch.equal(folded.code(4 * rows).indices, code.indices)
    assert torch.equal(folded.code(4 * rows).values, 4 * code.values)
    assert torch.equal(folded(4 * rows), 4 * out)
    assert torch.equal(folded.W_dec, before.W_dec)


def _unit(dictionary):
    """Each direction along one axis, so that its length is one to the last digit."""
    axes = torch.eye(dictionary.width)[torch.arange(dictionary.latents) % dictionary.width]
    with torch.no_grad():
        dictionary.W_dec.copy_(axes)
    return dictionary


@pytest.mark.parametrize("kind", LEARNED)
def test_without_folding_the_answer_would_differ(make, rows, kind):
    assert (make(kind)(4 * rows) - 4 * make(kind)(rows)).abs().max() > 0.1


@pytest.mark.parametrize("kind", LEARNED)
@pytest.mark.parametrize("weighing", ["rescaled", "selected"])
def test_weighing_means_nothing_where_directions_have_length_one(make, rows, kind, weighing):
    plain, weighed = _unit(make(kind)), _unit(make(kind))
    weighed.weighing = weighing
    assert torch.equal(weighed.encode(rows), plain.encode(rows))
    assert torch.equal(weighed(rows), plain(rows))
    other = make(kind)
    other.weighing = weighing
    if (kind, weighing) != ("relu", "selected"):  # a length changes no sign
        assert (other.encode(rows) - make(kind).encode(rows)).abs().max() > 0.1


def test_rescaled_activations_are_what_a_latent_adds(make, rows):
    """Selected by ``|W_dec[i]| pre_i`` in both; only the units of the activations differ."""
    rescaled, selected = make("batchtopk rescaled"), make("batchtopk selected")
    lengths = rescaled.W_dec.norm(dim=1)
    torch.testing.assert_close(rescaled.encode(rows), selected.encode(rows) * lengths)
    torch.testing.assert_close(rescaled(rows), selected(rows))


def test_shapes_that_disagree_are_refused_all_at_once():
    parts = torch.zeros(5, 3), torch.zeros(4), torch.zeros(4, 3), torch.zeros(2)
    # Below the annotations, which tests check first, stands the check that users meet.
    make = FlatDictionary.__init__.__wrapped__
    with pytest.raises(UserError) as caught:
        make(object.__new__(FlatDictionary), *parts, TopK(9))
    assert str(caught.value) == (
        "this dictionary has 3 problems:\n"
        "  - W_enc has shape (5, 3); wanted (4, 3), as W_dec is (4, 3)\n"
        "  - b_dec has shape (2,); wanted (3,), as W_dec is (4, 3)\n"
        "  - k = 9 for 4 latents; wanted 1 <= k <= latents"
    )


def test_a_random_dictionary_repeats_and_has_unit_directions():
    def draw(seed):
        return FlatDictionary.random(5, 8, TopK(2), torch.Generator().manual_seed(seed))

    assert torch.equal(draw(0).W_dec, draw(0).W_dec)
    assert not torch.equal(draw(0).W_dec, draw(1).W_dec)
    torch.testing.assert_close(draw(0).W_dec.norm(dim=1), torch.ones(8))
    assert torch.equal(draw(0).W_enc, draw(0).W_dec)
    assert draw(0).W_enc.data_ptr() != draw(0).W_dec.data_ptr()
