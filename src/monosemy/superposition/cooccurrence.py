"""A world of words made of an entity and an attribute: PMI from counts, vectors from its SVD.

Why offsets answer analogies at all: where the log ratio of two words' contexts is the same for every
pair of a relation, vectors that factorise PMI are parallelograms (Levy and Goldberg 2014; Arora et
al. 2016; Ethayarajh et al. 2019). Here every word has that property by construction, and what breaks
it can be watched: too few dimensions, and counts that are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from monosemy.data.vectors import Questions
from monosemy.foundation.errors import refuse
from monosemy.superposition.analogy import ADD, answers
from monosemy.superposition.relations import consistency
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute

# Added to every count, so that what never occurred has a logarithm.
_PSEUDO = 0.5


@dataclass(frozen=True)
class WorldOfWords:
    """Words ``(e, a)``: entity e with attribute a, as king is royalty and male.

        log P(context | e, a) = log P(context) + s_E α_e(context) + s_A β_a(context) - log Z,

    α and β standard normal. Every word is seen in `tokens` contexts, drawn from that law.

    Errors
    ------
    `UserError` with all reasons, where no such world can be.
    """

    attributes: int = 4
    """A: values of the attribute."""
    entities: int = 16
    """E: entities, which are the parents of the attribute's values."""
    contexts: int = 1000
    """Words that are counted around them."""
    tokens: int = 1_000_000
    """Contexts seen of each word."""
    entity_size: float = 0.8
    """Standard deviation of an entity's log ratios."""
    attribute_size: float = 0.25
    """Of an attribute's: smaller, so that the smallest axes of the vectors are its own."""

    def __post_init__(self) -> None:
        least = {"attributes": 2, "entities": 3, "contexts": 8, "tokens": 1}
        reasons = [f"{name} is {getattr(self, name)}; wanted at least {few}"
                   for name, few in least.items() if getattr(self, name) < few]  # fmt: skip
        sizes = {"entity_size": self.entity_size, "attribute_size": self.attribute_size}
        reasons += [
            f"{name} is {size}; wanted above 0" for name, size in sizes.items() if size <= 0
        ]
        if self.contexts < 2 * (self.attributes + self.entities):
            reasons.append(
                f"{self.contexts} contexts for {self.attributes} attributes and {self.entities} "
                "entities; wanted at least twice as many as both together"
            )
        refuse(reasons, "this world of words")

    @property
    def words(self) -> int:
        """One for each entity and attribute; number ``e · A + a``."""
        return self.attributes * self.entities

    @property
    def dimensions(self) -> int:
        """A + E: as many axes as everything there is needs."""
        return self.attributes + self.entities


def pmi(world: WorldOfWords, compute: Compute) -> Float[Tensor, "word context"]:
    """``log (P(word, context) / P(word) P(context))`` of counts, each half a count larger."""
    draw = compute.generator("world of words")
    entity = torch.randn(world.entities, world.contexts, generator=draw, dtype=torch.float64)
    attribute = torch.randn(world.attributes, world.contexts, generator=draw, dtype=torch.float64)
    common = torch.randn(world.contexts, generator=draw, dtype=torch.float64)
    logits = (
        common
        + world.entity_size * entity[:, None]
        + world.attribute_size * attribute[None]
    ).flatten(0, 1)  # fmt: skip
    # Independent Poisson counts: those of a multinomial whose total is Poisson too.
    counts = torch.poisson(logits.softmax(1) * world.tokens, generator=draw) + _PSEUDO
    joint = counts / counts.sum()
    return (joint / (joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True))).log()


def factorised(matrix: Float[Tensor, "word context"], rank: int) -> Float[Tensor, "word width"]:
    """Word vectors ``U_r √S_r`` of the truncated SVD (Levy and Goldberg 2014)."""
    U, S, _ = torch.linalg.svd(matrix, full_matrices=False)
    return (U[:, :rank] * S[:rank].sqrt()).float()


def all_questions(world: WorldOfWords) -> Questions:
    """Every ``(e, a) : (e, a') :: (f, a) : (f, a')`` with e ≠ f, a ≠ a'; a section for each (a, a')."""
    A, E = world.attributes, world.entities
    turns = [(a, b) for a in range(A) for b in range(A) if a != b]
    rows = [(e * A + a, e * A + b, f * A + a, f * A + b, section)
            for section, (a, b) in enumerate(turns)
            for e in range(E) for f in range(E) if e != f]  # fmt: skip
    table = torch.tensor(rows)
    names = tuple(f"attribute {a} to {b}" for a, b in turns)
    return Questions(table[:, :4], table[:, 4], names, len(table))


@dataclass(frozen=True)
class AtRank:
    """What vectors of one dimension answer.

    Attributes
    ----------
    accuracy, including : share of questions right (3CosAdd), without and with their own words.
    parallelism : mean cosine of an attribute's offsets across entities, over all pairs of values.
    """

    rank: int
    accuracy: float
    including: float
    parallelism: float

    def to_json(self) -> dict[str, Any]:
        """Every attribute."""
        return dict(vars(self))


def by_rank(world: WorldOfWords, ranks: Sequence[int], compute: Compute) -> list[AtRank]:
    """Accuracy and parallelism of vectors of each dimension in `ranks`."""
    questions = all_questions(world)
    U, S, _ = torch.linalg.svd(pmi(world, compute), full_matrices=False)
    found = []
    for rank in ranks:
        values = (U[:, :rank] * S[:rank].sqrt()).float()
        unit = torch.nn.functional.normalize(values, dim=1)
        right = [float((answers(unit, questions.rows, ADD, exclude) == questions.rows[:, 3])
                       .float().mean()) for exclude in (True, False)]  # fmt: skip
        found.append(AtRank(rank, right[0], right[1], parallelism(unit, world)))
    return found


def parallelism(unit: Float[Tensor, "word width"], world: WorldOfWords) -> float:
    """Mean over pairs of attribute values of the `consistency` of their offsets across entities."""
    grid = unit.unflatten(0, (world.entities, world.attributes))
    pairs = [(a, b) for a in range(world.attributes) for b in range(a)]
    return sum(consistency(grid[:, a] - grid[:, b]) for a, b in pairs) / len(pairs)


def halfway(ranks: Sequence[int], values: Sequence[float], top: int) -> float:
    """The rank at which a rising curve is halfway from its lowest value up to that at rank `top`.

    The first such crossing going down from `top`, between ranks in proportion.
    """
    above = dict(zip(ranks, values, strict=True))
    high = above[top]
    level = (min(value for rank, value in above.items() if rank <= top) + high) / 2
    below = [rank for rank in sorted(above) if rank <= top][::-1]
    for here, lower in zip(below, below[1:], strict=False):
        if above[lower] < level:
            share = (level - above[lower]) / (above[here] - above[lower])
            return lower + share * (here - lower)
    return float(below[-1])
