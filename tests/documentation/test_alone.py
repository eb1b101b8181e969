"""The project speaks of itself alone: no file names a folder of somebody's machine."""

import re
import subprocess
from pathlib import Path

import pytest

# Put together from pieces, so that this file does not name such a folder either.
_ROOTS = "|".join(["home", "tmp", "root", "work", "mnt", "Users", "var", "opt", "scratch"])
MACHINE_PATH = re.compile(rf"(?<![\w.)\]}}>*~/])/(?:{_ROOTS})/\w|[A-Z]:\\\\?(?:Users|{_ROOTS})\\")


def machine_paths(text: str) -> list[str]:
    """Lines that name a folder of somebody's machine."""
    return [line.strip() for line in text.splitlines() if MACHINE_PATH.search(line)]


def project_files(root: Path) -> list[Path]:
    """Files that are tracked, or would be."""
    command = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is not a git checkout")
    return [root / name for name in listed.stdout.splitlines() if (root / name).is_file()]


def test_no_machine_paths(root: Path) -> None:
    found = {}
    for path in project_files(root):
        data = path.read_bytes()
        # Weights are numbers, and a tokenizer's words come from the standard library.
        if b"\0" in data[:4096] or "models/specimen" in path.as_posix():
            continue
        if lines := machine_paths(data.decode("utf-8", errors="replace")):
            found[path.relative_to(root).as_posix()] = lines
    assert found == {}


@pytest.mark.parametrize("folder", ["home", "tmp", "work", "Users"])
def test_a_machine_path_is_found(folder: str) -> None:
    assert machine_paths(f'fine\nopen("/{folder}/somebody/file")\n') == [
        f'open("/{folder}/somebody/file")'
    ]
    assert machine_paths(f"at /{folder}/x") == [f"at /{folder}/x"]


def test_other_paths_are_fine() -> None:
    for text in (
        "docs/tmp/x",
        "https://a.org/home/x",
        "a / b",
        "tests/work/x",
        "./tmp/x",
        "/usr/bin/env",
    ):
        assert machine_paths(text) == []
