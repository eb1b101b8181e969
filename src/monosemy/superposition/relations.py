"""A relation as a vector: how alike its offsets are, their axes, and the axis it would need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Float, Int, Tensor

Unit = Float[Tensor, "word width"]
Pairs = Int[Tensor, "pair 2"]

RANKS = (1, 2, 4, 8)
FEWEST = 3
"""Pairs below this have no offsets to compare with each other."""
_DRAWS = 99


def consistency(offsets: Float[Tensor, "pair width"]) -> float:
    """Mean cosine of two different offsets: the parallelism of a relation.

        (‖Σᵢ ôᵢ‖² - p) / (p (p - 1)),   ôᵢ = oᵢ / ‖oᵢ‖

    One where all are parallel, about zero where directions are random.
    """
    unit = torch.nn.functional.normalize(offsets.double(), dim=1)
    many = len(unit)
    return float((unit.sum(0).square().sum() - unit.square().sum()) / (many * (many - 1)))


def captured(offsets: Float[Tensor, "pair width"], rank: int) -> float:
    """Share of the offsets' energy in the best subspace of `rank` axes of *other* offsets.

    Odd pairs choose the subspace for even ones, and the other way round; no mean is taken out, so
    rank 1 is the relation's own direction.
    """
    halves = offsets[::2].double(), offsets[1::2].double()
    inside = total = 0.0
    for chosen, held in (halves, halves[::-1]):
        axes = torch.linalg.svd(chosen, full_matrices=False).Vh[:rank]
        inside += float((held @ axes.T).square().sum())
        total += float(held.square().sum())
    return inside / total if total else 0.0


@dataclass(frozen=True)
class Relation:
    """What the offsets ``b - a`` of one relation have in common.

    Attributes
    ----------
    pairs : how many.
    consistency : see the function.
    shuffled : consistency where b's are dealt anew among the a's: mean, and the 95 % quantile.
    captured : share of energy by number of axes; `shuffled_captured` the same, dealt anew.
    """

    pairs: int
    consistency: float
    shuffled: float
    shuffled_high: float
    captured: dict[int, float]
    shuffled_captured: dict[int, float]

    def to_json(self) -> dict[str, Any]:
        """Every attribute."""
        return {
            "pairs": self.pairs, "consistency": self.consistency,
            "shuffled": {"mean": self.shuffled, "high": self.shuffled_high},
            "captured": {str(rank): share for rank, share in self.captured.items()},
            "shuffled_captured": {str(r): share for r, share in self.shuffled_captured.items()},
        }  # fmt: skip


def look(unit: Unit, pairs: Pairs, generator: torch.Generator, draws: int = _DRAWS) -> Relation:
    """The offsets of `pairs`, beside those of the same words dealt anew.

    Errors
    ------
    `UserError` for fewer than three pairs.
    """
    few = f"{len(pairs)} pairs; wanted at least {FEWEST}: one offset has nothing to be parallel to"
    refuse([few] if len(pairs) < FEWEST else [], "this relation")
    first, second = unit[pairs[:, 0]], unit[pairs[:, 1]]
    dealt = [_elsewhere(len(pairs), generator) for _ in range(draws)]
    null = torch.tensor([consistency(second[order] - first) for order in dealt])
    ranks = [rank for rank in RANKS if 2 * rank <= len(pairs)]
    offsets = second - first
    few_dealt = dealt[:9]
    return Relation(
        len(pairs), consistency(offsets), float(null.mean()), float(null.quantile(0.95)),
        {rank: captured(offsets, rank) for rank in ranks},
        {rank: sum(captured(second[o] - first, rank) for o in few_dealt) / len(few_dealt)
         for rank in ranks},
    )  # fmt: skip


def _elsewhere(many: int, generator: torch.Generator) -> Int[Tensor, "pair"]:
    """A cycle through all pairs in random order: nobody keeps what is theirs."""
    order = torch.randperm(many, generator=generator)
    dealt = torch.empty_like(order)
    dealt[order] = order.roll(1)
    return dealt


# --- the axis that a relation would need ---------------------------------------------------------


@dataclass(frozen=True)
class Axis:
    """One more dimension, in which a relation is exact; see `needed_axis`.

    Attributes
    ----------
    pairs, questions : how many; every two different pairs make a question.
    right_before : questions whose nearest word is right without the axis.
    gain : the smallest gain of the binary axis.
    right_with_gain : questions right with it.
    spacing, graded_gain : of the graded axis; all questions are right with it.
    right_with_graded : counted, not assumed.
    """

    pairs: int
    questions: int
    right_before: int
    gain: float
    right_with_gain: int
    spacing: float
    graded_gain: float
    right_with_graded: int

    def to_json(self) -> dict[str, Any]:
        """Every attribute."""
        return dict(vars(self))


def needed_axis(unit: Unit, pairs: Pairs) -> Axis:
    """The smallest gain with which one added dimension makes every pair of a relation exact.

    Words have length one, the query is ``q = b_i - a_i + a_j``, the answer is the word nearest to
    it, the question's own words allowed: ``argmin ‖q - x‖`` is 3CosAdd's answer. Give every word one
    more coordinate ``t(x)``. Word ``x`` then is farther from the query than ``b_j`` exactly where

        (t(q) - t(x))² - (t(q) - t(b_j))²  >  c(x) := 2 q·(x - b_j)

    *Binary axis*: ``t = g`` for the second words, 0 for all others. Then ``t(q) = t(b_j) = g``, and
    only words outside B, the second words, are pushed away, all by ``g²``. The smallest gain that
    leaves no mistake outside B is

        g² = max(0, max over i ≠ j, x ∉ B of 2 q·(x - b_j))

    and mistakes inside B remain at any gain: such an axis says *that* a word is a second word, not
    *whose*.

    *Graded axis*: ``t(a_j) = h·j``, ``t(b_j) = g + h·j``, 0 for all other words. Then again ``t(q) =
    t(b_j)``, and every other word is pushed away. The smallest spacing, and the smallest gain above
    all ``h·j`` differences, are, over ``i ≠ j`` and positive parts of c,

        h  = max over k ≠ j of √c(b_k) / |j - k|
        g  = max of  √c(a_k) - h (j - k)  over k,  and of  √c(x) - h·j  over other words x

    so one dimension is always enough, but it writes the pair's number down.

    Parameters
    ----------
    pairs : where a word comes in several pairs, or on both sides, only its first pair counts.

    Errors
    ------
    `UserError` where fewer than three pairs are left.
    """
    pairs = _apart(pairs)
    few = f"{len(pairs)} pairs without a common word; wanted at least {FEWEST}"
    refuse([few] if len(pairs) < FEWEST else [], "this relation")
    x = unit.double()
    a, b = pairs.T
    many = len(pairs)
    i, j = (index.flatten() for index in torch.meshgrid(*[torch.arange(many)] * 2, indexing="ij"))
    i, j = i[i != j], j[i != j]
    query = x[b[i]] - x[a[i]] + x[a[j]]
    c = 2 * (query @ x.T - (query * x[b[j]]).sum(1, keepdim=True))
    roots = c.clamp_min(0).sqrt()
    others = torch.ones(len(x), dtype=torch.bool)
    others[pairs.flatten()] = False
    outside = others.clone()
    outside[a] = True
    gain = float(roots[:, outside].max()) * _ABOVE
    steps = (j[:, None] - torch.arange(many)).double()
    spacing = float((roots[:, b] / steps.abs()).where(steps != 0, torch.zeros(())).max()) * _ABOVE
    least = torch.where(roots[:, a] > 0, roots[:, a] - spacing * steps, -torch.inf).max()
    if bool(others.any()):
        far = torch.where(roots[:, others] > 0, roots[:, others] - spacing * j[:, None], -torch.inf)
        least = torch.maximum(least, far.max())
    graded = max(float(least), 0.0) * _ABOVE
    binary = torch.zeros(len(x), dtype=x.dtype)
    binary[b] = gain
    ranked = torch.zeros(len(x), dtype=x.dtype)
    ranked[a] = spacing * torch.arange(many).double()
    ranked[b] = graded + spacing * torch.arange(many).double()
    return Axis(
        many, len(i), _right(c, b[j]), gain, _right(c, b[j], binary), spacing, graded,
        _right(c, b[j], ranked),
    )  # fmt: skip


# A gain that only just suffices leaves two words equally near.
_ABOVE = 1 + 1e-6


def _right(c: Tensor, answer: Tensor, t: Tensor | None = None) -> int:
    """Questions in which no other word is as near as the answer."""
    pushed = torch.zeros_like(c) if t is None else (t[answer][:, None] - t[None]).square()
    nearer = c - pushed
    nearer.scatter_(1, answer[:, None], -torch.inf)
    return int((nearer.max(1).values < 0).sum())


def _apart(pairs: Pairs) -> Int[Tensor, "apart 2"]:
    """Pairs that share no word with a pair before them."""
    kept, seen = list[tuple[int, int]](), set[int]()
    for a, b in pairs.tolist():
        if a != b and not {a, b} & seen:
            kept.append((a, b))
            seen |= {a, b}
    return torch.tensor(kept, dtype=torch.int64).reshape(-1, 2)
