"""How often latents fire: density, dead and dense latents."""

from __future__ import annotations

import numpy as np
import torch

from monosemy.evaluation.results import ONE_DOCUMENT, Estimate, percentiles, resamples
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.codes import SparseCode

DENSE = 0.1
"""A latent that fires on more than this share of the tokens is dense."""
NAMES = ("dead_fraction", "dense_fraction")
# Counts are kept for each latent and group of documents: enough groups for an interval, few enough
# that a dictionary of 100,000 latents fits in memory.
_GROUPS = 256


class Firing:
    """Gathers how often each latent fires, by group of documents; see `density`, `estimates`.

    Parameters
    ----------
    documents : how many there are; up to 256 each is a group of its own.
    latents : size of the dictionary.
    """

    def __init__(self, documents: int, latents: int):
        self._groups = min(documents, _GROUPS)
        self._latents = latents
        self._fired = torch.zeros(self._groups * latents, dtype=torch.int32)
        self._tokens = torch.zeros(self._groups, dtype=torch.int64)

    def add(self, code: SparseCode, document: Int[Tensor, "token"]) -> Int[Tensor, "token"]:
        """Count in the codes of tokens; returns how many latents are active on each."""
        fires = code.values != 0
        rows, latents = code.rows[fires].cpu(), code.indices[fires].cpu()
        group = document.cpu() % self._groups
        place = group[rows] * self._latents + latents
        self._fired.index_add_(0, place, torch.ones(len(place), dtype=torch.int32))
        self._tokens += torch.bincount(group, minlength=self._groups)
        return torch.bincount(rows, minlength=code.tokens)

    def density(self) -> Float[Tensor, "latent"]:
        """Share of the tokens that each latent fires on."""
        return self._by_group().sum(0) / self._tokens.sum()

    def estimates(self, seed: int) -> dict[str, Estimate]:
        """``dead_fraction`` and ``dense_fraction``."""
        with_text = self._tokens > 0
        counts, tokens = self._by_group()[with_text].numpy(), self._tokens[with_text].numpy()
        return {
            "dead_fraction": dead_fraction(counts > 0),
            "dense_fraction": dense_fraction(counts, tokens, seed),
        }

    def _by_group(self) -> Int[Tensor, "group latent"]:
        return self._fired.view(self._groups, self._latents)


def dead_fraction(fired: np.ndarray) -> Estimate:
    """Share of latents that never fire on the held-out text.

    The interval is the delete-one jackknife's, ``value ± 1.96 se`` within [0, 1]. The bootstrap
    cannot be used: a resample leaves out a third of the documents, so it always finds more dead
    latents than there are, and its interval need not contain the value.

    Parameters
    ----------
    fired : ``[group, latent]``, whether the latent fires in the group of documents.
    """
    groups, latents = fired.shape
    firing_groups = fired.sum(0)
    value = float((firing_groups == 0).mean())
    if groups < 2:
        return Estimate(value, note=ONE_DOCUMENT)
    # Without group g, the latents that fire in g alone are dead too.
    alone = (fired & (firing_groups == 1)).sum(1) / latents
    error = 1.96 * np.sqrt((groups - 1) * alone.var())
    return Estimate(value, max(0.0, value - error), min(1.0, value + error))


def dense_fraction(counts: np.ndarray, tokens: np.ndarray, seed: int) -> Estimate:
    """Share of latents that fire on more than a tenth of the tokens; bootstrap over groups.

    Parameters
    ----------
    counts : ``[group, latent]``, how often the latent fires in the group.
    tokens : of each group.
    """
    value = float((counts.sum(0) > DENSE * tokens.sum()).mean())
    if len(tokens) < 2:
        return Estimate(value, note=ONE_DOCUMENT)
    # A latent that is not dense in any group is not dense in any resample.
    near = (counts > DENSE * tokens[:, None]).any(0)
    exact = counts[:, near].astype(np.float64)
    drawn = [
        (weights @ exact > DENSE * (weights @ tokens)[:, None]).sum(1)
        for weights in resamples(len(tokens), seed)
    ]
    return Estimate(value, *percentiles(np.concatenate(drawn) / counts.shape[1]))
