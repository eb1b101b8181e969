"""Dictionary: what every dictionary promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from monosemy.dictionaries.selection import Selection
from monosemy.dictionaries.units import Units, fold_decoder, fold_encoder
from monosemy.foundation.errors import UserError
from monosemy.tensors import kernels
from monosemy.tensors.axes import Activations, Float, Int, Latents, Tensor, Written
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.prefixes import Prefixes

WEIGHINGS = ("none", "rescaled", "selected")
"""``none``: nothing. ``rescaled``: activations are counted in it, ``f_i = |W_dec[i]| pre_i``, and
rows decode with length one. ``selected``: only the selection sees ``|W_dec[i]| pre_i``."""

_SHARED = ("b_dec", "W_skip")
"""Parameters that have no row for each latent, whatever their shapes."""


class Dictionary(nn.Module, ABC):
    """A set of directions, and a way to write an activation as a sparse sum of them.

    ``x ≈ sum_i f_i W_dec[i] + b_dec`` with few ``f_i`` different from zero.

    What is read and what is written may be different places (a transcoder), so a code is made from
    an input and compared with a target; for an autoencoder they are the same.

    Attributes
    ----------
    W_enc, b_enc : the encoder, one row a latent; what is read off is decided by the class.
    W_dec : the directions, one row a latent.
    b_dec : what is decoded when no latent is active.
    selection : which latents stay active.
    prefixes : numbers of latents that reconstruct without the rest (Matryoshka), rising; none for
        a dictionary that was not nested.
    propose : encode in bfloat16 first and decide in full precision among what could survive; not
        a property of the dictionary but of how it is run, and no part of its file.
    metadata : where the dictionary comes from (model, site, ...); kept in its file.
    """

    W_enc: nn.Parameter
    b_enc: nn.Parameter
    W_dec: nn.Parameter
    b_dec: nn.Parameter
    selection: Selection
    prefixes: tuple[int, ...] = ()
    propose: bool = False
    autoencodes: bool = True
    """Whether it writes the place that it reads."""
    nests: bool = True
    """Whether prefixes of its latents can be asked to reconstruct (Matryoshka)."""
    needs_input: bool = False
    """Whether decoding asks for the input too (a skip, a normalisation of each token)."""
    centred: bool = True
    """Whether `b_dec` is subtracted before encoding."""
    weighing: str = "none"
    """What the length of a decoder row does to its latent, one of `WEIGHINGS`. Others train so."""

    def __init__(self) -> None:
        super().__init__()
        self.metadata: dict[str, Any] = {}

    @property
    def width(self) -> int:
        """Numbers in an activation that is read (d)."""
        return self.W_enc.shape[1]

    @property
    def written(self) -> int:
        """Numbers in an activation that is written."""
        return self.W_dec.shape[1]

    @property
    def latents(self) -> int:
        """Entries of the dictionary (m)."""
        return self.W_dec.shape[0]

    @abstractmethod
    def code(self, x: Activations) -> SparseCode:
        """The sparse code of each token. Differentiable in the parameters."""

    def fold_(self, read: Units, write: Units) -> Dictionary:
        """Learned in other units, speak of the activations themselves. In place.

        Afterwards it maps ``x`` as it mapped ``read.apply(x)`` before, the reconstruction taken
        back by `write` (for an autoencoder, the same units). Where each latent is selected by
        itself, directions get length one; where latents are compared, none may be rescaled alone,
        so activations stay as they were selected.
        """
        with torch.no_grad():
            self._unweigh_()
            fold_decoder(self.W_dec, self.b_dec, write.to(self.W_dec))
            length = self._common_length()
            self.W_dec.div_(length[:, None])
            self._fold_encoder_(read.to(self.W_enc), length)
            self.selection.rescale_(length)
        return self

    def _unweigh_(self) -> None:
        """Leave weighing to the encoder: activations as they were selected, directions of one."""
        if self.weighing != "none":
            length = self.W_dec.norm(dim=1)
            self.W_enc.mul_(length[:, None])
            self.b_enc.mul_(length)
            self.W_dec.div_(length[:, None].clamp_min(1e-30))
            self.weighing = "none"

    def _common_length(self) -> Float[Tensor, "latent"]:
        """By how much activations grow, so that directions get length one."""
        length = self.W_dec.norm(dim=1).clamp_min(1e-30)
        if self.selection.compares:
            length = length.mean().expand(self.latents)
        return length.clone()

    def _fold_encoder_(self, read: Units, length: Float[Tensor, "latent"]) -> None:
        # Where the offset is subtracted before encoding, it has taken up the origin already.
        origin = None if self.centred else read.origin
        fold_encoder(self.W_enc, self.b_enc, Units(read.scale, read.inverse, origin), length)

    def encode(self, x: Activations) -> Latents:
        """The code with its zeros written out."""
        return self.code(x).dense()

    def decode(self, code: SparseCode | Latents, x: Activations | None = None) -> Written:
        """``code W_dec + b_dec``. `x` is what was read, for dictionaries that need it to decode."""
        if isinstance(code, SparseCode):
            return kernels.decode(code, self._decoder, self.b_dec)
        return code @ self._decoder + self.b_dec

    @property
    def shift(self) -> Float[Tensor, "width"]:
        """What is subtracted before encoding."""
        return self.b_dec if self.centred else torch.zeros_like(self.W_enc[0])

    @property
    def _decoder(self) -> Float[Tensor, "latent written"]:
        """The rows that activations are multiplied with."""
        return (
            nn.functional.normalize(self.W_dec, dim=1)
            if self.weighing == "rescaled"
            else self.W_dec
        )

    def _linear(self, x: Activations) -> SparseCode:
        """``W_enc (x - shift) + b_enc`` of the entries that survive, tied to the encoder."""
        W_enc, b_enc, shift = self.W_enc, self.b_enc, self.shift
        if self.weighing != "none":
            length = self.W_dec.norm(dim=1)
            W_enc, b_enc = W_enc * length[:, None], b_enc * length
        with torch.no_grad():
            shifted = x - shift
            asked = kernels.PreActivations(shifted, W_enc, b_enc, self.propose)
            support = self.selection.support(asked)
        return kernels.differentiable_values(support, x, W_enc, b_enc, shift, shifted)

    def _weighed(self, code: SparseCode) -> SparseCode:
        """Activations in their own units again, where only the selection was to see the lengths."""
        if self.weighing != "selected":
            return code
        return code.with_values(code.values / self.W_dec.norm(dim=1)[code.indices])

    def training_code(self, x: Activations) -> tuple[SparseCode, dict[str, Tensor]]:
        """The code, and differentiable scalars that training may be asked to keep small, by name."""
        return self.code(x), {}

    def row_matrices(self) -> Iterator[tuple[nn.Parameter, bool]]:
        """Parameters with a row for each latent, and whether training may keep rows at length one."""
        yield self.W_enc, False
        yield self.W_dec, True

    def row_length(self, rows: Float[Tensor, "chosen _"]) -> Float[Tensor, "chosen"]:
        """What decoder rows weigh in a penalty where training leaves their lengths free."""
        return rows.norm(dim=1)

    def squared_error(
        self, code: SparseCode, x: Activations, target: Written
    ) -> tuple[Float[Tensor, "token"], Written]:
        """``|target - decode(code)|²`` of each token, and what is left over, outside the gradient."""
        return kernels.squared_error(code, self._decoder, self.b_dec, target)

    def nested_squared_error(
        self, code: SparseCode, x: Activations, target: Written, prefixes: Prefixes
    ) -> tuple[Float[Tensor, "token prefix"], Written]:
        """`squared_error` of each of the nested `prefixes` of the latents."""
        return kernels.nested_squared_error(code, self._decoder, self.b_dec, target, prefixes)

    def guess_with(self, x: Activations, chosen: Int[Tensor, "chosen"], k: int) -> Written:
        """What the `chosen` latents alone would write: the `k` largest positive of them, no offset."""
        W_enc, b_enc = kernels.take_rows(self.W_enc, chosen), self.b_enc[chosen]
        with torch.no_grad():
            asked = kernels.PreActivations(x - self.shift, W_enc, b_enc)
            support = asked.largest(min(k, len(chosen)))
        code = kernels.differentiable_values(support, x, W_enc, b_enc, self.shift)
        nothing = torch.zeros_like(self.b_dec)
        return kernels.decode(code, kernels.take_rows(self.W_dec, chosen), nothing)

    def split(
        self, columns: Float[Tensor, "token columns"]
    ) -> tuple[Activations, Float[Tensor, "token written"]]:
        """What is read and what is to be written, from activations of both laid side by side."""
        if self.autoencodes:
            return columns, columns
        return columns[:, : self.width], columns[:, self.width :]

    def prefix(self, code: SparseCode, latents: int) -> SparseCode:
        """`code` with the latents from number `latents` on left out."""
        return code.keep(code.indices < latents)

    def rearrange_(self, order: Int[Tensor, "latent"]) -> Dictionary:
        """The same latents in another order: number ``i`` is what ``order[i]`` was. In place."""
        assert self.nests, "latents that lie by layer have no order of their own"
        for name, tensor in (*self.named_parameters(), *self.named_buffers()):
            shared = name.rpartition(".")[2] in _SHARED or not tensor.ndim
            if not shared and len(tensor) == self.latents:
                tensor.data.copy_(tensor.data[order])
        return self

    def forward(self, x: Activations) -> Written:
        """The reconstruction of `x`, or of what it stands for."""
        return self.decode(self.code(x), x)

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
