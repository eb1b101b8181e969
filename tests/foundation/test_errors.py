import pytest

from monosemy.foundation.errors import Interrupted, UserError, nearest, refuse

KNOWN = ["learning_rate", "latents", "k"]


def test_the_nearest_known_name_is_offered():
    assert nearest("lerning_rate", KNOWN) == "; did you mean 'learning_rate'?"
    assert nearest("latent", KNOWN) == "; did you mean 'latents'?"


def test_a_name_like_nothing_known_gets_no_offer():
    assert nearest("zebra", KNOWN) == ""
    assert nearest("anything", []) == ""


def test_no_reason_passes():
    refuse([], "this recipe")


def test_one_reason_is_the_whole_message():
    with pytest.raises(UserError) as caught:
        refuse(["k = 0; wanted at least 1"], "this recipe")
    assert str(caught.value) == "k = 0; wanted at least 1"


def test_several_reasons_are_told_at_once():
    with pytest.raises(UserError) as caught:
        refuse(["k = 0", "batch = 0"], "this recipe")
    assert str(caught.value) == "this recipe has 2 problems:\n  - k = 0\n  - batch = 0"


def test_exit_codes_tell_a_mistake_from_a_stop():
    # 130 is what a shell reports for a program that SIGINT ended.
    assert (UserError.exit_code, Interrupted.exit_code) == (2, 130)
    assert not issubclass(Interrupted, UserError)
