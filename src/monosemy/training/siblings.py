"""Giving siblings back what their parent took: directions of latents that fire below another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from torch import nn

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.refined import RefinedDictionary
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, ReLU, Selection
from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Activations, Bool, Float, Int, Tensor
from monosemy.tensors.codes import SparseCode

# A latent's parent fires on at least this share of its tokens, a detection or two missed,
_SHARE = 0.8
# and so much more often that it is no twin.
_MORE = 1.3
# Latents that fire more rarely in the sample have no parent that could be told from chance.
_FIRINGS = 20
# How far activations are rescaled at most, where a latent's scale is hardly determined.
_GAINS = 0.2, 5.0
_HELD = 1e-6
_TOKENS = 8192


@dataclass(frozen=True, eq=False)
class Kinship:
    """Which latent fires below which.

    Attributes
    ----------
    parents : the rarest latent that fires on four fifths of a latent's tokens and 1.3 times as
        often as it; -1 for none.
    shares : on how much of its parent's tokens each latent fires; 0 without one.
    rates : tokens on which each fires, of those that were looked at.
    """

    parents: Int[Tensor, "latent"]
    shares: Float[Tensor, "latent"]
    rates: Float[Tensor, "latent"]

    @property
    def children(self) -> Int[Tensor, "child"]:
        """Latents that have a parent, after their parents."""
        order = self.rates.argsort(descending=True, stable=True)
        return order[self.parents[order] >= 0]

    def overlaps(self) -> Float[Tensor, "latent"]:
        """``p_c / sqrt(1 + sum over siblings of p_s²)``, with ``p`` the shares: see `share_out_`."""
        known = self.parents >= 0
        squares = torch.zeros_like(self.shares)
        squares.index_add_(0, self.parents[known], self.shares[known].square())
        return self.shares / (1 + squares[self.parents.clamp_min(0)]).sqrt()


def kinship(counts: Float[Tensor, "latent latent"]) -> Kinship:
    """From how many tokens each pair of latents (and each latent, on the diagonal) fires on."""
    rates = counts.diagonal()
    given = counts / rates[:, None].clamp_min(1)  # how often the column fires where the row does
    fits = _above(rates) & (given >= _SHARE) & (rates[:, None] >= _FIRINGS)
    best, parents = torch.where(fits, rates, torch.inf).min(1)
    parents = torch.where(best < torch.inf, parents, -1)
    below = counts[torch.arange(len(rates)), parents.clamp_min(0)]
    shares = below / rates[parents.clamp_min(0)].clamp_min(1)
    return Kinship(parents, torch.where(parents >= 0, shares, 0.0), rates)


def share_out_(dictionary: Dictionary, rows: Activations) -> Dictionary:
    """Give latents that fire below another the overlap with it that they should have. In place.

    Where one of several children fires whenever its parent does, nothing in the data says what of
    their mean belongs to whom: ``d_p + d_c = (d_p + m) + (d_c - m)`` with ``m = sum_c p_c d_c`` (shares
    ``p_c`` of the parent's firings). Nested prefixes settle on ``m`` for the parent, so that siblings
    point away from each other. If features are orthonormal, the parent's row ``d_p + m`` has the
    cosine ``p_c / sqrt(1 + sum_s p_s²)`` with ``d_c``, and the child's row none. So each child's row is
    turned towards its parent's until it has it too. (What of ``d_c`` lies in neither row stays lost.)

    The parent writes less in exchange: every latent's activation is scaled by one factor, fitted to
    the rows by least squares, and its threshold with it. So the same latents stay active (with one
    step of explaining away, nearly), and the reconstruction hardly changes.

    Parameters
    ----------
    dictionary : a `FlatDictionary` or `RefinedDictionary` that has learned, selecting by thresholds.
    rows : a sample of activations; some dozens of firings of the rarest child are enough.

    Errors
    ------
    `UserError` for another dictionary, one whose latents are compared with each other by rank, and
    one that is still training.
    """
    refuse(_reasons(dictionary), "this sharing out")
    with torch.no_grad():
        codes = list(_codes(dictionary, rows))
        found = kinship(sum((_together(code) for _, code in codes), torch.zeros(())))
        dictionary.W_dec.copy_(turned(dictionary.directions(), found))
        _rescale_(dictionary, _gains(dictionary, codes))
    return dictionary


def turned(
    directions: Float[Tensor, "latent width"], found: Kinship
) -> Float[Tensor, "latent width"]:
    """Unit rows, those of children turned to the overlap with their parents' that they should have."""
    rows, overlaps = directions.clone(), found.overlaps()
    for child in found.children.tolist():
        parent, overlap = rows[found.parents[child]], overlaps[child]
        across = nn.functional.normalize(rows[child] - (rows[child] @ parent) * parent, dim=0)
        rows[child] = overlap * parent + (1 - overlap**2).sqrt() * across
    return rows


def _gains(
    dictionary: Dictionary, codes: list[tuple[Activations, SparseCode]]
) -> Float[Tensor, "latent"]:
    """``argmin_g sum |x - b_dec - sum_i g_i f_i W_dec[i]|²``, held between a fifth and five."""
    W = dictionary.W_dec.double()
    products, along = torch.zeros(len(W), len(W)).to(W), torch.zeros(len(W)).to(W)
    for x, code in codes:
        full = _matrix(code)
        products += torch.from_numpy((full.T @ full).toarray()).to(W)
        seen = torch.from_numpy(full.T @ (x - dictionary.b_dec).double().cpu().numpy()).to(W)
        along += (seen * W).sum(1)
    system = products * (W @ W.T)
    # Held to one, ever so little, so that a latent that never fired keeps its scale.
    held = _HELD * system.diagonal().mean().clamp_min(1e-30)
    system.diagonal().add_(held)
    along += held
    return torch.linalg.solve(system, along).clamp(*_GAINS).to(dictionary.W_dec)


def _rescale_(dictionary: Dictionary, gains: Float[Tensor, "latent"]) -> None:
    dictionary.W_enc.mul_(gains[:, None])
    dictionary.b_enc.mul_(gains)
    dictionary.selection = _scaled(dictionary.selection, gains)
    if isinstance(dictionary, RefinedDictionary):
        dictionary.first = _scaled(dictionary.first, gains)


def _scaled(selection: Selection, gains: Float[Tensor, "latent"]) -> Selection:
    """The same choice among pre-activations that are `gains` times what they were."""
    if isinstance(selection, BatchTopK):
        return JumpReLU(selection.threshold.to(gains) * gains).eval()
    selection.rescale_(gains)
    return selection


def _codes(dictionary: Dictionary, rows: Activations) -> Iterator[tuple[Activations, SparseCode]]:
    for x in rows.split(_TOKENS):
        yield x, dictionary.code(x)


def _together(code: SparseCode) -> Float[Tensor, "latent latent"]:
    """On how many tokens each pair of latents fires."""
    full = _matrix(code)
    full.data = (full.data > 0).astype(np.float64)
    return torch.from_numpy((full.T @ full).toarray())


def _matrix(code: SparseCode) -> scipy.sparse.csr_array:
    values, places = code.values.double().cpu().numpy(), code.indices.cpu().numpy()
    shape = (code.tokens, code.latents)
    return scipy.sparse.csr_array((values, places, code.offsets.cpu().numpy()), shape=shape)


def _above(rates: Float[Tensor, "latent"]) -> Bool[Tensor, "latent latent"]:
    return rates[None] >= _MORE * rates[:, None]


def _reasons(dictionary: Dictionary) -> list[str]:
    reasons = []
    if (
        not isinstance(dictionary, FlatDictionary | RefinedDictionary)
        or dictionary.weighing != "none"
    ):
        reasons.append(
            f"a {type(dictionary).__name__} (weighing: {dictionary.weighing}) does not say what a "
            "latent's scale is; wanted a FlatDictionary or RefinedDictionary that is not weighed"
        )
    if not isinstance(dictionary.selection, BatchTopK | JumpReLU | ReLU):
        reasons.append(
            f"{dictionary.selection.kind} compares latents with each other, so that none can be "
            "rescaled alone; wanted batchtopk, jumprelu or relu"
        )
    if dictionary.training:
        reasons.append(
            "the dictionary is still training; take the result of the training, which folds its units "
            "and settles its threshold"
        )
    return reasons
