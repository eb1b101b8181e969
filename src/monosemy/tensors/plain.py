"""The visible twin of every kernel: dense torch, a line or three each. Tests compare the two."""

from __future__ import annotations

import torch

from monosemy.tensors.axes import Float, Tensor


def pre_activations(
    x: Float[Tensor, "token width"],
    W_enc: Float[Tensor, "latent width"],
    b_enc: Float[Tensor, "latent"],
    shift: Float[Tensor, "width"],
) -> Float[Tensor, "token latent"]:
    """``W_enc (x - shift) + b_enc``."""
    return (x - shift) @ W_enc.T + b_enc


def decode(
    full: Float[Tensor, "token latent"],
    W_dec: Float[Tensor, "latent width"],
    b_dec: Float[Tensor, "width"],
) -> Float[Tensor, "token width"]:
    """``code W_dec + b_dec``."""
    return full @ W_dec + b_dec


def batch_topk_mask(full: Float[Tensor, "token latent"], count: int) -> Tensor:
    """Where the `count` largest entries of the whole matrix are."""
    mask = torch.zeros(full.numel(), dtype=torch.bool, device=full.device)
    return mask.index_fill(0, full.flatten().topk(count).indices, True).view_as(full)
