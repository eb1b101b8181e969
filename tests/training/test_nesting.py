import math

import pytest
import torch

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
