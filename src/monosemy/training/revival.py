"""Which latents died, and how they come back."""

from __future__ import annotations

import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.tensors import plain
from monosemy.tensors.axes import Activations, Bool, Float, Int, Tensor
from monosemy.tensors.codes import SparseCode


class Firing:
    """Counts, for each latent, the tokens since it last fired."""

    def __init__(self, latents: int, window: int, device: str | torch.device = "cpu"):
        self.window = window
        self.silent = torch.zeros(latents, dtype=torch.int64, device=device)

    def see(self, code: SparseCode) -> None:
        """Another batch went by; an entry fires where it is stored with a value above zero."""
        self.silent += code.tokens
        self.silent[code.indices[code.values > 0]] = 0

    @property
    def dead(self) -> Bool[Tensor, "latent"]:
        """Latents that were silent for the whole window."""
        return self.silent >= self.window


def auxiliary_loss(
    dictionary: FlatDictionary,
    x: Activations,
    residual: Activations,
    dead: Int[Tensor, "dead"],
    k: int,
) -> Float[Tensor, ""]:
    """AuxK (Gao et al. 2024, arXiv:2406.04093): dead latents learn what the living leave over.

    ``mean |residual - f_dead W_dec[dead]|² / mean |residual|²``, where ``f_dead`` keeps the `k`
    largest positive pre-activations among the dead latents and the residual is a constant. Only
    the dead rows are multiplied.
    """
    rows = dictionary.W_enc[dead], dictionary.b_enc[dead], dictionary.b_dec
    pre = plain.pre_activations(x, *rows)
    best, where = pre.topk(min(k, len(dead)), dim=1, sorted=False)
    chosen = torch.zeros_like(pre).scatter(1, where, best.relu())
    target = residual.detach()
    error = (target - chosen @ dictionary.W_dec[dead]).square().mean()
    return error / target.square().mean().clamp_min(torch.finfo(target.dtype).tiny)
