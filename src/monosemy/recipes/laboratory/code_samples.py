"""Samples with labelled variables: from a model that reads text, or from files."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from monosemy.data.documents import Document
from monosemy.data.labels.english import WORDS
from monosemy.data.labels.labelling import Labels, label
from monosemy.data.labels.python import BRACKETS, PYTHON
from monosemy.data.labels.sampling import spread
from monosemy.data.labels.spans import Hierarchy, Span
from monosemy.data.tokens import Contexts
from monosemy.foundation.errors import UserError, nearest, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import open_setting
from monosemy.superposition.coded import Coded
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.compute import Compute

GROUPS = ("document", "group")
"""Columns of a file of labels that say which samples belong together."""
_QUARTERS = 4
# Tokens are taken evenly from this many times as many, for the sake of more documents.
_SPREAD = 4


def nested_classes(document: Document) -> list[Span] | None:
    """Every lexical token of Python source that has a class, with how deep in brackets it stands."""
    classes, deep = PYTHON.spans(document), BRACKETS.spans(document)
    if classes is None or deep is None:
        return None
    depths = {(span.start, span.end): span.child or "depth 0" for span in deep}
    return [replace(span, parent=depths[span.start, span.end], child=span.parent)
            for span in classes
            if span.parent is not None and (span.start, span.end) in depths]  # fmt: skip


NESTING = Hierarchy(
    "nesting", "how deep in brackets a token of Python stands, and its class", nested_classes
)
BY = {
    "nesting": "depth in brackets × class of token, of Python source",
    "position": "quarter of the context × class of word, of English text",
}
"""Pairs of variables that a text shows."""


def from_model(
    model: str, text: str, site: str | None, by: str | None, tokens: int, context: int,
    compute: Compute, progress: Progress = SILENT,
) -> Coded:  # fmt: skip
    """Activations of the labelled tokens of a text.

    Parameters
    ----------
    site : where; by default the residual stream behind the middle block.
    by : one of `BY`; by default ``nesting`` for the standard library, else ``position``.

    Errors
    ------
    `UserError` for an unknown `by`, and whatever the model, the site and the text cannot do.
    """
    by = by or ("nesting" if text == "stdlib" else "position")
    if by not in BY:
        raise UserError(f"unknown variables {by!r}; known: {', '.join(BY)}{nearest(by, BY)}")
    refuse([f"tokens is {tokens}; wanted at least 1"] if tokens < 1 else [], "this code")
    recipe = DictionaryRecipe(
        model=model, text=text, site=site or "blocks.0.hook_resid_post", context=context,
        tokens=tokens, device=compute.device, dtype=compute.dtype, seed=compute.seed,
    )  # fmt: skip
    setting = open_setting(recipe, "all", tokens * _SPREAD, progress)
    if site is None:
        middle = f"blocks.{(setting.loaded.layers - 1) // 2}.hook_resid_post"
        recipe = replace(recipe, site=middle)
        setting = replace(setting, places=_at(setting.places, middle))
    labels = label(NESTING if by == "nesting" else WORDS, setting.corpus, setting.contexts)
    contexts, labels = spread(setting.contexts, labels, tokens)
    source = replace(setting, contexts=contexts).source()
    with progress.task("read", source.tokens, "tokens") as task:
        rows = source.rows(0, source.tokens)[labels.rows].float().cpu()
        task.advance(source.tokens)
    made = _nesting if by == "nesting" else _position
    table, names, values = made(labels, contexts)
    keep = (table >= 0).all(1)
    return Coded(
        f"{Path(model).name} at {recipe.site}, {Path(text).name}", rows[keep], table[keep], names,
        values, labels.document[keep],
    )  # fmt: skip


def _at(places, site: str):  # type: ignore[no-untyped-def]
    from monosemy.models.sites import resolve

    there = (resolve(places.loaded.model, site),)
    return replace(places, reads=there, writes=there)


Made = tuple[Int[Tensor, "token variable"], tuple[str, ...], tuple[tuple[str, ...], ...]]


def _nesting(labels: Labels, contexts: Contexts) -> Made:
    depths = labels.parents
    classes = tuple(sorted({child for _, child in labels.children}))
    of_child = torch.tensor([classes.index(child) for _, child in labels.children])
    table = torch.stack([labels.parent, of_child[labels.child]], 1)
    return table, ("depth", "class"), (depths, classes)


def _position(labels: Labels, contexts: Contexts) -> Made:
    position = contexts.kept.nonzero()[labels.rows, 1]
    quarter = position * _QUARTERS // contexts.length
    table = torch.stack([quarter, labels.parent], 1)
    names = tuple(f"quarter {number + 1}" for number in range(_QUARTERS))
    return table, ("position", "class"), (names, labels.parents)


# --- files ---------------------------------------------------------------------------------------


def from_files(activations: str | Path, labels: str | Path) -> Coded:
    """Activations from ``.npy`` or ``.safetensors``, labels from ``.npz`` or ``.csv``.

    Labels have one column a variable, named in the first line of a CSV file or as the arrays of an
    archive. A column ``document`` or ``group`` says which samples belong together.

    Errors
    ------
    `UserError` with all reasons, for files that are absent, of another form, or do not fit.
    """
    x = _activations(Path(activations))
    columns = _columns(Path(labels))
    reasons = [f"column {name!r} of {labels} has {len(column):,} values and {activations} "
               f"{len(x):,} rows"
               for name, column in columns.items() if len(column) != len(x)]  # fmt: skip
    names = tuple(name for name in columns if name not in GROUPS)
    reasons += [f"column {name!r} of {labels} has one value, {columns[name][0]!r}"
                for name in names if len(set(columns[name])) < 2]  # fmt: skip
    refuse(reasons, "these labels")
    values = tuple(tuple(sorted(set(columns[name]))) for name in names)
    table = torch.tensor([[some.index(value) for value in columns[name]]
                          for name, some in zip(names, values, strict=True)]).T  # fmt: skip
    group = torch.arange(len(x))
    for name in GROUPS:
        if name in columns:
            known = sorted(set(columns[name]))
            place = {value: number for number, value in enumerate(known)}
            group = torch.tensor([place[value] for value in columns[name]])
    return Coded(Path(activations).name, x, table, names, values, group)


def _activations(path: Path) -> Float[Tensor, "point width"]:
    readers: dict[str, Callable[[Path], np.ndarray]] = {".npy": _npy, ".safetensors": _safetensors}
    if path.suffix not in readers:
        raise UserError(f"activations {path}: wanted a file .npy or .safetensors")
    if not path.is_file():
        raise UserError(f"activations: {path} is no file")
    try:
        found = readers[path.suffix](path)
    except Exception as error:  # each library raises its own
        raise UserError(f"activations in {path} cannot be read: {error}") from None
    if found.ndim != 2 or not len(found) or not np.isfinite(found).all():
        raise UserError(
            f"activations in {path} have shape {found.shape}; wanted one row a sample, all finite"
        )
    return torch.from_numpy(np.ascontiguousarray(found, dtype=np.float32))


def _npy(path: Path) -> np.ndarray:
    return np.asarray(np.load(path, allow_pickle=False))


def _safetensors(path: Path) -> np.ndarray:
    from safetensors.torch import load_file

    tensors = load_file(path)
    if "activations" not in tensors and len(tensors) != 1:
        raise ValueError(
            f"it holds {', '.join(sorted(tensors))}; wanted one tensor, or 'activations'"
        )
    found: Tensor = tensors.get("activations", next(iter(tensors.values())))
    return np.asarray(found.float().numpy())


def _columns(path: Path) -> dict[str, Sequence[str]]:
    if path.suffix not in (".npz", ".csv"):
        raise UserError(f"labels {path}: wanted a file .npz or .csv")
    if not path.is_file():
        raise UserError(f"labels: {path} is no file")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: [str(value) for value in file[name]] for name in file.files}
        with path.open(newline="", encoding="utf-8") as text:
            head, *rows = list(csv.reader(text))
        return {name: [row[i] for row in rows] for i, name in enumerate(head)}
    except (ValueError, IndexError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"labels in {path} cannot be read: {error}") from None
