"""Dichotomies of conditions: what a linear reader can tell apart, and whether it carries over.

A condition is one combination of the values of labelled variables. A dichotomy puts half of the
conditions on one side. Three questions about it (Rigotti et al. 2013; Bernardi et al. 2020):

- *decoding*: can a hyperplane tell the sides apart, on other samples of the same conditions?
- *cross-condition generalisation* (CCGP): on conditions that it was not fitted on?
- *parallelism* (PS): do the differences between paired conditions point the same way?

All three are high where variables lie on axes of their own, turned or not. Random points are decoded
and do not generalise. The reader is the least squares classifier, with conditions counted equally:

    w = (S + λ I)⁻¹ (μ₊ - μ₋),   sign(w · (x - (μ₊ + μ₋) / 2)),

which is Fisher's discriminant; S is the second moment about the middle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product

import numpy as np
import torch

from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Bool, Float, Int, Tensor

Points = Float[Tensor, "point width"]
Condition = Int[Tensor, "point"]
Sides = Bool[Tensor, "condition"]

# Of the mean variance: enough for a stable solution, too little to bend it.
_RIDGE = 1e-3
# Of the largest singular value: coarser than single precision, finer than any difference that counts.
_ROUNDING = 1e-5
_DRAWS = 1000
BLOCKS = 20
MOST_PAIRED = 5
"""Conditions on a side up to which every pairing is tried; 5! = 120."""


def balanced(
    conditions: int, most: int = 1000, generator: torch.Generator | None = None
) -> Bool[Tensor, "dichotomy condition"]:
    """Every way to halve the conditions, each once: the first condition is on the side that is true.

    Where there are more than `most`, so many of them are drawn (with a generator) or none refused.

    Errors
    ------
    `UserError` for an odd number, for fewer than two, and for too many without a generator.
    """
    refuse(
        [f"{conditions} conditions cannot be halved; wanted an even number, at least 2"]
        if conditions < 2 or conditions % 2 else [], "these dichotomies",
    )  # fmt: skip
    half = conditions // 2
    many = math.comb(conditions, half) // 2
    if many > most:
        said = (
            f"{many:,} dichotomies of {conditions} conditions; wanted a generator to draw {most:,}"
        )
        refuse([said] if generator is None else [], "these dichotomies")
        order = torch.rand(most, conditions, generator=generator).argsort(1)
        sides = torch.zeros(most, conditions, dtype=torch.bool).scatter(1, order[:, :half], True)
        return torch.where(sides[:, :1], sides, ~sides)
    sides = torch.zeros(many, conditions, dtype=torch.bool)
    for row, rest in enumerate(combinations(range(1, conditions), half - 1)):
        sides[row, [0, *rest]] = True
    return sides


def separable(points: Float[Tensor, "condition width"], side: Sides) -> bool:
    """Whether a hyperplane has all true points on one side: a linear programme, solved exactly.

    There is one exactly where ``s_i (w · x_i + b) >= 1`` can be satisfied. Axes along which points
    differ by rounding alone are left out.
    """
    from scipy.optimize import linprog

    sign = np.where(side.numpy(), 1.0, -1.0)
    centred = points.double() - points.double().mean(0)
    U, S, _ = torch.linalg.svd(centred, full_matrices=False)
    there = _ROUNDING * S[0] < S
    along = (U[:, there] * S[there] / S[0]).numpy()
    rows = -sign[:, None] * np.column_stack([along, np.ones(len(points))])
    found = linprog(np.zeros(rows.shape[1]), rows, -np.ones(len(rows)), bounds=(None, None))
    return found.status == 0


def shattering_count(points: Float[Tensor, "condition width"]) -> tuple[int, int]:
    """Balanced dichotomies that a hyperplane separates, and how many there are.

    A cube has 7 of 35: three bits and four signed majorities. Eight points in general position in
    seven dimensions or more have all 35.
    """
    sides = balanced(len(points))
    return sum(separable(points, side) for side in sides), len(sides)


# --- the reader ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Moments:
    """Means and second moments of every condition: all that the reader is fitted on."""

    means: Float[Tensor, "condition width"]
    seconds: Float[Tensor, "condition width width"]

    @classmethod
    def of(cls, x: Points, condition: Condition, conditions: int) -> Moments:
        """Of each condition's points."""
        means = torch.zeros(conditions, x.shape[1], dtype=torch.float64)
        seconds = torch.zeros(conditions, x.shape[1], x.shape[1], dtype=torch.float64)
        for number in range(conditions):
            own = x[condition == number].double()
            means[number] = own.mean(0)
            seconds[number] = own.T @ own / len(own)
        return cls(means, seconds)

    def reader(
        self, positive: Sequence[int], negative: Sequence[int]
    ) -> tuple[Float[Tensor, "width"], float]:
        """Weights and offset that tell these conditions apart; see the module."""
        high, low = (self.means[list(some)].mean(0) for some in (positive, negative))
        middle = (high + low) / 2
        S = (self.seconds[list(positive)].mean(0) + self.seconds[list(negative)].mean(0)) / 2
        S = S - torch.outer(middle, middle)
        S.diagonal().add_(_RIDGE * S.diagonal().mean() + 1e-12)
        w = torch.linalg.solve(S, high - low)
        return w, -float(w @ middle)


def carried_over(
    x: Points, condition: Condition, side: Sides, matched: bool = False
) -> Float[Tensor, "point"]:
    """How often each point is read rightly by readers that were not fitted on its condition.

    One condition of each side is held out in turn, in all combinations, or, where the conditions of
    the two sides are `matched` (the same contexts, in the same order), the same context on both. The
    mean over conditions of the means of their points is the CCGP; a half is chance. In all
    combinations a code whose contexts are easily told apart falls below a half: one value was seen in
    the context in which the other is asked for. Matched it does not.

    Errors
    ------
    `UserError` for fewer than two conditions on a side: what is held out must leave one.
    """
    positive, negative = (torch.nonzero(one).flatten().tolist() for one in (side, ~side))
    few = min(len(positive), len(negative))
    refuse(
        [f"{few} condition on a side; wanted at least 2, so that one can be held out"]
        if few < 2 else [], "this dichotomy",
    )  # fmt: skip
    moments = Moments.of(x, condition, len(side))
    groups = [torch.nonzero(condition == number).flatten() for number in range(len(side))]
    rows = [x[group].double() for group in groups]
    right = torch.zeros(len(x), dtype=torch.float64)
    held = list(zip(positive, negative, strict=True) if matched else product(positive, negative))
    for p, n in held:
        w, b = moments.reader([i for i in positive if i != p], [i for i in negative if i != n])
        right[groups[p]] += (rows[p] @ w + b > 0).double() * len(positive) / len(held)
        right[groups[n]] += (rows[n] @ w + b <= 0).double() * len(negative) / len(held)
    return right


def decoded(
    x: Points,
    condition: Condition,
    sides: Bool[Tensor, "dichotomy condition"],
    half: Bool[Tensor, "point"],
) -> Float[Tensor, "dichotomy point"]:
    """Whether each point is read rightly by readers fitted on the other half of the points."""
    right = torch.zeros(len(sides), len(x), dtype=torch.float64)
    for fitted in (half, ~half):
        moments = Moments.of(x[fitted], condition[fitted], sides.shape[1])
        held = x[~fitted].double()
        for row, side in enumerate(sides):
            numbers = [torch.nonzero(one).flatten().tolist() for one in (side, ~side)]
            w, b = moments.reader(*numbers)
            right[row, ~fitted] = ((held @ w + b > 0) == side[condition[~fitted]]).double()
    return right


def by_condition(right: Float[Tensor, "point"], condition: Condition) -> float:
    """Mean over conditions of the means of their points."""
    many = int(condition.max()) + 1
    there = condition >= 0
    sums = torch.zeros(many, dtype=torch.float64).index_add(0, condition[there], right[there])
    counts = torch.bincount(condition[there], minlength=many)
    return float((sums / counts.clamp_min(1))[counts > 0].mean())


def blocks(group: Int[Tensor, "point"], generator: torch.Generator) -> Int[Tensor, "point"]:
    """Groups dealt into at most `BLOCKS` blocks, for `jackknife`."""
    groups, owner = group.unique(return_inverse=True)
    dealt = torch.randperm(len(groups), generator=generator) % BLOCKS
    return dealt[owner]


def jackknife(value: float, without: Sequence[float]) -> tuple[float, float]:
    """Interval of 95 % from the values without each of ``B`` blocks in turn.

        value ± 1.96 √((B - 1) / B Σ_b (value_b - mean)²)

    Of quantities that noise in the mean of a condition biases, such as cosines: a bootstrap would
    add that noise a second time.
    """
    many = len(without)
    mean = sum(without) / many
    width = 1.96 * math.sqrt((many - 1) / many * sum((one - mean) ** 2 for one in without))
    return value - width, value + width


def interval(
    right: Float[Tensor, "point"], condition: Condition, group: Int[Tensor, "point"],
    generator: torch.Generator, draws: int = _DRAWS,
) -> tuple[float, float]:  # fmt: skip
    """Of `by_condition`: percentile bootstrap over groups (documents, or single points), 95 %.

    Readers stay as they were fitted.
    """
    there = condition >= 0
    _, owner = group[there].unique(return_inverse=True)
    many, conditions = int(owner.max()) + 1, int(condition.max()) + 1
    place = owner * conditions + condition[there]
    sums = torch.zeros(many * conditions, dtype=torch.float64).index_add(0, place, right[there])
    counts = torch.bincount(place, minlength=many * conditions).double()
    sums, counts = sums.view(many, conditions), counts.view(many, conditions)
    shares = []
    for _ in range(draws):
        times = torch.bincount(torch.randint(many, (many,), generator=generator), minlength=many)
        inside = times.double() @ counts
        means = (times.double() @ sums)[inside > 0] / inside[inside > 0]
        shares.append(means.mean())
    low, high = torch.quantile(torch.stack(shares), torch.tensor([0.025, 0.975]).double()).tolist()
    return low, high


# --- parallelism ---------------------------------------------------------------------------------


def parallelism(means: Float[Tensor, "condition width"], side: Sides) -> float:
    """Largest mean cosine between the differences of paired conditions, over all pairings.

    Up to `MOST_PAIRED` conditions on a side; with more, conditions are paired in their order. Where
    there is one pair it has nothing to be parallel to, and the answer is not a number.
    """
    high, low = means[side].double(), means[~side].double()
    many = len(high)
    if many < 2:
        return math.nan
    order = torch.arange(many)[None]
    if many <= MOST_PAIRED:
        order = torch.tensor(list(permutations(range(many))))
    offsets = torch.nn.functional.normalize(high[None] - low[order], dim=-1)
    whole = offsets.sum(1).square().sum(-1) - offsets.square().sum((1, 2))
    return float((whole / (many * (many - 1))).max())
