import time

import pytest

from monosemy.training.pace import Pace, say


def test_shares_are_of_all_time_and_sum_to_one():
    pace = Pace({"model": 0.03}, 100)  # spent before, but for this run
    with pace.clock.counting("step"):
        time.sleep(0.04)
    time.sleep(0.02)
    found = pace.readings({"model": 0.03, "buffer": 0.01}, 3)
    shares = {name: value for name, value in found.items() if name.startswith("share_")}
    assert list(shares) == ["share_model", "share_buffer", "share_step", "share_other"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert shares["share_model"] == pytest.approx(3 * shares["share_buffer"], abs=2e-4)
    assert shares["share_step"] > shares["share_model"]
    seconds = 300 / found["tokens_per_second"]
    assert shares["share_step"] * seconds == pytest.approx(0.04, abs=0.02)
    assert 0.09 <= seconds < 1


def test_what_is_measured_nowhere_is_other():
    pace = Pace({}, 0)
    time.sleep(0.01)
    assert pace.readings({}, 3) == {"share_other": 1.0}


def test_shares_are_said_largest_parts_only():
    readings = {"share_model": 0.714, "share_buffer": 0.003, "share_step": 0.28, "loss": 0.5}
    assert say(readings) == "model 71 %, step 28 %"
    assert say({}) == ""
