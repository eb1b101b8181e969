import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from monosemy.foundation import storage
from monosemy.foundation.errors import UserError
from monosemy.foundation.storage import DiskFull, read_json, sha256, write_bytes, write_json


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file that is about to be replaced."""
    path = tmp_path / "state"
    path.write_bytes(b"old and whole")
    return path


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise error

    return fail


def test_a_written_file_holds_exactly_the_bytes(tmp_path):
    write_bytes(tmp_path / "deep" / "er" / "file", b"\0\xff\r\n")
    assert (tmp_path / "deep" / "er" / "file").read_bytes() == b"\0\xff\r\n"


def test_an_old_file_is_replaced_and_nothing_else_is_left(old):
    write_bytes(old, b"new")
    assert old.read_bytes() == b"new"
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("where", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_a_crash_on_the_way_leaves_the_old_file_whole(old, monkeypatch, where, error):
    monkeypatch.setattr(os, where, failing(error))
    with pytest.raises(type(error)):
        write_bytes(old, b"new")
    assert old.read_bytes() == b"old and whole"
    assert list(old.parent.iterdir()) == [old]


def test_a_reader_never_sees_a_part(old, monkeypatch):
    """What is at the path just before the rename is the old file; just after it, the new one."""
    seen = []
    rename = os.replace

    def watched(source, target):
        seen.append(old.read_bytes())
        rename(source, target)
        seen.append(old.read_bytes())

    monkeypatch.setattr(os, "replace", watched)
    write_bytes(old, b"new")
    assert seen == [b"old and whole", b"new"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_in_words_and_leaves_nothing_behind(old, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", failing(OSError(number, "no space")))
    with pytest.raises(DiskFull) as caught:
        write_bytes(old, b"x" * 1234)
    message = str(caught.value)
    assert message.startswith(f"no space left for {old}: 1,234 bytes wanted, ")
    assert message.endswith(
        " free. What was written before it is whole; free some space and run the same command "
        "again to go on from there."
    )
    assert caught.value.exit_code == 2
    assert old.read_bytes() == b"old and whole"
    assert list(old.parent.iterdir()) == [old]


def test_another_error_of_the_disk_is_not_called_a_full_one(old, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(OSError(errno.EIO, "broken")))
    with pytest.raises(OSError, match="broken") as caught:
        write_bytes(old, b"x")
    assert not isinstance(caught.value, DiskFull)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_have_the_rights_that_the_user_asked_for(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "file", b"")
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
        assert os.umask(mask) == mask, "writing must not change the mask"
    finally:
        os.umask(before)


def test_json_comes_back_as_it_went_in(tmp_path):
    value = {"name": "Zoë 😀", "k": 16, "list": [1.5, None, True]}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json", "the value") == value
    assert "Zoë 😀" in (tmp_path / "value.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_has_no_nan(tmp_path, number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "value.json", {"loss": number})
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_named_with_its_role(tmp_path):
    with pytest.raises(UserError) as caught:
        read_json(tmp_path / "run.json", "the run's description")
    expected = f"the run's description is missing: {tmp_path / 'run.json'} does not exist"
    assert str(caught.value) == expected


@pytest.mark.parametrize("content", [b'{"half": ', b"\xff\xfe{}", b""])
def test_damaged_json_is_named_with_its_role(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(UserError, match=r"^the run's description at .*run\.json is not valid JSON"):
        read_json(tmp_path / "run.json", "the run's description")


def test_a_path_that_runs_through_a_file_or_ends_in_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("{}")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "run.json", tmp_path / "folder"):
        with pytest.raises(UserError, match="^the run's description"):
            read_json(path, "the run's description")


def test_sha256_is_that_of_the_bytes_in_one_piece(tmp_path, monkeypatch):
    data = bytes(range(256)) * 5000  # more than one block
    (tmp_path / "file").write_bytes(data)
    assert sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()
    (tmp_path / "file").write_bytes(data[:-1] + b"\0")
    assert sha256(tmp_path / "file") != hashlib.sha256(data).hexdigest()


def test_text_is_utf_8(tmp_path):
    storage.write_text(tmp_path / "page", "ß\n")
    assert (tmp_path / "page").read_bytes() == b"\xc3\x9f\n"


def test_lines_are_added_at_the_end(tmp_path):
    storage.append_line(tmp_path / "log", "one")
    storage.append_line(tmp_path / "log", "zwö")
    assert (tmp_path / "log").read_bytes() == "one\nzwö\n".encode()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_fills_up_while_a_line_is_added_is_said_in_words():
    """/dev/full refuses every byte as a full disk does."""
    with pytest.raises(DiskFull, match=r"^no space left for /dev/full: 4 bytes wanted, "):
        storage.append_line(Path("/dev/full"), "one")
