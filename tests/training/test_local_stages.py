"""When parts begin: moments by hand, and what must hold for every run."""

from hypothesis import given
from hypothesis import strategies as st

from monosemy.training.local_config import LocalConfig
from monosemy.training.local_stages import Stages


def test_the_moments_of_a_run_by_hand():
    stages = Stages(LocalConfig(begin=0.4, until=0.8, times=4), 100, 1)
    assert stages.at == {50: 0, 60: 0, 70: 0, 80: 0}
    assert [stages.explains(step) for step in (39, 40)] == [False, True]
    assert [stages.gathers(step) for step in (39, 40, 79, 80)] == [None, 0, 0, None]
    assert [stages.due(done) for done in (49, 50, 80)] == [None, 0, 0]
    assert [stages.again(done) for done in (0, 79, 80)] == [True, True, False]


def test_levels_begin_one_after_the_other():
    stages = Stages(LocalConfig(begin=0.4, until=0.8, times=2, depth=3), 100, 2)
    assert stages.at == {50: 0, 60: 0, 70: 1, 80: 1}
    assert [stages.gathers(step) for step in (45, 59, 60, 79)] == [0, 0, 1, 1]


SHARES = st.floats(0, 0.99)


@given(SHARES, SHARES, st.integers(1, 8), st.integers(1, 3), st.integers(1, 500))
def test_whatever_the_run_every_moment_has_residuals_before_it(begin, until, times, levels, steps):
    begin, until = sorted((begin, until))
    stages = Stages(LocalConfig(begin=begin, until=until, times=times), steps, levels)
    assert stages.at
    assert set(stages.at.values()) <= set(range(levels))
    assert list(stages.at.values()) == sorted(stages.at.values())
    for moment, level in stages.at.items():
        assert moment > stages.first
        assert stages.gathers(moment - 1) == level
        assert stages.explains(moment - 1)
