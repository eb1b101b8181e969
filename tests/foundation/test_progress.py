import pytest

from monosemy.foundation.progress import SILENT


def test_silence_takes_every_report_and_prints_nothing(capsys):
    with SILENT.task("train", 10, "tokens") as task:
        task.advance()
        task.advance(4, "loss 0.5")
    assert capsys.readouterr() == ("", "")


def test_silence_hides_no_error():
    with pytest.raises(KeyError), SILENT.task("train", 10):
        raise KeyError("from the work itself")
