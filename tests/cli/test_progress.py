import sys

import pytest

from monosemy.cli import progress as module
from monosemy.cli.progress import Bars, Lines, choose
from monosemy.foundation.progress import SILENT, Progress


def test_the_choice_follows_the_terminal(monkeypatch):
    assert choose(quiet=True) is SILENT
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert isinstance(choose(quiet=False), Lines)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert isinstance(choose(quiet=False), Bars)


@pytest.mark.parametrize("kind", [Bars, Lines])
def test_both_are_progress(kind):
    assert isinstance(kind(), Progress)


def test_a_line_says_how_much_how_fast_and_the_latest_reading(capsys):
    with Lines().task("train", 2000, "tokens") as task:
        task.advance(1500, "loss 0.5")
        task.advance(500)
    out, err = capsys.readouterr()
    assert out == "", "standard output belongs to results"
    assert err.startswith("train: 2,000 of 2,000 tokens in ")
    assert err.endswith("/s) loss 0.5\n")
    assert err.count("\n") == 1


def test_a_long_task_speaks_on_the_way_with_the_time_left(capsys, monkeypatch):
    monkeypatch.setattr(module, "LINE_EVERY", -1.0)
    with Lines().task("train", 100, "tokens") as task:
        task.advance(50)
        task.advance(50)
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith("train: 50 of 100 tokens")
    assert " s left)" in first
    assert second.startswith("train: 100 of 100 tokens")
    assert " s left)" not in third


def test_a_task_that_fails_does_not_say_it_is_done(capsys):
    def work() -> None:
        with Lines().task("train", 100) as task:
            task.advance(50)
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert capsys.readouterr().err == ""


def test_a_bar_shows_share_rate_and_reading(capsys):
    with Bars().task("train", 100, "tokens") as task:
        task.advance(100, "loss 0.5")
    out, err = capsys.readouterr()
    assert out == ""
    assert "train" in err
    assert "100%" in err
    assert "loss 0.5" in err


@pytest.mark.parametrize(
    ("number", "text"), [(0.25, "0.2"), (999, "999.0"), (1500, "1.5k"), (2.5e6, "2.5M")]
)
def test_rates_are_short(number, text):
    assert module._short(number) == text
