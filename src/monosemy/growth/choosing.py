"""Which features get an axis: named, or chosen by what they suffer where they are."""

from __future__ import annotations

import torch

from monosemy.foundation.errors import nearest, refuse
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.compute import Compute

BY = ("density", "interference", "burden", "chance")
"""Rules: fires most, suffers most crosstalk, is worst read from one axis, drawn at random."""
# Rarer ones fire on too few held-out tokens to measure; denser ones are no features of anything.
LEAST, MOST = 2e-3, 0.1


def unknown_rule(by: str) -> list[str]:
    """Why `by` is no rule."""
    return [] if by in BY else [f"choose by {by!r}; known: {', '.join(BY)}{nearest(by, BY)}"]


def candidates(density: Float[Tensor, "latent"]) -> Int[Tensor, "candidate"]:
    """Latents that fire on 0.2 % to 10 % of tokens."""
    return ((density >= LEAST) & (density <= MOST)).nonzero().flatten()


def choose(
    count: int, among: Int[Tensor, "candidate"], score: Float[Tensor, "candidate"] | None,
    compute: Compute,
) -> Int[Tensor, "feature"]:  # fmt: skip
    """The `count` of `among` with the largest `score`, or drawn at random; in order of their ids.

    Errors
    ------
    `UserError` where there are fewer.
    """
    few = (
        f"{count} features asked for; {len(among)} fire on {LEAST:.1%} to {MOST:.0%} of the tokens"
    )
    refuse([few] if len(among) < count else [], "this choice")
    if score is None:
        draw = compute.generator("allocation/choice")
        picked = torch.randperm(len(among), generator=draw)[:count]
    else:
        picked = score.topk(count).indices
    return among[picked].sort().values


def named(features: list[int], density: Float[Tensor, "latent"]) -> Int[Tensor, "feature"]:
    """Features by id.

    Errors
    ------
    `UserError` with every id that is none, comes twice, or never fires.
    """
    many = len(density)
    reasons = [f"feature {i}: this dictionary has features 0 to {many - 1:,}"
               for i in features if not 0 <= i < many]  # fmt: skip
    reasons += [f"feature {i} is named {features.count(i)} times"
                for i in sorted(set(features)) if features.count(i) > 1]  # fmt: skip
    reasons += [f"feature {i} never fires on the tokens read, so there is nothing to move"
                for i in features if 0 <= i < many and density[i] == 0]  # fmt: skip
    refuse(reasons, "this choice of features")
    return torch.tensor(sorted(features))


def crosstalk(
    code: SparseCode,
    directions: Float[Tensor, "latent width"],
    among: Int[Tensor, "candidate"],
) -> Float[Tensor, "candidate"]:
    """``Var[Σ_{j≠i} z_j <d_j, d_i>] / Var[z_i |d_i|²]`` over the tokens on which i fires.

    How much of what is read along a direction is other features. A feature that fires on fewer than
    two tokens has none.
    """
    d = directions.float()
    written = torch.zeros(code.tokens, d.shape[1])
    written.index_add_(0, code.rows, code.values[:, None].float() * d[code.indices])
    place = torch.full((code.latents,), -1)
    place[among] = torch.arange(len(among))
    at = place[code.indices]
    entries = (at >= 0).nonzero().flatten()
    at, token = at[entries], code.rows[entries]
    own = code.values[entries].float() * d[among].square().sum(1)[at]
    read = torch.cat([(written[t] * d[among[a]]).sum(1)
                      for t, a in zip(token.split(65_536), at.split(65_536), strict=True)])  # fmt: skip
    return _variance(read - own, at, len(among)) / _variance(own, at, len(among)).clamp_min(1e-12)


def _variance(values: Tensor, group: Tensor, groups: int) -> Float[Tensor, "candidate"]:
    count = torch.bincount(group, minlength=groups).double()
    first, second = (
        torch.zeros(groups, dtype=torch.float64).index_add_(0, group, v.double())
        for v in (values, values.square())
    )
    mean = first / count.clamp_min(1)
    found = (second / count.clamp_min(1) - mean.square()).clamp_min(0)
    return torch.where(count < 2, 0.0, found).float()
