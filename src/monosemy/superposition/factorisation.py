"""Do variables share their code across conditions? Variance, subspaces, and a rule that names the code.

Everything is computed from the mean activation of every condition in two halves of the samples. A
product of one half with the other has no bias from noise, because the noise of the halves is
independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Bool, Float, Int, Tensor

GLOBAL = "global: one linear code in every context"
SEPARATE = "local: a subspace of its own in each context"
TURNED = "local: one subspace, turned in each context"
UNSTRUCTURED = "unstructured: every condition has a place of its own"
CONDITIONAL = "conditional: too few values to say of what kind"
KINDS = (GLOBAL, SEPARATE, TURNED, UNSTRUCTURED, CONDITIONAL)

# The rule; fixed before any real model was looked at.
COMMON, LOW_DIMENSIONAL, OVERLAPPING = 0.5, 0.6, 0.5
# Of the variance of the other variables, for the subspace that factorisation looks at.
_SHARE = 0.9


@dataclass(frozen=True, eq=False)
class Grid:
    """Mean activations of all combinations of the values of some variables.

    Attributes
    ----------
    means : half of the samples × values of each variable × width.
    names, values : of the variables.
    counts : samples of each combination, both halves.
    """

    means: Float[Tensor, "2 *values width"]
    names: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    counts: Int[Tensor, "*values"]

    @classmethod
    def of(
        cls, x: Float[Tensor, "point width"], labels: Int[Tensor, "point variable"],
        half: Bool[Tensor, "point"], names: Sequence[str], values: Sequence[Sequence[str]],
    ) -> Grid:  # fmt: skip
        """From samples.

        Errors
        ------
        `UserError` where a combination has no sample in a half, naming each, and for variables with
        fewer than two values.
        """
        shape = [len(some) for some in values]
        reasons = [f"variable {name!r} has {size} value; wanted at least 2"
                   for name, size in zip(names, shape, strict=True) if size < 2]  # fmt: skip
        refuse(reasons, "these labels")
        place = ravel(labels, shape)
        size = math.prod(shape)
        means, counts = [], []
        for chosen in (half, ~half):
            many = torch.bincount(place[chosen], minlength=size)
            sums = torch.zeros(size, x.shape[1], dtype=torch.float64)
            sums.index_add_(0, place[chosen], x[chosen].double())
            means.append(sums / many[:, None].clamp_min(1))
            counts.append(many)
        empty = torch.nonzero((counts[0] == 0) | (counts[1] == 0)).flatten().tolist()
        reasons = [f"no sample of {_named(cell, names, values)} in one of the halves"
                   for cell in empty[:5]]  # fmt: skip
        refuse(reasons, "these labels")
        stacked = torch.stack(means).view(2, *shape, x.shape[1])
        return cls(stacked, tuple(names), tuple(tuple(some) for some in values),
                   sum(counts).view(shape))  # type: ignore[union-attr]  # fmt: skip

    def by(self, variable: int) -> Float[Tensor, "2 value context width"]:
        """Means with this variable first, all combinations of the others as contexts."""
        return self.means.movedim(1 + variable, 1).flatten(2, -2)


def ravel(labels: Int[Tensor, "point variable"], shape: Sequence[int]) -> Int[Tensor, "point"]:
    """The number of each combination, the last variable running fastest."""
    place = torch.zeros(len(labels), dtype=torch.int64)
    for column, size in enumerate(shape):
        place = place * size + labels[:, column]
    return place


def _named(cell: int, names: Sequence[str], values: Sequence[Sequence[str]]) -> str:
    said = []
    for name, some in reversed(list(zip(names, values, strict=True))):
        cell, at = divmod(cell, len(some))
        said.append(f"{name} = {some[at]}")
    return ", ".join(reversed(said))


# --- variance ------------------------------------------------------------------------------------


def variance_shares(grid: Grid) -> dict[str, float]:
    """Shares of the variance between conditions: each variable's main effect, and what is left.

    A main effect is the variance of the means over all other variables; what is left is
    ``interaction``. Noise is taken out by the two halves, so shares may fall slightly below zero.
    """
    centred = grid.means.flatten(1, -2)
    centred = centred - centred.mean(1, keepdim=True)
    total = float((centred[0] * centred[1]).sum(-1).mean())
    found = {}
    for number, name in enumerate(grid.names):
        main = grid.by(number).mean(2)
        main = main - main.mean(1, keepdim=True)
        found[name] = float((main[0] * main[1]).sum(-1).mean()) / total
    return {**found, "interaction": 1 - sum(found.values())}


def factorisation(grid: Grid, variable: int) -> dict[str, float]:
    """How far a variable's variance lies outside the others' subspace, and how small it is.

        factorisation  1 - var(a in the subspace of the others) / var(a)
        invariance     1 - var(a) / var(others)

    (Lindsey and Issa 2024). ``var(a)`` is the variance over the values of `variable` in one context,
    averaged over contexts; the others' subspace holds 90 % of their variance.
    """
    by = grid.by(variable)
    own, others = by - by.mean(1, keepdim=True), by - by.mean(2, keepdim=True)
    cross = _second(others[0], others[1])
    axes = _axes(cross)
    values = torch.linalg.eigvalsh(cross).flip(0).clamp_min(0)
    kept = int((values.cumsum(0) < _SHARE * values.sum()).sum()) + 1
    inside = axes[:, :kept]
    variance = _inner(own[0], own[1])
    return {
        "factorisation": 1 - _inner(own[0] @ inside, own[1] @ inside) / variance,
        "invariance": 1 - variance / _inner(others[0], others[1]),
        "dimensions_of_others": kept,
    }


def _inner(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum(-1).mean())


def _second(a: Tensor, b: Tensor) -> Float[Tensor, "width width"]:
    """Symmetric cross moment of two halves."""
    a, b = a.flatten(0, -2), b.flatten(0, -2)
    moment = a.T @ b / len(a)
    return (moment + moment.T) / 2


def _axes(moment: Float[Tensor, "width width"]) -> Float[Tensor, "width width"]:
    """Eigenvectors as columns, the largest first."""
    return torch.linalg.eigh(moment).eigenvectors.flip(1)


# --- subspaces -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sharing:
    """What a variable's code in one context has to do with its code in another.

    Attributes
    ----------
    common : ``C``, mean over pairs of contexts of the inner product of the variable's patterns, over
        their variance: 1 where patterns are the same in every context, 0 where they have nothing in
        common.
    dimensions : participation ratio of the variable's variance inside a context.
    share : `dimensions` over the most there can be, values - 1.
    overlap : mean squared cosine of the principal angles between the subspaces of two contexts.
    overlap_of_chance : of random subspaces of as many dimensions, ``r / width``.
    angle : of `overlap`, in degrees.
    values, contexts : how many.
    kind : by the rule of `kind_of`.
    """

    common: float
    dimensions: float
    share: float
    overlap: float
    overlap_of_chance: float
    angle: float
    values: int
    contexts: int
    kind: str

    def to_json(self) -> dict[str, Any]:
        """Every attribute."""
        return dict(vars(self))


def sharing(grid: Grid, variable: int) -> Sharing:
    """Compare a variable's code between contexts.

    With ``D_k[v]`` the mean of value v in context k, less the mean over values:

        C = mean over k ≠ l of Σ_v D_k[v]·D_l[v]  /  mean over k of Σ_v D_k[v]·D_k[v]

    (the lower product from the two halves). It is 1 for an additive code and 0 for subspaces that
    have nothing in common. The subspace of a context has as many dimensions as the participation
    ratio ``tr(M)² / tr(M²)`` says, rounded.
    """
    by = grid.by(variable)
    D = (by - by.mean(1, keepdim=True)).movedim(2, 1)  # half, context, value, width
    contexts, values = D.shape[1], D.shape[2]
    whole = D.mean(0)
    patterns = whole.flatten(1)
    gram = patterns @ patterns.T
    cross = float((gram.sum() - gram.diagonal().sum()) / (contexts * (contexts - 1)))
    common = cross / float((D[0] * D[1]).sum((1, 2)).mean())
    ratio = _participation(D)
    rank = max(1, min(round(ratio), values - 1))
    bases = torch.linalg.svd(whole, full_matrices=False).Vh[:, :rank]
    overlaps = [float((bases[k] @ bases[m].T).square().sum()) / rank
                for k in range(contexts) for m in range(k)]  # fmt: skip
    overlap = sum(overlaps) / len(overlaps)
    share = ratio / (values - 1)
    return Sharing(
        common, ratio, share, overlap, rank / whole.shape[2],
        math.degrees(math.acos(min(max(overlap, 0.0), 1.0) ** 0.5)), values, contexts,
        kind_of(common, share, overlap, values),
    )  # fmt: skip


def _participation(D: Float[Tensor, "2 context value width"]) -> float:
    """Mean over contexts of ``tr(M)² / tr(M²)``, M a cross moment of the halves, without noise.

    Of values rather than of coordinates, because there are fewer.
    """
    found = []
    for a, b in zip(D[0], D[1], strict=True):
        # tr(M) and tr(M²) for M = (AᵀB + BᵀA) / 2: noise of a and of b never meets itself in tr(M).
        gram = a @ b.T
        sizes = torch.linalg.eigvalsh((gram + gram.T) / 2).clamp_min(0)
        found.append(float(sizes.sum().square() / sizes.square().sum().clamp_min(1e-30)))
    return sum(found) / len(found)


def kind_of(common: float, share: float, overlap: float, values: int) -> str:
    """The rule that names a code.

    1. ``common >= 0.5``: *global*, one linear code in every context.
    2. Else, of a variable with fewer than four values nothing more can be said: *conditional*.
    3. Else ``share > 0.6``: the values fill the dimensions they can fill, *unstructured*.
    4. Else *local*: ``overlap >= 0.5`` one subspace that is turned, below it *separate* subspaces.
    """
    if common >= COMMON:
        return GLOBAL
    if values < 4:
        return CONDITIONAL
    if share > LOW_DIMENSIONAL:
        return UNSTRUCTURED
    return TURNED if overlap >= OVERLAPPING else SEPARATE
