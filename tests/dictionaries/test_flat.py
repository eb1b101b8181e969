import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import TopK
from monosemy.foundation.errors import UserError

LEARNED = ["relu", "topk", "batchtopk", "jumprelu"]


@pytest.mark.parametrize("kind", LEARNED)
def test_rescaling_folds_exactly(make, rows, kind):
    """A power of two changes no digit, so the folded dictionary agrees bit for bit."""
    code, out = make(kind).code(rows), make(kind)(rows)
    folded = make(kind).rescale_(4.0)
    assert torch.equal(folded.code(4 * rows).indices, code.indices)
    assert torch.equal(folded.code(4 * rows).values, 4 * code.values)
    assert torch.equal(folded(4 * rows), 4 * out)
    assert torch.equal(folded.W_dec, make(kind).W_dec)


@pytest.mark.parametrize("kind", LEARNED)
def test_rescaling_by_any_factor_and_back(make, rows, kind):
    out = make(kind)(rows)
    torch.testing.assert_close(make(kind).rescale_(0.37)(0.37 * rows), 0.37 * out)
    torch.testing.assert_close(make(kind).rescale_(0.37).rescale_(1 / 0.37)(rows), out)


@pytest.mark.parametrize("kind", LEARNED)
def test_without_folding_the_answer_would_differ(make, rows, kind):
    assert (make(kind)(4 * rows) - 4 * make(kind)(rows)).abs().max() > 0.1


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
