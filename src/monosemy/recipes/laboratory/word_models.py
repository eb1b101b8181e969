"""Vectors of words inside a model: rows of its embedding, or its activations while it reads a word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from monosemy.data.vectors import WordVectors
from monosemy.foundation.errors import UserError
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models import tap
from monosemy.models.loading import LoadedModel
from monosemy.models.sites import Site, resolve
from monosemy.tensors.axes import Float, Tensor

EMBEDDING = "embedding"
_AT_ONCE = 256


def words_in(path: str | Path) -> list[str]:
    """Every word of a file of analogy questions, as it is written."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"analogy questions: {path} is no file; wanted four words a line")
    lines = path.read_text(encoding="utf-8").splitlines()
    return sorted({word for line in lines if not line.startswith(":") for word in line.split()})


def embedding_vectors(loaded: LoadedModel) -> WordVectors:
    """The row of the embedding of every word that is one token of the model's vocabulary.

    A word is a token of letters alone that the tokenizer also makes of that word behind a space.

    Errors
    ------
    `UserError` for a vocabulary without such words.
    """
    tokenizer = loaded.tokenizer
    ids = list(range(min(len(tokenizer), loaded.vocabulary)))
    said = [text.strip() for text in tokenizer.batch_decode([[token] for token in ids])]
    words = [(word, token) for word, token in zip(said, ids, strict=True) if word.isalpha()]
    if words:
        again = tokenizer([f" {word}" for word, _ in words], add_special_tokens=False)["input_ids"]
        words = [pair for pair, tokens in zip(words, again, strict=True) if tokens == [pair[1]]]
    first = dict(reversed(words))
    if len(first) < 4:
        raise UserError(
            f"{loaded.name} has {len(first)} words that are one token; an analogy has four. "
            "Read activations instead: --site"
        )
    embedding: Any = loaded.model.get_input_embeddings()
    rows = embedding.weight.detach().float().cpu()
    chosen = sorted(first, key=first.__getitem__)
    return WordVectors(
        f"embedding of {loaded.name}", tuple(chosen), rows[[first[word] for word in chosen]].clone()
    )


@torch.no_grad()
def activation_vectors(
    loaded: LoadedModel,
    site: str,
    words: Sequence[str],
    progress: Progress = SILENT,
    centre: bool = True,
) -> WordVectors:
    """The activation at `site` on the last token of every word, each read alone.

    Parameters
    ----------
    centre : take out their mean, which is common to all words and would be most of every cosine.
    """
    place = resolve(loaded.model, site)
    tokens = loaded.tokenizer([f" {word}" for word in words], return_special_tokens_mask=True)
    rows = dict[int, Float[Tensor, "width"]]()
    by_length = dict[int, list[int]]()
    for number, ids in enumerate(tokens["input_ids"]):
        by_length.setdefault(len(ids), []).append(number)
    with progress.task("words", len(words), "words") as task:
        for numbers in by_length.values():
            for some in _parts(numbers):
                _read(loaded, place, tokens, some, rows)
                task.advance(len(some))
    values = torch.stack([rows[number] for number in range(len(words))])
    values = values - values.mean(0) if centre else values
    return WordVectors(f"{loaded.name} at {site}", tuple(words), values)


def _read(
    loaded: LoadedModel, place: Site, tokens: Mapping[str, list[list[int]]],
    some: Sequence[int], rows: dict[int, Tensor],
) -> None:  # fmt: skip
    ids = torch.tensor([tokens["input_ids"][number] for number in some])
    found = tap.read(loaded.model, [place], ids)[place.name].float().cpu()
    for at, number in enumerate(some):
        special = tokens["special_tokens_mask"][number]
        own = [place for place, mark in enumerate(special) if not mark]
        rows[number] = found[at, own[-1] if own else -1]


def _parts(numbers: Sequence[int]) -> Iterable[Sequence[int]]:
    return (numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE))
