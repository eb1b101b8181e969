import time

import pytest

from monosemy.foundation.clock import Clock


def test_seconds_add_up_name_by_name():
    clock = Clock()
    for _ in range(2):
        with clock.counting("waiting"):
            time.sleep(0.02)
    with clock.counting("nothing"):
        pass
    time.sleep(0.02)  # in no block, so not seen
    assert list(clock.seconds) == ["waiting", "nothing"]
    assert 0.04 <= clock.seconds["waiting"] < 1
    assert clock.seconds["nothing"] < 0.01


def test_a_block_that_fails_counts_too():
    clock = Clock()
    with pytest.raises(KeyError), clock.counting("failing"):
        raise KeyError
    assert clock.seconds["failing"] >= 0
