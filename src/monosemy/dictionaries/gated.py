"""One gate decides which latents are active, another reading of the same product how much."""

from __future__ import annotations

import torch
from torch import nn

from monosemy.dictionaries.base import Dictionary, misfits
from monosemy.dictionaries.selection import ReLU
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import refuse
from monosemy.tensors import kernels
from monosemy.tensors.axes import Activations, Float, Tensor
from monosemy.tensors.codes import SparseCode


class GatedDictionary(Dictionary):
    """``f = [u + b_enc > 0] · ReLU(exp(r_mag) u + b_mag)``, ``u = W_enc (x - b_dec)``.

    Rajamanoharan et al. 2024 (arXiv:2404.16014), whose ``b_gate`` is `b_enc` here. The magnitude
    shares the gate's matrix, so one product serves both. Training asks two things beside the
    reconstruction: a small ``l1 = mean sum_i ReLU(u_i + b_enc_i) / sqrt(width)``, and that the
    gate's own activations reconstruct with the decoder held fixed
    (``gate = mean |x - decode(ReLU(u + b_enc))|²``), which is where the gate gets its gradient.

    Parameters
    ----------
    W_enc, b_enc : the gate.
    r_mag, b_mag : logarithm of the magnitude's scale and its bias, for each latent.
    W_dec, b_dec : the directions and their offset; `b_dec` is also subtracted before encoding.

    Errors
    ------
    `UserError` where shapes disagree, all reasons at once.
    """

    def __init__(
        self,
        W_enc: Float[Tensor, "latent width"],
        b_enc: Float[Tensor, "latent"],
        r_mag: Float[Tensor, "latent"],
        b_mag: Float[Tensor, "latent"],
        W_dec: Float[Tensor, "latent width"],
        b_dec: Float[Tensor, "width"],
    ):
        super().__init__()
        latents, width = W_dec.shape
        wanted = {"W_enc": (latents, width), "b_dec": (width,)}
        wanted |= dict.fromkeys(("b_enc", "r_mag", "b_mag"), (latents,))
        given = {"W_enc": W_enc, "b_dec": b_dec, "b_enc": b_enc, "r_mag": r_mag, "b_mag": b_mag}
        reasons = misfits(W_dec, given, wanted)
        refuse(reasons, "this dictionary")
        self.W_enc = nn.Parameter(W_enc)
        self.b_enc = nn.Parameter(b_enc)
        self.r_mag = nn.Parameter(r_mag)
        self.b_mag = nn.Parameter(b_mag)
        self.W_dec = nn.Parameter(W_dec)
        self.b_dec = nn.Parameter(b_dec)
        self.selection = ReLU()

    @classmethod
    def tied(
        cls, directions: Float[Tensor, "latent width"], b_dec: Float[Tensor, "width"]
    ) -> GatedDictionary:
        """The encoder is the transpose of `directions`; gate and magnitude begin equal."""
        gate, scale, bias = (torch.zeros(len(directions)) for _ in range(3))
        return cls(directions.clone(), gate, scale, bias, directions.clone(), b_dec.clone())

    def code(self, x: Activations) -> SparseCode:
        """See the class. An open gate over a magnitude of zero is no active latent."""
        code = self._magnitudes(self._linear(x))
        return code if self.training else code.keep(code.values > 0)

    def training_code(self, x: Activations) -> tuple[SparseCode, dict[str, Tensor]]:
        """The code, and the two terms of the class."""
        gate = self._linear(x)
        fixed = self.W_dec.detach(), self.b_dec.detach()
        error = kernels.squared_error(gate, *fixed, x)[0]
        terms = self.selection.penalties(gate, self.width) | {"gate": error.mean()}
        return self._magnitudes(gate), terms

    def _magnitudes(self, gate: SparseCode) -> SparseCode:
        u = gate.values - kernels.per_entry(self.b_enc, gate)
        scale = kernels.per_entry(self.r_mag, gate).exp()
        return gate.with_values((scale * u + kernels.per_entry(self.b_mag, gate)).relu())

    def _fold_encoder_(self, read: Units, length: Float[Tensor, "latent"]) -> None:
        super()._fold_encoder_(read, length)
        self.b_mag.mul_(length)
