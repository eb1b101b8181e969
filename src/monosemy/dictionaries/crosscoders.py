"""Several places side by side, written by shared latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from monosemy.dictionaries.base import Dictionary, misfits
from monosemy.dictionaries.selection import Selection
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors import kernels
from monosemy.tensors.axes import Activations, Float, Int, Tensor
from monosemy.tensors.codes import SparseCode


class Crosscoder(Dictionary):
    """``f = select(W_enc (x - b_dec) + b_enc)``, ``x̂ = f W_dec + b_dec``, ``x = [x_1, ..., x_P]``.

    The parts of `x` are several sites of one model, or one site of several models on the same
    tokens (Lindsey et al. 2024, "Sparse Crosscoders for Cross-Layer Features and Model Diffing").
    Every latent reads and writes all parts; how much it writes of each says where it lives
    (`relative_norms`).

    Differences: an offset is subtracted before encoding unless `centred` is off; while training a
    row of `W_dec` has length one over all parts together, so it is the balance between parts that
    is learned. The sparsity penalty is theirs: see `training_code`.

    Parameters
    ----------
    W_enc, b_enc : the encoder of all parts side by side.
    W_dec, b_dec : the directions of all parts side by side, and their offset.
    selection : which pre-activations survive.
    widths : numbers in each part, in order.
    centred, weighing : see `Dictionary`.
    scales : what each part was multiplied by while it was learned from; `None` for one each. Parts
        of different size are compared in these units.

    Errors
    ------
    `UserError` where shapes disagree or the selection does not fit, all reasons at once.
    """

    def __init__(
        self,
        W_enc: Float[Tensor, "latent width"],
        b_enc: Float[Tensor, "latent"],
        W_dec: Float[Tensor, "latent width"],
        b_dec: Float[Tensor, "width"],
        selection: Selection,
        widths: Sequence[int],
        centred: bool = True,
        weighing: str = "none",
        scales: Sequence[float] | None = None,
    ):
        super().__init__()
        latents, width = W_dec.shape
        wanted = {"W_enc": (latents, width), "b_enc": (latents,), "b_dec": (width,)}
        given = {"W_enc": W_enc, "b_enc": b_enc, "b_dec": b_dec}
        reasons = misfits(W_dec, given, wanted) + selection.refuse_for(latents)
        if sum(widths) != width or min(widths, default=0) < 1:
            reasons.append(
                f"parts of {list(widths)} numbers; wanted parts of at least 1 that add up to the "
                f"{width:,} of W_dec"
            )
        if scales is not None and len(scales) != len(widths):
            reasons.append(f"{len(scales)} scales for {len(widths)} parts; wanted one each")
        refuse(reasons, "this crosscoder")
        self.W_enc = nn.Parameter(W_enc)
        self.b_enc = nn.Parameter(b_enc)
        self.W_dec = nn.Parameter(W_dec)
        self.b_dec = nn.Parameter(b_dec)
        self.selection = selection
        self.widths = tuple(widths)
        self.centred = centred
        self.weighing = weighing
        self.scales = tuple(scales) if scales is not None else (1.0,) * len(self.widths)

    def code(self, x: Activations) -> SparseCode:
        """See the class."""
        return self._weighed(self.selection.activate(self._linear(x)))

    def training_code(self, x: Activations) -> tuple[SparseCode, dict[str, Tensor]]:
        """The code, and what training may be asked to keep small.

        ``l1 = mean sum_i f_i sum_p |W_dec[i, p]| / sqrt(width)``: the norms of the parts are
        summed, so a latent that writes several parts pays for each and has reason to leave one.
        """
        self.selection.measure = replace(self.selection.measure, lengths=self.lengths)
        linear = self._linear(x)
        code = self._weighed(self.selection.activate(linear))
        return code, self.selection.penalties(linear, self.width)

    def lengths(self, chosen: Int[Tensor, "chosen"]) -> Float[Tensor, "chosen"]:
        """``sum_p |W_dec[i, p]|`` of the `chosen` latents."""
        return self.row_length(kernels.take_rows(self.W_dec, chosen))

    def row_length(self, rows: Float[Tensor, "chosen _"]) -> Float[Tensor, "chosen"]:
        """See `Dictionary`: the norms of the parts, summed."""
        return self._part_norms(rows).sum(1)

    @torch.no_grad()
    def decoder_norms(self) -> Float[Tensor, "latent part"]:
        """``|W_dec[i, p]|``: how much latent `i` writes into part `p`, in the units of learning."""
        return self._part_norms(self.W_dec) * self.W_dec.new_tensor(self.scales)

    def relative_norms(self) -> Float[Tensor, "latent part"]:
        """`decoder_norms` as shares of their sum: 1 and 0 for a latent of one part alone.

        With two models, the second column is the relative norm of the crosscoder literature: near
        one half for a shared latent, near 0 or 1 for one that only one of them has. A latent that
        writes nothing has equal shares.
        """
        norms = self.decoder_norms()
        total = norms.sum(1, keepdim=True)
        return torch.where(total > 0, norms / total, 1 / len(self.widths))

    def _part_norms(self, rows: Float[Tensor, "row _"]) -> Float[Tensor, "row part"]:
        return torch.stack([part.norm(dim=1) for part in rows.split(self.widths, dim=1)], 1)

    def fold_(self, read: Units, write: Units) -> Crosscoder:
        """See `Dictionary`; the `scales` remember the units. `UserError` for a whitening."""
        if write.scale.ndim == 2:
            raise UserError(
                "whitening mixes the parts of a crosscoder, so that its latents belong to none of "
                "them; scale each part instead"
            )
        super().fold_(read, write)
        factors = write.scale.detach().expand(self.width).split(self.widths)
        self.scales = tuple(
            scale * float(factor.mean()) for scale, factor in zip(self.scales, factors, strict=True)
        )
        return self
