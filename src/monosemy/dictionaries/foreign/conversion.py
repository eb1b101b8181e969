"""From one form to another: refused where a rule would be lost, and read back before it counts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from monosemy.dictionaries.foreign import formats, hub
from monosemy.dictionaries.foreign.format import Collection, Format
from monosemy.dictionaries.semantics import differences
from monosemy.foundation.errors import UserError, refuse


@dataclass(frozen=True)
class Conversion:
    """What was converted.

    Attributes
    ----------
    source, target : from where, to where.
    read_as, written_as : names of the forms.
    parts : names of the dictionaries, ``""`` for a single one.
    files : what was written, relative to `target`, with sizes in bytes.
    """

    source: str
    target: str
    read_as: str
    written_as: str
    parts: tuple[str, ...]
    files: dict[str, int]


def convert(
    source: str, target: str, to: str, given: str | None = None, part: str | None = None
) -> Conversion:
    """Write what is at `source` into `target` in the form called `to`.

    What is written is read back and compared bit for bit in what it means before it is moved to its
    place or sent, so `target` is whole or absent.

    Parameters
    ----------
    source, target : folders, files or ``hf://`` addresses. `target` is new or empty.
    to, given : names of forms; `given`, that of `source`, is told from its files where it is `None`.
    part : only this dictionary.

    Errors
    ------
    `UserError` where `target` is taken, for what cannot be read, and with every reason for what the
    form cannot express.
    """
    form = formats.find(to)
    _check_free(target)
    found, collection = formats.identify(source, given, part)
    refuse(formats.refusals(collection, form), f"what is to be written as {form.name}")
    with _workplace(target) as folder:
        formats.write(collection, folder, form.name)
        _check_written(collection, folder, form)
        files = {
            at.relative_to(folder).as_posix(): at.stat().st_size
            for at in sorted(folder.rglob("*"))
            if at.is_file()
        }
        _deliver(folder, target)
    return Conversion(source, target, found.name, form.name, tuple(collection), files)


def _check_free(target: str) -> None:
    if hub.is_address(target):
        hub.check_free(target)
        return
    path = Path(target)
    if path.exists() and not path.is_dir():
        raise UserError(f"{target} is a file; name a new folder, or an empty one")
    if path.is_dir() and any(path.iterdir()):
        raise UserError(f"{target} is not empty; name a new folder, or an empty one")


@contextmanager
def _workplace(target: str) -> Iterator[Path]:
    """A new folder on the same disk as `target`, called as it is: some forms put sense in names."""
    sent = hub.is_address(target)
    path = Path(hub.Address.parse(target).path if sent else target).absolute()
    if not sent:
        path.parent.mkdir(parents=True, exist_ok=True)
    above = tempfile.mkdtemp(prefix=".monosemy-", dir=None if sent else path.parent)
    try:
        folder = Path(above) / (path.name or "dictionary")
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(above, ignore_errors=True)


def _check_written(collection: Collection, folder: Path, form: Format) -> None:
    """`UserError` unless the files in `folder` say what `collection` is."""
    again = form.read(folder)
    reasons = []
    if list(again) != list(collection):
        reasons.append(f"parts {list(collection)} came back as {list(again)}")
    for part in collection.keys() & again.keys():
        name = f"{part}: " if part else ""
        reasons += [f"{name}{why}" for why in differences(collection[part], again[part])]
    refuse(
        [f"{why}; nothing was written, as {form.name} would change it" for why in reasons],
        f"what {form.name} gives back",
    )


def _deliver(folder: Path, target: str) -> None:
    if hub.is_address(target):
        hub.send(folder, target)
        return
    # A folder takes the place of an empty one in one step.
    folder.replace(target)
