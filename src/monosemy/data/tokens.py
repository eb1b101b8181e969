"""Packed contexts and their provenance: which character of which document every token is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from monosemy.data.text import Corpus, Document
from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.tensors.axes import Bool, Int, Tensor
from monosemy.tensors.compute import Compute

NOWHERE = -1
"""`offset` of a token that stands for no character: beginning of document, padding."""

# Documents handed to the tokenizer at once: its own threads share a batch.
_BATCH = 64


@dataclass(frozen=True)
class Origin:
    """The text that contexts were packed from, and the seed of its order."""

    corpus: str
    """What was opened: ``stdlib`` or a path."""
    split: str
    """``train``, ``heldout`` or ``all``."""
    fingerprint: str
    """Of the corpus; see `Corpus.fingerprint`."""
    seed: int
    """Fixes the order of the documents."""


@dataclass(frozen=True)
class Place:
    """Where one kept token stands."""

    context: int
    position: int
    document: str
    """The document's name."""
    offset: int
    """First character of the token in its document, or `NOWHERE`."""

    def __str__(self) -> str:
        where = "its beginning" if self.offset == NOWHERE else f"character {self.offset:,}"
        return (
            f"document {self.document!r}, {where} "
            f"(context {self.context:,}, position {self.position:,})"
        )


@dataclass(frozen=True)
class Contexts:
    """Token windows of one length, in a fixed order, each token with its provenance.

    Attributes
    ----------
    ids : token ids.
    document : index into `documents` of the document that the token belongs to.
    offset : first character of the token in that document, as the tokenizer reports it (one that
        trims spaces from its spans gives the first character after them); `NOWHERE` for a
        beginning-of-document or padding token.
    kept : whether the token's activation is to be used (see `pack`).
    documents : the names of the documents, in the order packed.
    origin : where the text came from, if known.
    """

    ids: Int[Tensor, "context position"]
    document: Int[Tensor, "context position"]
    offset: Int[Tensor, "context position"]
    kept: Bool[Tensor, "context position"]
    documents: tuple[str, ...]
    origin: Origin | None = None

    def __len__(self) -> int:
        return self.ids.shape[0]

    @property
    def length(self) -> int:
        """Positions in a context."""
        return self.ids.shape[1]

    @property
    def tokens(self) -> int:
        """How many tokens are kept, over all contexts."""
        return int(self.kept.sum())

    @property
    def padding(self) -> Bool[Tensor, "context position"]:
        """Which tokens only fill up the last context."""
        # A beginning token is NOWHERE too, but opens a document; padding repeats the last one.
        same = torch.zeros_like(self.kept)
        same[:, 1:] = self.document[:, 1:] == self.document[:, :-1]
        return same & (self.offset == NOWHERE)

    def place(self, token: int) -> Place:
        """Where kept token number `token` (context-major, from 0) stands."""
        flat = int(self.kept.flatten().nonzero()[token])
        context, position = divmod(flat, self.length)
        name = self.documents[int(self.document[context, position])]
        return Place(context, position, name, int(self.offset[context, position]))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the shape, every id, every provenance and every document's name."""
        digest = hashlib.sha256(f"{len(self)} {self.length}\0".encode())
        for column in (self.ids, self.document, self.offset, self.kept):
            digest.update(column.to(torch.int64).contiguous().numpy().tobytes())
        digest.update("\0".join(self.documents).encode())
        return digest.hexdigest()

    def __getitem__(self, chosen: slice) -> Contexts:
        return Contexts(
            self.ids[chosen],
            self.document[chosen],
            self.offset[chosen],
            self.kept[chosen],
            self.documents,
            self.origin,
        )


@dataclass(frozen=True)
class Packing:
    """How documents become contexts."""

    context: int = 128
    """Positions in a context."""
    tokens: int | None = None
    """Stop once this many tokens are kept; `None` reads everything."""
    drop_bos: bool = True
    """Leave beginning-of-document tokens out: their activations are often ten times larger."""
    shuffle: bool = True
    """Read the documents in an order drawn from the seed rather than in the corpus's own."""

    def __post_init__(self) -> None:
        reasons = []
        if self.context < 1:
            reasons.append(f"context is {self.context} positions; wanted at least 1")
        if self.tokens is not None and self.tokens < 1:
            reasons.append(f"tokens is {self.tokens}; wanted at least 1, or none for all the text")
        refuse(reasons, "this packing")


def pack(
    corpus: Corpus,
    tokenizer: Any,
    packing: Packing,
    compute: Compute,
    progress: Progress = SILENT,
) -> Contexts:
    """Tokenise documents, put the beginning token before each, join them, cut into windows.

    The last window is filled up with the tokenizer's padding (or beginning) token, never kept.
    Windows cross document boundaries, as is usual in training language models.

    Parameters
    ----------
    corpus : the documents.
    tokenizer : a fast Hugging Face tokenizer (offsets are needed).
    packing : window length, budget, what is left out.
    compute : its seed fixes the order of the documents.

    Errors
    ------
    `UserError` where no token comes out of the text, and for a tokenizer without offsets.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"tokenizer {type(tokenizer).__name__} gives no offsets, so tokens could not be traced "
            "to their text; use its fast version (a folder with tokenizer.json)"
        )
    beginning = tokenizer.bos_token_id
    order = _document_order(corpus.documents, packing, compute)
    stream = _Stream(packing, beginning)
    with progress.task("tokenise", len(order), "documents") as task:
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            encoded = tokenizer(
                [document.text for document in batch],
                add_special_tokens=False,
                return_offsets_mapping=True,
                return_attention_mask=False,
                verbose=False,
            )
            for document, ids, spans in zip(
                batch, encoded["input_ids"], encoded["offset_mapping"], strict=True
            ):
                stream.add(document, ids, spans)
                if stream.full:
                    break
            task.advance(len(batch))
            if stream.full:
                break
    padding = next(i for i in (tokenizer.pad_token_id, beginning, 0) if i is not None)
    origin = Origin(corpus.name, corpus.split, corpus.fingerprint, compute.seed)
    return stream.cut(padding, origin)


def _document_order(
    documents: Sequence[Document], packing: Packing, compute: Compute
) -> list[Document]:
    if not packing.shuffle:
        return list(documents)
    drawn = torch.randperm(len(documents), generator=compute.generator("document order"))
    return [documents[i] for i in drawn.tolist()]


class _Stream:
    """Gathers the tokens of documents until the budget is met; `cut` makes the windows."""

    def __init__(self, packing: Packing, beginning: int | None):
        self.packing = packing
        self.beginning = beginning
        self.names: list[str] = []
        self.kept = 0
        self.parts: list[np.ndarray] = []  # rows of (id, document, offset, kept)

    @property
    def full(self) -> bool:
        return self.packing.tokens is not None and self.kept >= self.packing.tokens

    def add(self, document: Document, ids: list[int], spans: list[tuple[int, int]]) -> None:
        if not ids:
            return
        part = np.empty((len(ids), 4), dtype=np.int32)
        part[:, 0] = ids
        part[:, 1] = len(self.names)
        part[:, 2] = np.asarray(spans, dtype=np.int32)[:, 0]
        part[:, 3] = 1
        if self.beginning is not None:
            first = (self.beginning, len(self.names), NOWHERE, not self.packing.drop_bos)
            part = np.concatenate([np.array([first], dtype=np.int32), part])
        if self.packing.tokens is not None:
            # Cut at the token that meets the budget, so that the budget is met exactly.
            part = part[np.cumsum(part[:, 3]) - part[:, 3] < self.packing.tokens - self.kept]
        self.names.append(document.name)
        self.parts.append(part)
        self.kept += int(part[:, 3].sum())

    def cut(self, padding: int, origin: Origin) -> Contexts:
        if not self.kept:
            raise UserError(
                f"no token comes out of {origin.corpus} ({origin.split}): its text is empty"
            )
        joined = np.concatenate(self.parts)
        missing = -len(joined) % self.packing.context
        filler = np.array([[padding, joined[-1, 1], NOWHERE, 0]] * missing, dtype=np.int32)
        joined = np.concatenate([joined, filler.reshape(missing, 4)])
        columns = torch.from_numpy(joined.T.copy()).view(4, -1, self.packing.context)
        ids, document, offset, kept = columns.unbind()
        return Contexts(ids.long(), document, offset, kept.bool(), tuple(self.names), origin)
