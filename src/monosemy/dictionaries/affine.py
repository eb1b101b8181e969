"""The best map without any latent: the control of a transcoder."""

from __future__ import annotations

import torch

from monosemy.dictionaries.selection import TopK
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.tensors.axes import Float, Tensor


def affine_map(x: Float[Tensor, "token width"], y: Float[Tensor, "token written"]) -> Transcoder:
    """``ŷ = W_skip x + b_dec`` by least squares, as a skip transcoder with one latent that is silent.

    ``W_skip = Cov(y, x) Cov(x)⁺``: what a transcoder has to beat before its latents say anything.
    Directions that `x` does not have are left out (eigenvalues below a millionth of the largest).
    """
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = (x - mean_x).double()
    within = centred.T @ centred
    across = centred.T @ (y - mean_y).double()
    W_skip = (torch.linalg.pinv(within, rtol=1e-6, hermitian=True) @ across).T.to(y)
    nothing = torch.zeros(1).to(x)
    return Transcoder(
        torch.zeros(1, x.shape[1]).to(x), nothing, torch.zeros(1, y.shape[1]).to(y),
        mean_y - W_skip @ mean_x, TopK(1), W_skip,
    ).eval()  # fmt: skip
