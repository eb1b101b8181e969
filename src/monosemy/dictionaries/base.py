"""Dictionary: what every dictionary promises."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from monosemy.dictionaries.selection import Selection
from monosemy.foundation.errors import UserError
from monosemy.tensors import kernels
from monosemy.tensors.axes import Activations, Float, Int, Latents, Tensor
from monosemy.tensors.codes import SparseCode


class Dictionary(nn.Module, ABC):
    """A set of directions, and a way to write an activation as a sparse sum of them.

    ``x ≈ sum_i f_i W_dec[i] + b_dec`` with few ``f_i`` different from zero.

    Attributes
    ----------
    W_enc, b_enc : the encoder, one row a latent; what is read off is decided by the class.
    W_dec : the directions, one row a latent.
    b_dec : what is decoded when no latent is active.
    selection : which latents stay active.
    propose : encode in bfloat16 first and decide in full precision among what could survive; not
        a property of the dictionary but of how it is run, and no part of its file.
    metadata : where the dictionary comes from (model, site, ...); kept in its file.
    """

    W_enc: nn.Parameter
    b_enc: nn.Parameter
    W_dec: nn.Parameter
    b_dec: nn.Parameter
    selection: Selection
    propose: bool = False

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

    @abstractmethod
    def rescale_(self, factor: float) -> Dictionary:
        """Change units: afterwards it maps ``factor · x`` as it mapped ``x`` before. In place.

        Latent activations change by the same factor, directions keep their lengths. This is how a
        scaling of the input is folded away.
        """

    def encode(self, x: Activations) -> Latents:
        """The code with its zeros written out."""
        return self.code(x).dense()

    def decode(self, code: SparseCode | Latents) -> Activations:
        """``code W_dec + b_dec``."""
        if isinstance(code, SparseCode):
            return kernels.decode(code, self.W_dec, self.b_dec)
        return code @ self.W_dec + self.b_dec

    def _linear(self, x: Activations) -> SparseCode:
        """``W_enc (x - b_dec) + b_enc`` of the entries that survive, tied to the encoder."""
        with torch.no_grad():
            shifted = x - self.b_dec
            asked = kernels.PreActivations(shifted, self.W_enc, self.b_enc, self.propose)
            support = self.selection.support(asked)
        encoder = self.W_enc, self.b_enc, self.b_dec
        return kernels.differentiable_values(support, x, *encoder, shifted)

    def training_code(self, x: Activations) -> tuple[SparseCode, dict[str, Tensor]]:
        """The code, and differentiable scalars that training may be asked to keep small, by name."""
        return self.code(x), {}

    def squared_error(
        self, code: SparseCode, x: Activations
    ) -> tuple[Float[Tensor, "token"], Activations]:
        """``|x - decode(code)|²`` of each token, and what is left over, outside the gradient."""
        return kernels.squared_error(code, self.W_dec, self.b_dec, x)

    def nested_squared_error(
        self, code: SparseCode, x: Activations, ends: Int[Tensor, "prefix"]
    ) -> tuple[Float[Tensor, "token prefix"], Activations]:
        """`squared_error` of each prefix of the latents that ends before ``ends[p]``."""
        return kernels.nested_squared_error(code, self.W_dec, self.b_dec, x, ends)

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


def misfits(
    W_dec: Float[Tensor, "latent width"],
    given: dict[str, Tensor],
    wanted: dict[str, tuple[int, ...]],
) -> list[str]:
    """A reason for each tensor of `given` whose shape is not the one that `W_dec` asks for."""
    return [
        f"{name} has shape {tuple(given[name].shape)}; wanted {shape}, as W_dec is "
        f"{tuple(W_dec.shape)}"
        for name, shape in wanted.items()
        if tuple(given[name].shape) != shape
    ]
