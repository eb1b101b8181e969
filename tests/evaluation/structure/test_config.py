"""Thresholds: what is refused."""

import pytest

from monosemy.evaluation.structure.config import AbsorptionConfig
from monosemy.foundation.errors import UserError


def test_the_defaults_are_those_of_the_source():
    one = AbsorptionConfig()
    assert (one.probe_f1, one.l1, one.most_splits, one.f1_jump) == (0.6, 0.01, 10, 0.03)
    assert (one.absorber_cosine, one.absorbers, one.full_cosine, one.share) == (0.1, 3, 0.025, 0.4)
    assert not one.centred


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(UserError) as caught:
        AbsorptionConfig(share=1.5, absorbers=0, l1=0.0)
    said = str(caught.value)
    assert said.startswith("this measurement of absorption has 3 problems")
    for reason in ("share = 1.5; wanted 0 to 1", "absorbers = 0", "l1 = 0.0; wanted more than 0"):
        assert reason in said
