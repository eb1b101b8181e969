"""PCA, neurons, random directions: the same questions, honest comparisons."""

from __future__ import annotations

import torch

from monosemy.dictionaries.flat import FlatDictionary, random_unit_rows
from monosemy.dictionaries.selection import SignedTopK, TopK
from monosemy.tensors.axes import Activations

# Rows that one scale is fitted on: more would not change it, and cost a matrix of pre-activations.
_FITTED = 8192


def neurons(width: int, k: int) -> FlatDictionary:
    """Each axis of the site as a latent: keep the `k` largest in magnitude, drop the rest."""
    return FlatDictionary.tied(torch.eye(width), torch.zeros(width), SignedTopK(min(k, width)))


def principal_components(rows: Activations, k: int) -> FlatDictionary:
    """Principal axes about the mean: for each token the `k` coordinates largest in magnitude.

    Among all ways of keeping `k` coordinates in an orthonormal basis this one leaves the smallest
    squared error, so it is at least as good as the first `k` components.
    """
    mean = rows.mean(0)
    axes = torch.linalg.eigh(torch.cov(rows.T.double())).eigenvectors.flip(1).T
    axes = axes.to(rows.dtype).contiguous()
    return FlatDictionary.tied(axes, mean, SignedTopK(min(k, len(axes))))


@torch.no_grad()
def random_directions(
    rows: Activations, latents: int, k: int, generator: torch.Generator
) -> FlatDictionary:
    """Random unit directions about the mean; the `k` that match best, scaled to fit.

    One scale for the whole code, by least squares on `rows`:
    ``s = <x - mean, x̂ - mean> / |x̂ - mean|²``, over at most 8,192 evenly spaced ones. Without it,
    overlapping directions overshoot.
    """
    directions = random_unit_rows(latents, rows.shape[1], generator)
    dictionary = FlatDictionary.tied(directions, rows.mean(0), TopK(k))
    sample = rows[:: -(-len(rows) // _FITTED)]
    spread = sample - dictionary.b_dec
    fitted = dictionary(sample) - dictionary.b_dec
    scale = (spread * fitted).sum() / fitted.square().sum().clamp_min(1e-12)
    dictionary.W_enc.mul_(scale)
    return dictionary
