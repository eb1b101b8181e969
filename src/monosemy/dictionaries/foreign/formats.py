"""Every form that dictionaries are read from and written to, by name."""

from __future__ import annotations

from pathlib import Path

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.foreign import (
    circuit_tracer,
    dictionary_learning,
    gemma_scope,
    hub,
    llama_scope,
    llamascopium,
    openai,
    qwen_scope,
    saelens,
    saelens_old,
    sparsify,
)
from monosemy.dictionaries.foreign.format import Collection, Format
from monosemy.foundation.errors import UserError, nearest, refuse

FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        saelens.SAELENS,
        saelens.MONOSEMY,
        saelens_old.FORMAT,
        sparsify.FORMAT,
        dictionary_learning.FORMAT,
        circuit_tracer.FORMAT,
        gemma_scope.FORMAT,
        openai.FORMAT,
        llama_scope.FORMAT,
        llamascopium.FORMAT,
        qwen_scope.FORMAT,
    )
}
"""The forms, by the names that the command line takes."""


def find(name: str) -> Format:
    """The form called `name`; `UserError` with those there are."""
    if name not in FORMATS:
        known = ", ".join(FORMATS)
        raise UserError(f"unknown format {name!r}; known: {known}{nearest(name, FORMATS)}")
    return FORMATS[name]


def detect(path: str | Path) -> Format:
    """The form of the files at `path`; `UserError` where none or several know them."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"no dictionary at {path}: no such file or folder")
    found = [form for form in FORMATS.values() if form.recognises(path)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(form.name for form in found)
        raise UserError(f"{path} looks like {names}; say which it is")
    if _half_native(path):
        return saelens.SAELENS
    known = ", ".join(f"{form.name} ({form.library})" for form in FORMATS.values())
    raise UserError(f"{path} is in no form that is known; known: {known}")


def read(source: str | Path, format: str | None = None, part: str | None = None) -> Collection:
    """The dictionaries at `source` by their parts, in evaluation mode.

    Parameters
    ----------
    source : a folder or file, or ``hf://owner/repo/path``, which is downloaded.
    format : the form's name; told from the files where it is `None`.
    part : only this one, under the name ``""``.
    """
    return identify(source, format, part)[1]


def identify(
    source: str | Path, format: str | None = None, part: str | None = None
) -> tuple[Format, Collection]:
    """As `read`, with the form that it was read in."""
    form = None if format is None else find(format)
    path = hub.fetched(str(source)) if hub.is_address(source) else Path(source)
    if form is not None and not path.exists():
        raise UserError(f"no dictionary at {path}: no such file or folder")
    form = form or detect(path)
    collection = _read(form, path)
    if part is None:
        return form, collection
    if part not in collection:
        raise UserError(f"no part {part!r} at {source}; there are: {_names(collection)}")
    return form, {"": collection[part]}


def load(source: str | Path, format: str | None = None, part: str | None = None) -> Dictionary:
    """The one dictionary at `source`; `UserError` where there are several and `part` is `None`."""
    collection = read(source, format, part)
    if len(collection) != 1:
        raise UserError(
            f"{source} holds {len(collection):,} dictionaries; name a part: {_names(collection)}"
        )
    return next(iter(collection.values()))


def refusals(collection: Collection, form: Format) -> list[str]:
    """Why `collection` cannot be written as `form`; nothing may be left out in silence."""
    if form.write is None or form.refuse is None:
        written = ", ".join(one.name for one in FORMATS.values() if one.write)
        return [f"{form.name} is read, not written; written are: {written}"]
    return form.refuse(collection)


def write(collection: Collection, folder: str | Path, name: str) -> None:
    """Write `collection` into `folder` in the form called `name`; `UserError` with all refusals."""
    form = find(name)
    refuse(refusals(collection, form), f"what is to be written as {form.name}")
    assert form.write is not None
    form.write(collection, Path(folder))


def _read(form: Format, path: Path) -> Collection:
    try:
        return form.read(path)
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        # Parsers have kinds of their own for what is nested too deep or has too many digits.
        said = str(error).partition("\n")[0]
        raise UserError(f"{path} cannot be read as {form.name}: {said}") from error


def _half_native(path: Path) -> bool:
    """Whether one of the two files of the native form is there, so that its reader says more."""
    return any((path / name).exists() for name in (saelens.CONFIG, saelens.WEIGHTS))


def _names(collection: Collection) -> str:
    names = [repr(name) for name in collection]
    more = f" and {len(names) - 12:,} more" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more
