"""Dictionary: what every dictionary promises."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from monosemy.foundation.errors import UserError
from monosemy.tensors import kernels
from monosemy.tensors.axes import Activations, Float, Latents, Tensor
from monosemy.tensors.codes import SparseCode


class Dictionary(nn.Module, ABC):
    """A set of directions, and a way to write an activation as a sparse sum of them.

    ``x ≈ sum_i f_i W_dec[i] + b_dec`` with few ``f_i`` different from zero.

    Attributes
    ----------
    W_dec : the directions, one row a latent.
    b_dec : what is decoded when no latent is active.
    metadata : where the dictionary comes from (model, site, ...); kept in its file.
    """

    W_dec: Float[Tensor, "latent width"]
    b_dec: Float[Tensor, "width"]

    def __init__(self) -> None:
        super().__init__()
        self.metadata: dict[str, object] = {}

    @property
    def width(self) -> int:
        """Numbers in an activation (d)."""
        return self.W_dec.shape[1]

    @property
    def latents(self) -> int:
        """Entries of the dictionary (m)."""
        return self.W_dec.shape[0]

    @abstractmethod
    def code(self, x: Activations) -> SparseCode:
        """The sparse code of each token. Differentiable in the parameters."""

    def encode(self, x: Activations) -> Latents:
        """The code with its zeros written out."""
        return self.code(x).dense()

    def decode(self, code: SparseCode | Latents) -> Activations:
        """``code W_dec + b_dec``."""
        if isinstance(code, SparseCode):
            return kernels.decode(code, self.W_dec, self.b_dec)
        return code @ self.W_dec + self.b_dec

    def forward(self, x: Activations) -> Activations:
        """The reconstruction of `x`."""
        return self.decode(self.code(x))

    def directions(self) -> Float[Tensor, "latent width"]:
        """Decoder rows scaled to length one."""
        return nn.functional.normalize(self.W_dec.detach(), dim=1)

    def check_width(self, width: int, where: str) -> None:
        """`UserError` unless activations of `width` numbers fit."""
        if width != self.width:
            raise UserError(
                f"{where} has {width:,} numbers an activation, the dictionary {self.width:,}; "
                "name the site it was trained on"
                + (f" ({self.metadata['hook_name']})" if "hook_name" in self.metadata else "")
            )
