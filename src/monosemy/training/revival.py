"""Which latents died, and how they come back."""

from __future__ import annotations

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.tensors.axes import Activations, Bool, Float, Int, Tensor, Written
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


# The share of the encoder's product that AuxK's (there are five) may cost, each.
_SHARE = 0.02


def auxiliary_loss(
    dictionary: Dictionary,
    x: Activations,
    residual: Written,
    dead: Int[Tensor, "dead"],
    k: int,
) -> Float[Tensor, ""]:
    """AuxK (Gao et al. 2024, arXiv:2406.04093): dead latents learn what the living leave over.

    ``mean |residual - f_dead W_dec[dead]|² / mean |residual|²``, where ``f_dead`` keeps the `k`
    largest positive pre-activations among the dead latents and the residual is a constant. Only
    the dead rows are multiplied, and only so many tokens of the batch (its first, so a batch must
    be shuffled) that the step stays cheap however many latents are dead: both means are then
    estimated on a random part of the batch.
    """
    tokens = max(1, min(len(x), round(_SHARE * len(x) * dictionary.latents / len(dead))))
    x, target = x[:tokens], residual[:tokens].detach()
    guess = dictionary.guess_with(x, dead, k)
    error = (target - guess).square().mean()
    return error / target.square().mean().clamp_min(torch.finfo(target.dtype).tiny)
