"""One linear encoder, one decoder, any selection."""

from __future__ import annotations

import torch
from torch import nn

from monosemy.dictionaries.base import Dictionary, misfits
from monosemy.dictionaries.selection import Selection
from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Activations, Float, Tensor
from monosemy.tensors.codes import SparseCode


class FlatDictionary(Dictionary):
    """``f = select(W_enc (x - b_dec) + b_enc)``, ``x̂ = f W_dec + b_dec``.

    A sparse autoencoder (Bricken et al. 2023; Cunningham et al. 2023). Both matrices hold one row
    a latent, because a step touches the rows of active latents only.

    Parameters
    ----------
    W_enc, b_enc : the encoder.
    W_dec, b_dec : the directions and their offset; `b_dec` is also subtracted before encoding.
    selection : which pre-activations survive.
    centred, weighing : see `Dictionary`; what is trained here is centred and not weighed.

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
        centred: bool = True,
        weighing: str = "none",
    ):
        super().__init__()
        latents, width = W_dec.shape
        wanted = {"W_enc": (latents, width), "b_enc": (latents,), "b_dec": (width,)}
        given = {"W_enc": W_enc, "b_enc": b_enc, "b_dec": b_dec}
        reasons = misfits(W_dec, given, wanted)
        refuse(reasons + selection.refuse_for(latents), "this dictionary")
        self.W_enc = nn.Parameter(W_enc)
        self.b_enc = nn.Parameter(b_enc)
        self.W_dec = nn.Parameter(W_dec)
        self.b_dec = nn.Parameter(b_dec)
        self.selection = selection
        self.centred = centred
        self.weighing = weighing

    @classmethod
    def tied(
        cls,
        directions: Float[Tensor, "latent width"],
        b_dec: Float[Tensor, "width"],
        selection: Selection,
    ) -> FlatDictionary:
        """The encoder is the transpose of `directions`, without bias."""
        b_enc = torch.zeros(len(directions))
        return cls(directions.clone(), b_enc, directions.clone(), b_dec.clone(), selection)

    @classmethod
    def random(
        cls, width: int, latents: int, selection: Selection, generator: torch.Generator
    ) -> FlatDictionary:
        """Tied directions drawn evenly from the sphere, no offset."""
        return cls.tied(random_unit_rows(latents, width, generator), torch.zeros(width), selection)

    def code(self, x: Activations) -> SparseCode:
        """See the class."""
        return self._weighed(self.selection.activate(self._linear(x)))

    def training_code(self, x: Activations) -> tuple[SparseCode, dict[str, Tensor]]:
        """The code, and what training may be asked to keep small."""
        linear = self._linear(x)
        code = self._weighed(self.selection.activate(linear))
        return code, self.selection.penalties(linear, self.width)


def random_unit_rows(
    rows: int, width: int, generator: torch.Generator
) -> Float[Tensor, "latent width"]:
    """Directions drawn evenly from the sphere."""
    return nn.functional.normalize(torch.randn(rows, width, generator=generator), dim=1)
