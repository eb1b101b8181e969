"""The standard library of the running Python: text that every installation has."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from monosemy.data.documents import Document, Grouped, decode
from monosemy.foundation.errors import UserError

# Left out because not every build of Python carries them (distributions split them off), because
# they differ by platform, or because they are test suites.
_NOT_EVERYWHERE = frozenset(
    ["antigravity", "distutils", "ensurepip", "idlelib", "lib2to3", "msilib", "nt", "pydoc_data"]
    + ["this", "tkinter", "turtle", "turtledemo", "venv", "winreg", "winsound"]
)
# encodings/cp1252.py and its seventy siblings are tables of 256 characters: machine-made, and
# a seventh of the library's bytes.
_TABLE_PREFIXES = ("cp", "iso8859", "mac_", "koi8", "kz1048", "ptcp154", "tis_620", "hp_roman8")


def standard_library() -> Grouped:
    """Sources by path, then the language reference by topic; a file decides its own split."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(path for path in _library_files(root) if not _is_table(path))
    if not paths:
        raise UserError(
            f"the sources of the standard library are missing: no .py files under {root}. "
            "Install your Python's source files (some minimal builds ship only .pyc), or name "
            "other text: --text FILE_OR_FOLDER"
        )
    for path in paths:
        name = path.relative_to(root).as_posix()
        yield name, Document(name, decode(path.read_bytes(), path))
    for topic, text in sorted(_language_topics().items()):
        # All topics come from one file, so they stay on one side of the split.
        yield "pydoc_data/topics.py", Document(f"pydoc_data/topics.py#{topic}", text)


def _library_files(root: Path) -> Iterator[Path]:
    for module in sorted(sys.stdlib_module_names - _NOT_EVERYWHERE):
        if module.startswith("_sysconfigdata") or module.startswith("_osx"):
            continue
        if (root / f"{module}.py").is_file():
            yield root / f"{module}.py"
        for path in (root / module).rglob("*.py"):
            inside = path.relative_to(root).parts
            if not {"test", "tests", "idle_test", "site-packages"} & set(inside):
                yield path


def _is_table(path: Path) -> bool:
    return path.parent.name == "encodings" and path.name.startswith(_TABLE_PREFIXES)


def _language_topics() -> dict[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # a build without documentation: the sources alone are still a corpus
        return {}
    return topics


def describe_standard_library() -> dict[str, str]:
    """What decides the content of the ``stdlib`` corpus: the Python version."""
    return {"python": ".".join(map(str, sys.version_info[:3]))}
