"""PCA, ICA, neurons, random directions: the same questions, honest comparisons."""

from __future__ import annotations

import warnings

import torch

from monosemy.dictionaries.flat import FlatDictionary, random_unit_rows
from monosemy.dictionaries.selection import SignedTopK, TopK
from monosemy.foundation.errors import UserError
from monosemy.tensors.axes import Activations, Float, Tensor

# Rows that one scale is fitted on: more would not change it, and cost a matrix of pre-activations.
_FITTED = 8192
# Rows that independent components are fitted on: every round goes through all of them.
_MIXED = 16384
# Variances below this share of the largest are rounding errors.
_NO_VARIANCE = 1e-9


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


def independent_components(
    rows: Activations, k: int, generator: torch.Generator, rounds: int = 200
) -> FlatDictionary:
    """Independent components about the mean: for each token the `k` that weigh most.

    FastICA (Hyvärinen and Oja 2000; scikit-learn's, with ``log cosh``) finds a rotation `R` of the
    whitened activations that makes them as little Gaussian as it can. With the principal axes `E`
    and standard deviations `s`, components are read with ``R diag(1/s) E`` and written with
    ``R diag(s) E``, whose rows are scaled to length one, so that an activation is what it adds to
    the reconstruction. All together they reconstruct exactly.

    Parameters
    ----------
    rows : activations to fit on; at most 16,384 evenly spaced ones are used. As many components as
        they vary in.
    k : components that a token keeps, by magnitude.
    generator : draws where the rotation begins.
    rounds : at most. Where they do not suffice, a `UserWarning` says so, and
        ``metadata["ica_converged"]`` is false: another seed would then give other components.

    Errors
    ------
    `UserError` where all rows are the same.
    """
    # Rounding makes the mean of equal rows differ from them, so a variance alone cannot tell.
    if len(rows) < 2 or bool((rows == rows[0]).all()):
        raise UserError(
            f"all {len(rows):,} activations are the same, so they have no components; "
            "name another site"
        )
    sample = rows[:: -(-len(rows) // _MIXED)].double()
    mean = sample.mean(0)
    variances, axes = torch.linalg.eigh(torch.cov(sample.T).reshape(len(mean), -1))
    varied = variances > _NO_VARIANCE * variances[-1]
    spread, axes = variances[varied].sqrt()[:, None], axes.T[varied]
    rotation, converged = _rotation((sample - mean) @ (axes / spread).T, generator, rounds)
    reads, writes = rotation @ (axes / spread), rotation @ (axes * spread)
    length = writes.norm(dim=1, keepdim=True)
    W_enc, W_dec = (reads * length).to(rows).contiguous(), (writes / length).to(rows).contiguous()
    b_enc = torch.zeros_like(W_dec[:, 0])
    kept = SignedTopK(min(k, len(W_dec)))
    dictionary = FlatDictionary(W_enc, b_enc, W_dec, mean.to(rows), kept)
    dictionary.metadata["ica_converged"] = converged
    return dictionary


def _rotation(
    white: Float[Tensor, "token component"], generator: torch.Generator, rounds: int
) -> tuple[Float[Tensor, "component component"], bool]:
    """FastICA of whitened activations, and whether it converged."""
    # Half a second, for those who ask for it.
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    begin = torch.randn(white.shape[1], white.shape[1], generator=generator, dtype=white.dtype)
    ica = FastICA(whiten=False, max_iter=rounds, w_init=begin.numpy())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ConvergenceWarning)
        ica.fit(white.cpu().numpy())
    converged = not any(issubclass(one.category, ConvergenceWarning) for one in said)
    if not converged:
        warnings.warn(
            f"independent components did not settle within {rounds} rounds on {len(white):,} "
            "activations: another seed would give others; give more rounds",
            stacklevel=3,
        )
    return torch.from_numpy(ica.components_).to(white), converged


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
