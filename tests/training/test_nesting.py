import math

import pytest
import torch

from monosemy.tensors.codes import SparseCode
from monosemy.training.nesting import Nesting


def test_fixed_ends_are_shares_of_the_latents_at_every_step():
    nesting = Nesting(20, (0.25, 0.5, 1.0))
    assert nesting
    assert nesting.ends(0).tolist() == nesting.ends(9).tolist() == [5, 10, 20]
    assert nesting.lasting == (5, 10, 20)


def test_without_prefixes_there_is_none():
    assert not Nesting(20)


def test_sampled_ends_rise_to_the_whole_and_each_step_draws_its_own():
    nesting, again, other = Nesting(500, sampled=6), Nesting(500, sampled=6), Nesting(500, (), 6, 1)
    drawn = [nesting.ends(step) for step in range(50)]
    for ends in drawn:
        assert len(ends) == 6
        assert int(ends[-1]) == 500
        assert int(ends[0]) >= 1
        assert bool((ends.diff() >= 0).all())
    assert len({tuple(ends.tolist()) for ends in drawn}) == 50
    # In any order: a resumed run asks for later steps only.
    assert all(torch.equal(again.ends(step), drawn[step]) for step in reversed(range(50)))
    assert not torch.equal(other.ends(0), drawn[0])


def test_every_octave_is_equally_likely():
    nesting = Nesting(2**10, sampled=101)
    ends = torch.cat([nesting.ends(step)[:-1] for step in range(50)]).double()
    octaves = torch.bincount(ends.log2().ceil().long() - 1, minlength=10)[:10] / len(ends)
    # 5,000 draws: four standard errors.
    assert octaves[1:].tolist() == pytest.approx([0.1] * 9, abs=4 * math.sqrt(0.09 / 5000))


@pytest.mark.parametrize(
    ("latents", "lasting"), [(64, (2, 4, 8, 16, 32, 64)), (5, (1, 2, 5)), (1, (1,))]
)
def test_a_dictionary_with_sampled_prefixes_names_five_halvings(latents, lasting):
    assert Nesting(latents, sampled=3).lasting == lasting


def fired(*latents):
    full = torch.zeros(1, 4)
    full[0, list(latents)] = 1.0
    return SparseCode.from_dense(full)


def test_prefixes_by_frequency_take_the_latents_that_fired_most():
    nesting = Nesting(4, (0.5, 1.0), order="frequency")
    for code in (fired(2), fired(2, 3), fired(2, 3, 1)):
        nesting.see(code)
    assert nesting.order.tolist() == [2, 3, 1, 0]
    prefixes = nesting.prefixes(0)
    assert prefixes.places.tolist() == [3, 2, 0, 1]
    assert prefixes.of(fired(0, 1, 2, 3)).tolist() == [1, 1, 0, 0]
    assert Nesting(4, (0.5, 1.0)).prefixes(0).places is None


def test_what_fired_lately_counts_for_more():
    nesting = Nesting(4, (0.5, 1.0), order="frequency")
    for code in [fired(0)] * 10 + [fired(1)] * 10:
        nesting.see(code)
    assert nesting.order.tolist() == [1, 0, 2, 3]


def test_an_entry_of_value_zero_did_not_fire():
    nesting, code = Nesting(4, (0.5, 1.0), order="frequency"), fired(1)
    nesting.see(code.with_values(0 * code.values))
    assert float(nesting.rates.sum()) == 0


def test_frequencies_are_part_of_the_state():
    nesting, other = (Nesting(4, (0.5, 1.0), order="frequency") for _ in range(2))
    nesting.see(fired(3))
    other.load_state_dict(nesting.state_dict())
    assert other.order.tolist() == [3, 0, 1, 2]
    assert Nesting(4, (0.5, 1.0)).state_dict() == {}
