"""What it costs to read a feature where it stands: dimensions, noise from others, weights.

Each is measured on the stream behind the MLP that moves features, before and after a move and in every
control, by the same function. A mere change of basis cannot improve those that are called invariant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Float, Int, Tensor

KS = (1, 2, 4, 8)
_RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Decodability:
    """Held-out R² of linear readings of k dimensions.

    Attributes
    ----------
    ks : the dimensions.
    axes : from the k axes of the stream that together read best, chosen greedily on other documents.
    subspace : from k dimensions of partial least squares, any directions; invariant.
    whole : from all dimensions; invariant.
    axes_interval, subspace_interval, whole_interval : 95 % of the mean over features, documents drawn
        again.
    """

    ks: tuple[int, ...]
    axes: Float[Tensor, "k feature"]
    subspace: Float[Tensor, "k feature"]
    whole: Float[Tensor, "1 feature"]
    axes_interval: list[tuple[float, float]]
    subspace_interval: list[tuple[float, float]]
    whole_interval: list[tuple[float, float]]

    def to_json(self) -> dict[str, object]:
        """Means over features by k, with their intervals."""
        return {
            "k": list(self.ks),
            "axes": self.axes.mean(1).tolist(),
            "axes_interval": [list(pair) for pair in self.axes_interval],
            "subspace": self.subspace.mean(1).tolist(),
            "subspace_interval": [list(pair) for pair in self.subspace_interval],
            "whole": float(self.whole.mean()),
            "whole_interval": list(self.whole_interval[0]),
        }


def decodability(
    x: Float[Tensor, "token width"],
    values: Float[Tensor, "token feature"],
    document: Int[Tensor, "token"],
    ks: Sequence[int] = KS,
    seed: int = 0,
) -> Decodability:
    """How well each feature is read from `x` by k dimensions; fitted on every second document.

    ``R² = 1 - Σ (z - ẑ)² / Σ (z - mean z)²`` over the tokens of the other documents, the mean that of
    the fitted ones. *Axes*: forward selection by the largest correlation with what is left (orthogonal
    matching pursuit, Pati et al. 1993). *Subspace*: least squares in the Krylov space of
    ``C, c, C c, ...`` with ``C`` the covariance of x and ``c`` that of x with z, which is partial least
    squares (Helland 1988).

    Errors
    ------
    `UserError` for fewer than four documents, and more dimensions than `x` has.
    """
    known = document.unique()
    many = x.shape[1]
    reasons = []
    if len(known) < 4:
        reasons.append(f"{len(known)} documents; wanted at least 4, half of them to fit on")
    if max(ks) > many:
        reasons.append(f"{max(ks)} dimensions of a stream of {many}")
    refuse(reasons, "this reading")
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))
    fitted = torch.isin(document, known[order[::2]])
    x, z = x.double(), values.double()
    mean_x, mean_z = x[fitted].mean(0), z[fitted].mean(0)
    x, z = x - mean_x, z - mean_z
    covariance = x[fitted].T @ x[fitted] / int(fitted.sum())
    covariance.diagonal().add_(1e-9 * float(covariance.diagonal().mean()) + 1e-15)
    c = x[fitted].T @ z[fitted] / int(fitted.sum())
    whole = [torch.linalg.solve(covariance, c)]
    found, intervals = list[Tensor](), list[list[tuple[float, float]]]()
    for weights in (_by_axes(covariance, c, ks), _by_krylov(covariance, c, ks), whole):
        error = torch.stack([(z[~fitted] - x[~fitted] @ w).square() for w in weights])
        r2, low, high = _r2(error, z[~fitted].square(), document[~fitted], seed)
        found.append(r2)
        intervals.append(list(zip(low.tolist(), high.tolist(), strict=True)))
    axes, subspace, everything = found
    return Decodability(tuple(ks), axes, subspace, everything, *intervals)


def _by_axes(
    covariance: Tensor, c: Tensor, ks: Sequence[int]
) -> list[Float[Tensor, "width feature"]]:
    width, features = c.shape
    chosen = torch.zeros(features, 0, dtype=torch.int64)
    scale = covariance.diagonal().sqrt()[:, None]
    found, left = [], c.clone()
    for k in range(1, max(ks) + 1):
        best = (left / scale).abs().scatter(0, chosen.T, -1.0).argmax(0)
        chosen = torch.cat([chosen, best[:, None]], 1)
        square = covariance[chosen[:, :, None], chosen[:, None, :]]
        part = torch.linalg.solve(square, c.T.gather(1, chosen))
        weights = torch.zeros(features, width, dtype=c.dtype).scatter(1, chosen, part).T
        left = c - covariance @ weights
        if k in ks:
            found.append(weights)
    return found


def _by_krylov(
    covariance: Tensor, c: Tensor, ks: Sequence[int]
) -> list[Float[Tensor, "width feature"]]:
    basis: list[Tensor] = []  # each (feature, width), orthonormal one after another
    vector, found = c.T, []
    for k in range(1, max(ks) + 1):
        for _ in range(2):  # once more for rounding
            for one in basis:
                vector = vector - (vector * one).sum(1, keepdim=True) * one
        vector = vector / vector.norm(dim=1, keepdim=True).clamp_min(1e-300)
        basis.append(vector)
        if k in ks:
            q = torch.stack(basis, 2)  # feature, width, k
            small = q.transpose(1, 2) @ (covariance @ q)
            small.diagonal(dim1=1, dim2=2).add_(1e-15)
            part = torch.linalg.solve(small, q.transpose(1, 2) @ c.T[:, :, None])
            found.append((q @ part).squeeze(2).T)
        vector = vector @ covariance
    return found


def _r2(
    error: Float[Tensor, "k token feature"],
    total: Float[Tensor, "token feature"],
    document: Int[Tensor, "token"],
    seed: int,
) -> tuple[Float[Tensor, "k feature"], np.ndarray, np.ndarray]:
    known, where = document.unique(return_inverse=True)
    by_error = torch.zeros(len(known), *error.shape[::2], dtype=torch.float64)
    by_error.index_add_(0, where, error.transpose(0, 1))
    by_total = torch.zeros(len(known), total.shape[1], dtype=torch.float64)
    by_total.index_add_(0, where, total)
    draw = np.random.default_rng(seed)
    times = torch.from_numpy(
        draw.multinomial(len(known), np.full(len(known), 1 / len(known)), _RESAMPLES)
    ).double()
    errors = (times @ by_error.flatten(1)).unflatten(1, by_error.shape[1:])
    totals = times @ by_total
    # A feature that fires in none of the documents drawn has no R² there.
    share = torch.where(totals[:, None] > 0, errors / totals[:, None].clamp_min(1e-300), torch.nan)
    means = (1 - share).nanmean(2)
    low, high = np.nanpercentile(means.numpy(), [2.5, 97.5], axis=0)
    return 1 - by_error.sum(0) / by_total.sum(0).clamp_min(1e-300), low, high


def interference(
    reading: Float[Tensor, "token feature"], values: Float[Tensor, "token feature"]
) -> Float[Tensor, "feature"]:
    """``Var[r | z = 0] / (E[r | z > 0] - E[r | z = 0])²``: noise from others over the signal squared.

    `reading` is the stream along the direction on which the feature stands. NaN where it never fires,
    or always.
    """
    fires = values > 0
    count, silent = fires.sum(0).double(), (~fires).sum(0).double()
    r = reading.double()
    on = (r * fires).sum(0) / count
    off = (r * ~fires).sum(0) / silent
    noise = ((r - off).square() * ~fires).sum(0) / silent
    return torch.where((count > 0) & (silent > 0), noise / (on - off).square(), torch.nan)


def reading_weights(
    reader: Float[Tensor, "out width"], directions: Float[Tensor, "feature width"]
) -> tuple[Float[Tensor, "feature"], Float[Tensor, "feature"]]:
    """How strongly `reader` reads each unit direction, and how many of its weights do.

    Strength: ``|W u|``. Number: the participation ratio ``(Σ s)² / Σ s²`` of ``s_ij = (W_ij u_j)²``. An
    axis of its own is read by at most the ``out`` weights of one column, a spread direction by up to
    ``out · width``.
    """
    units = (directions / directions.norm(dim=1, keepdim=True)).double()
    squares = reader.double().square()
    u2 = units.square()
    first = squares.sum(0) @ u2.T
    second = squares.square().sum(0) @ u2.square().T
    return (units @ reader.double().T).norm(dim=1), first.square() / second.clamp_min(1e-300)


def reach(curve: Sequence[tuple[float, float]], level: float) -> float | None:
    """Tokens after which the loss is at or below `level` to the end, between readings linearly.

    `None` where it ends above. `curve` is (tokens, loss), tokens rising. To the end, because training
    may begin by going up from where the model came from.
    """
    above = max((place for place, (_, loss) in enumerate(curve) if loss > level), default=-1)
    if above == len(curve) - 1:
        return None
    if above < 0:
        return curve[0][0]
    (before, high), (after, low) = curve[above], curve[above + 1]
    return before + (after - before) * (high - level) / (high - low)
