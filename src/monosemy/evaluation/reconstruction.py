"""How close a reconstruction comes: L0, explained variance (three named forms), cosine, shrinkage.

``x`` is an activation, ``x̂`` its reconstruction, ``|·|`` the Euclidean norm over the width, and
sums run over the kept tokens of held-out text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from monosemy.evaluation.results import Metric
from monosemy.evaluation.sums import Totals, positive
from monosemy.tensors.axes import Activations, Bool, Float, Int, Tensor


def l0(t: Totals) -> np.ndarray:
    """``mean #{i : f_i != 0}``: active latents a token."""
    return t["active"] / t["tokens"]


def explained_variance(t: Totals) -> np.ndarray:
    """``1 - Σ|x - x̂|² / Σ|x - mean|²``, with the mean vector of these very tokens.

    The pooled form: one minus the fraction of variance unexplained. Adding an offset to every
    activation or scaling them all leaves it as it is.
    """
    variance = t["squared_norm"] - np.square(t["sum"]).sum(-1) / t["tokens"]
    # Below the rounding error of the two sums there is no variance to explain.
    return 1 - t["squared_error"] / positive(variance, above=1e-12 * t["squared_norm"])


def explained_variance_per_token(t: Totals) -> np.ndarray:
    """``mean of 1 - |x - x̂|² / |x - mean|²``, with a mean known beforehand.

    A mean of ratios: tokens near the mean weigh most. SAEBench's "legacy" form, there with the
    mean of the batch. Tokens that lie exactly on the mean are left out.
    """
    return t["explained_share"] / positive(t["off_mean"])


def explained_variance_uncentred(t: Totals) -> np.ndarray:
    """``1 - Σ|x - x̂|² / Σ|x|²``.

    Nothing is subtracted, so it rises towards one as activations move away from the origin, for
    any dictionary that knows the offset. Not comparable with the centred forms.
    """
    return 1 - t["squared_error"] / positive(t["squared_norm"])


def cosine(t: Totals) -> np.ndarray:
    """``mean <x, x̂> / (|x| |x̂|)``; 0 where ``x̂ = 0``; tokens with ``x = 0`` are left out."""
    return t["cosine"] / positive(t["nonzero"])


def mse(t: Totals) -> np.ndarray:
    """``mean |x - x̂|²``: summed over the width, averaged over tokens."""
    return t["squared_error"] / t["tokens"]


def l2_ratio(t: Totals) -> np.ndarray:
    """``mean |x̂| / |x|``; below one is shrinkage; tokens with ``x = 0`` are left out."""
    return t["l2_ratio"] / positive(t["nonzero"])


def relative_reconstruction_bias(t: Totals) -> np.ndarray:
    """``Σ|x̂|² / Σ<x, x̂>``: one where no rescaling of ``x̂`` would help, below one is shrinkage.

    Rajamanoharan et al. 2024 (arXiv:2404.16014), where it is called γ.
    """
    return t["squared_norm_reconstruction"] / positive(t["inner"])


METRICS = {
    "l0": Metric(l0),
    "explained_variance": Metric(
        explained_variance, "activations do not vary, so there is no variance to explain"
    ),
    "explained_variance_per_token": Metric(
        explained_variance_per_token, "every activation is equal to the mean"
    ),
    "explained_variance_uncentred": Metric(
        explained_variance_uncentred, "every activation is zero"
    ),
    "cosine": Metric(cosine, "every activation is zero"),
    "mse": Metric(mse),
    "l2_ratio": Metric(l2_ratio, "every activation is zero"),
    "relative_reconstruction_bias": Metric(
        relative_reconstruction_bias, "reconstructions do not point along their activations"
    ),
}


def spread_terms(x: Activations) -> dict[str, Tensor]:
    """What concerns the activations alone, for each token: to be summed by document.

    In float64, because the variance is a small difference of large sums where the mean is large.
    """
    exact = x.double()
    return {"tokens": exact.new_ones(len(x)), "sum": exact, "squared_norm": exact.square().sum(1)}


def fidelity_terms(
    x: Activations,
    reconstruction: Activations,
    active: Int[Tensor, "token"],
    mean: Float[Tensor, "width"],
) -> dict[str, Float[Tensor, "token"] | Bool[Tensor, "token"] | Int[Tensor, "token"]]:
    """What concerns a reconstruction, for each token: to be summed by document.

    Parameters
    ----------
    x, reconstruction : the tokens.
    active : how many latents were active on each.
    mean : for `explained_variance_per_token`.
    """
    norm, norm_hat = x.norm(dim=1), reconstruction.norm(dim=1)
    error = (x - reconstruction).square().sum(1)
    spread = (x - mean.to(x)).square().sum(1)
    inner = (x * reconstruction).sum(1)
    return {
        "active": active,
        "squared_error": error,
        "explained_share": torch.where(spread > 0, 1 - error / spread, 0.0),
        "off_mean": spread > 0,
        "nonzero": norm > 0,
        "cosine": _ratio(inner, norm * norm_hat),
        "l2_ratio": _ratio(norm_hat, norm),
        "squared_norm_reconstruction": norm_hat.square(),
        "inner": inner,
    }


def part_squares(x: Float[Tensor, "token _"], widths: Sequence[int]) -> Float[Tensor, "token part"]:
    """``|x_p|²`` of each part of what lies side by side, in float64."""
    parts = x.double().square().split(list(widths), dim=1)
    return torch.stack([part.sum(1) for part in parts], dim=1)


def explained_variance_of_part(part: int, widths: Sequence[int]) -> Metric:
    """`explained_variance` of one of the parts that lie side by side."""
    first = sum(widths[:part])
    own = slice(first, first + widths[part])

    def formula(t: Totals) -> np.ndarray:
        whole = t["part_norm"][..., part]
        variance = whole - np.square(t["sum"][..., own]).sum(-1) / t["tokens"]
        return 1 - t["part_error"][..., part] / positive(variance, above=1e-12 * whole)

    return Metric(formula, METRICS["explained_variance"].undefined)


def _ratio(above: Float[Tensor, "token"], below: Float[Tensor, "token"]) -> Float[Tensor, "token"]:
    return torch.where(below > 0, above / below, 0.0)
