"""A relation between words (he is to she as his is to her) as something that can get an axis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monosemy.foundation.errors import UserError, refuse
from monosemy.recipes.allocation_ground import Chosen, Ground, Seen
from monosemy.tensors.axes import Float, Int, Tensor

# Each word has to come up so often in the text read.
FEWEST = 5


@dataclass(frozen=True, eq=False)
class Relation:
    """Pairs of words, each one token.

    Attributes
    ----------
    name : of the file it came from.
    pairs : (first, second) words.
    ids : their tokens.
    """

    name: str
    pairs: tuple[tuple[str, str], ...]
    ids: Int[Tensor, "pair 2"]


def read_pairs(path: str | Path) -> list[tuple[str, str]]:
    """Two words a line, apart by a tab, or by spaces; lines that begin with # are left out.

    Errors
    ------
    `UserError` with every line that is no pair, and where no pair is left.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"pairs of words at {path} cannot be read: {error}") from None
    found, reasons = list[tuple[str, str]](), list[str]()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split("\t") if "\t" in line else line.split()
        if len(words) != 2 or words[0] == words[1]:
            reasons.append(f"line {number}: {line.strip()!r}; wanted two different words")
        else:
            found.append((words[0], words[1]))
    if not found and not reasons:
        reasons.append(f"{path} holds no pair; wanted two words a line")
    refuse(reasons, f"the pairs at {path}")
    return found


def open_relation(path: str | Path, ground: Ground) -> Relation:
    """The pairs whose words are single tokens that come up in the training and the held-out text.

    Errors
    ------
    `UserError` where fewer than two are left, with why each of the others is not.
    """
    seen = [_counts(ground, one) for one in (ground.seen, ground.heldout)]
    kept, ids, why = list[tuple[str, str]](), list[list[int]](), list[str]()
    for pair in read_pairs(path):
        tokens = [_token(ground.setting.loaded.tokenizer, word, seen[0]) for word in pair]
        reasons = [
            f"{word!r} is no single token" if token is None
            else f"{word!r} comes up {min(int(c[token]) for c in seen)} times; wanted {FEWEST}"
            for word, token in zip(pair, tokens, strict=True)
            if token is None or min(int(c[token]) for c in seen) < FEWEST
        ]  # fmt: skip
        if reasons:
            why.append(f"{' '.join(pair)}: {', '.join(reasons)}")
        else:
            kept.append(pair)
            ids.append([token for token in tokens if token is not None])
    if len(kept) < 2:
        refuse([f"{len(kept)} pairs are left of {path}; wanted at least 2", *why], "this relation")
    return Relation(Path(path).stem, tuple(kept), torch.tensor(ids))


def relation_chosen(relation: Relation, ground: Ground) -> Chosen:
    """``v = mean over pairs of (mean of b - mean of a)`` at the site; the value is 1 on every b.

    Of training text; the same words in held-out text.
    """
    means = _means(ground, ground.seen, relation.ids)
    direction = (means[:, 1] - means[:, 0]).mean(0, keepdim=True)
    second = relation.ids[:, 1]
    values, heldout = (
        torch.isin(_tokens(one), second).float()[:, None] for one in (ground.seen, ground.heldout)
    )
    return Chosen((relation.name,), direction, values, heldout)


def offset_on_axis(
    relation: Relation, ground: Ground, reading: Float[Tensor, "token"]
) -> dict[str, Any]:
    """The offset b - a of every pair, measured on one coordinate of held-out tokens.

    `reading` is that coordinate. ``d' = mean of all offsets / deviation inside words``; *apart* is the
    share of (a, b) tokens, over all words, with b above a (the area under the ROC curve).
    """
    tokens = _tokens(ground.heldout)
    offsets, a_all, b_all, inside = list[float](), list[Tensor](), list[Tensor](), list[Tensor]()
    for a, b in relation.ids.tolist():
        first, second = reading[tokens == a].double(), reading[tokens == b].double()
        offsets.append(float(second.mean() - first.mean()))
        a_all.append(first)
        b_all.append(second)
        inside += [first - first.mean(), second - second.mean()]
    firsts, seconds = torch.cat(a_all), torch.cat(b_all)
    both = torch.cat([firsts, seconds])
    ranks = both.argsort().argsort().double()[len(firsts) :]
    apart = (float(ranks.sum()) - len(seconds) * (len(seconds) - 1) / 2) / (
        len(firsts) * len(seconds)
    )
    mean = sum(offsets) / len(offsets)
    spread = float(torch.cat(inside).std())
    return {
        "pairs": [" ".join(pair) for pair in relation.pairs],
        "offsets": offsets,
        "mean_offset": mean,
        "d_prime": mean / spread if spread else None,
        "apart": apart,
        "tokens": len(both),
    }


def _token(tokenizer: Any, word: str, counts: Tensor) -> int | None:
    """The single token of a word, with or without a space before it: the more frequent one."""
    found = []
    for text in (f" {word}", word):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) == 1:
            found.append(ids[0])
    return max(found, key=lambda token: int(counts[token]), default=None)


def _counts(ground: Ground, seen: Seen) -> Int[Tensor, "vocabulary"]:
    size = max(ground.setting.loaded.vocabulary, int(seen.contexts.ids.max()) + 1)
    return torch.bincount(_tokens(seen), minlength=size)


def _tokens(seen: Seen) -> Int[Tensor, "token"]:
    return seen.contexts.ids[seen.contexts.kept].long()


def _means(ground: Ground, seen: Seen, ids: Int[Tensor, "pair 2"]) -> Float[Tensor, "pair 2 width"]:
    tokens = _tokens(seen)
    flat = [seen.site[tokens == token].mean(0) for token in ids.flatten().tolist()]
    return torch.stack(flat).unflatten(0, tuple(ids.shape))
