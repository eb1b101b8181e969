"""From one form to another: refused where a rule would be lost, and read back before it counts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from monosemy.dictionaries.foreign import folding, formats, hub
from monosemy.dictionaries.foreign.folding import Folded
from monosemy.dictionaries.foreign.format import Collection, Format
from monosemy.dictionaries.semantics import differences
from monosemy.foundation.errors import UserError, refuse

_NAMES = 4
"""So many names at the end of a path may tell a form what lies there (Gemma Scope's embedding)."""


@dataclass(frozen=True)
class Conversion:
    """What was converted.

    Attributes
    ----------
    source, target : from where, to where.
    read_as, written_as : names of the forms.
    parts : names of the dictionaries, as they are read back; ``""`` for a single one.
    files : what was written, relative to `target`, with sizes in bytes.
    folded : rules that were folded into weights, in plain words.
    difference : by how much that changed a reconstruction of a random input at most, relative.
    """

    source: str
    target: str
    read_as: str
    written_as: str
    parts: tuple[str, ...]
    files: dict[str, int]
    folded: tuple[str, ...] = ()
    difference: float = 0.0


def convert(
    source: str,
    target: str,
    to: str,
    given: str | None = None,
    part: str | None = None,
    fold: bool = False,
) -> Conversion:
    """Write what is at `source` into `target` in the form called `to`.

    What is written is read back and compared bit for bit in what it means before it is moved to its
    place or sent, so `target` is whole or absent.

    Parameters
    ----------
    source, target : folders, files or ``hf://`` addresses. `target` is new or empty.
    to, given : names of forms; `given`, that of `source`, is told from its files where it is `None`.
    part : only this dictionary.
    fold : fold into weights what the form cannot say, where that has an exact equal (`folding`).

    Errors
    ------
    `UserError` where `target` is taken, for what cannot be read, and with every reason for what the
    form cannot express.
    """
    form = formats.find(to)
    _check_free(target)
    found, collection = formats.identify(source, given, part)
    folded = _expressible(collection, form, fold)
    collection = form.renamed(folded.collection) if form.renamed else folded.collection
    with _temporary_folder(target) as folder:
        with _at(target, folder):
            formats.write(collection, folder, form.name)
            _check_written(collection, folder, form)
        files = {
            at.relative_to(folder).as_posix(): at.stat().st_size
            for at in sorted(folder.rglob("*"))
            if at.is_file()
        }
        _deliver(folder, target)
    return Conversion(source, target, found.name, form.name, tuple(collection), files,
                      folded.steps, folded.difference)  # fmt: skip


def _expressible(collection: Collection, form: Format, fold: bool) -> Folded:
    """`collection` as `form` can express it, folded where `fold` allows; else a `UserError`."""
    folded = folding.fold_for(collection, lambda found: formats.refusals(found, form))
    if fold or not folded.steps:
        refuse(folded.reasons, f"what is to be written as {form.name}")
        return folded
    try:
        refuse(formats.refusals(collection, form), f"what is to be written as {form.name}")
    except UserError as error:
        if folded.reasons:
            raise
        raise UserError(
            f"{error}\n--fold writes a dictionary that computes the same, and folds "
            f"{' and '.join(folded.steps)}"
        ) from None
    return folded


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
def _temporary_folder(target: str) -> Iterator[Path]:
    """A new folder on the same disk as `target`, under the same names: some forms read them."""
    sent = hub.is_address(target)
    path = _named(target)
    if not sent:
        path.parent.mkdir(parents=True, exist_ok=True)
    above = tempfile.mkdtemp(prefix=".monosemy-", dir=None if sent else path.parent)
    try:
        folder = Path(above, *path.parts[1:][-_NAMES:])
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    finally:
        shutil.rmtree(above, ignore_errors=True)


def _named(target: str) -> Path:
    """`target` as a path; of a place on the hub, as it will be called once it is fetched."""
    if not hub.is_address(target):
        return Path(target).absolute()
    address = hub.Address.parse(target)
    return Path("/") / address.repo.replace("/", "--") / address.path


@contextmanager
def _at(target: str, folder: Path) -> Iterator[None]:
    """Refusals speak of `target` and not of the `folder` that will become it."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(str(folder), target)) from None


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
