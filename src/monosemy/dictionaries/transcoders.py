"""Dictionaries that read one place and write another: what a layer computes, in sparse steps."""

from __future__ import annotations

import torch
from torch import nn

from monosemy.dictionaries.base import Dictionary, misfits
from monosemy.dictionaries.selection import Selection
from monosemy.dictionaries.units import Units, times
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors import kernels
from monosemy.tensors.axes import Activations, Float, Latents, Tensor, Written
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.prefixes import Prefixes


class Transcoder(Dictionary):
    """``f = select(W_enc x + b_enc)``, ``ŷ = f W_dec + b_dec [+ W_skip x]``.

    Reads what enters a layer and writes what leaves it (Dunefsky et al. 2024, arXiv:2406.11944);
    with `W_skip` a linear path beside the latents (Paulo et al. 2025, arXiv:2501.18823).

    Parameters
    ----------
    W_enc, b_enc : the encoder of what is read.
    W_dec, b_dec : directions and offset of what is written.
    selection : which pre-activations survive.
    W_skip : the linear path, or `None`.
    centred : subtract `b_dec` before encoding, where both places are equally wide (what is trained
        here does not).
    weighing : see `Dictionary`.

    Errors
    ------
    `UserError` where shapes disagree or the selection does not fit, all reasons at once.
    """

    autoencodes = False

    def __init__(
        self,
        W_enc: Float[Tensor, "latent width"],
        b_enc: Float[Tensor, "latent"],
        W_dec: Float[Tensor, "latent written"],
        b_dec: Float[Tensor, "written"],
        selection: Selection,
        W_skip: Float[Tensor, "written width"] | None = None,
        centred: bool = False,
        weighing: str = "none",
    ):
        super().__init__()
        (latents, written), width = W_dec.shape, W_enc.shape[1]
        wanted = {"W_enc": (latents, width), "b_enc": (latents,), "b_dec": (written,)}
        given = {"W_enc": W_enc, "b_enc": b_enc, "b_dec": b_dec}
        if W_skip is not None:
            wanted["W_skip"], given["W_skip"] = (written, width), W_skip
        reasons = misfits(W_dec, given, wanted) + selection.refuse_for(latents)
        if centred and width != written:
            reasons.append(
                f"b_dec has {written:,} numbers and cannot be subtracted from {width:,} that are read"
            )
        refuse(reasons, "this transcoder")
        self.W_enc = nn.Parameter(W_enc)
        self.b_enc = nn.Parameter(b_enc)
        self.W_dec = nn.Parameter(W_dec)
        self.b_dec = nn.Parameter(b_dec)
        self.W_skip = None if W_skip is None else nn.Parameter(W_skip)
        self.selection = selection
        self.centred = centred
        self.weighing = weighing
        self.needs_input = W_skip is not None

    def code(self, x: Activations) -> SparseCode:
        """See the class."""
        return self._weighed(self.selection.activate(self._linear(x)))

    def training_code(self, x: Activations) -> tuple[SparseCode, dict[str, Tensor]]:
        """The code, and what training may be asked to keep small."""
        linear = self._linear(x)
        code = self._weighed(self.selection.activate(linear))
        return code, self.selection.penalties(linear, self.written)

    def decode(self, code: SparseCode | Latents, x: Activations | None = None) -> Written:
        """See the class; `UserError` where there is a skip and no `x`."""
        written = super().decode(code)
        if self.W_skip is None:
            return written
        if x is None:
            raise UserError(
                "a transcoder with a skip writes W_skip x beside its latents, so it needs the "
                "activations that were read; give decode(code, x)"
            )
        return written + x @ self.W_skip.T

    def squared_error(
        self, code: SparseCode, x: Activations, target: Written
    ) -> tuple[Float[Tensor, "token"], Written]:
        """See `Dictionary`; with a skip, the latents are to write what the skip leaves over."""
        if self.W_skip is None:
            return super().squared_error(code, x, target)
        rest = target - self.decode(code, x)
        return rest.square().sum(1), rest.detach()

    def nested_squared_error(
        self, code: SparseCode, x: Activations, target: Written, prefixes: Prefixes
    ) -> tuple[Float[Tensor, "token prefix"], Written]:
        """See `Dictionary`; the skip is part of every prefix."""
        if self.W_skip is None:
            return super().nested_squared_error(code, x, target, prefixes)
        beside = target - self.b_dec - x @ self.W_skip.T
        first, last, rests = prefixes.of(code), len(prefixes) - 1, []
        for part in range(len(prefixes)):
            new = kernels.decode(code.keep(first == part), self.W_dec, 0 * self.b_dec)
            given = prefixes.detached and 0 < part < last
            rests.append((beside.detach() if given else beside) - new)
            beside = beside - new
        return torch.stack([rest.square().sum(1) for rest in rests], 1), rests[-1].detach()

    def fold_(self, read: Units, write: Units) -> Transcoder:
        """See `Dictionary`."""
        if self.W_skip is not None:
            with torch.no_grad():
                # W_skip z, in the units of what is written, as a map of x: A⁻¹ W_skip A.
                self.W_skip.copy_(times(times(self.W_skip, read.scale).T, write.inverse).T)
        super().fold_(read, write)
        if self.W_skip is not None and read.origin is not None:
            with torch.no_grad():
                self.b_dec.sub_(self.W_skip @ read.origin)
        return self
