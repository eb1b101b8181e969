"""Leave-one-out pruning: an active latent stays only where its absence would show."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors.axes import Activations, Float, Latents, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.prefixes import Prefixes
from monosemy.tensors.routes import kernels_for


class PrunedDictionary(Dictionary):
    """Keeps latent ``i`` where ``sign(f_i) (<x - x̂, W_i> + f_i |W_i|²) > threshold``.

    ``f`` and ``x̂`` are the `inner` dictionary's, ``W_i`` the row that it decodes ``f_i`` with. The
    left side is what the latent would read off if it alone were left out. Leaving it out changes
    the squared error by ``2 f_i <x - x̂, W_i> + f_i² |W_i|²``, so for ``threshold = 0`` whatever is
    dropped made the reconstruction worse. All latents are judged at once, against the full
    reconstruction, and activations stay as they were. Proposed for SynthSAEBench below the post
    "Letting Claude do Autonomous Research to Improve SAEs" (LessWrong 2026, not reviewed); the sign,
    for codes with negative activations, is ours.

    Inference only: train and fold the inner dictionary, then prune it.

    Parameters
    ----------
    inner : writes the place that it reads; its parameters are this dictionary's.
    threshold : in the units of ``f_i |W_i|²``, which are those of activations where rows have
        length one.

    Errors
    ------
    `UserError` for an inner dictionary whose code does not say what is left over, and where training
    is asked for.
    """

    def __init__(self, inner: Dictionary, threshold: float = 0.0):
        super().__init__()
        refuse(_reasons(inner), "this pruning")
        self.inner = inner
        self.threshold = threshold
        self.selection = inner.selection
        self.prefixes = inner.prefixes
        self.metadata = inner.metadata
        self.centred = inner.centred

    def __getattr__(self, name: str) -> Tensor | nn.Module:
        # Parameters are looked for in the inner dictionary.
        if name in ("W_enc", "b_enc", "W_dec", "b_dec"):
            return getattr(super().__getattr__("inner"), name)
        return super().__getattr__(name)

    def code(self, x: Activations) -> SparseCode:
        """See the class."""
        code = self.inner.code(x)
        return code.keep(self.scores(code, x) > self.threshold)

    @torch.no_grad()
    def scores(self, code: SparseCode, x: Activations) -> Float[Tensor, "active"]:
        """The left side of the class, for every entry of the inner dictionary's `code` of `x`."""
        rows = self.inner._decoder
        rest = x - self.inner.decode(code)
        along = kernels_for(rest).dots(code.detach(), rest, rows)
        own = code.values * rows.square().sum(1)[code.indices]
        return code.values.sign() * (along + own)

    def decode(self, code: SparseCode | Latents, x: Activations | None = None) -> Activations:
        """The inner dictionary's."""
        return self.inner.decode(code, x)

    def squared_error(
        self, code: SparseCode, x: Activations, target: Activations
    ) -> tuple[Float[Tensor, "token"], Activations]:
        """See `Dictionary`."""
        return self.inner.squared_error(code, x, target)

    def nested_squared_error(
        self, code: SparseCode, x: Activations, target: Activations, prefixes: Prefixes
    ) -> tuple[Float[Tensor, "token prefix"], Activations]:
        """See `Dictionary`."""
        return self.inner.nested_squared_error(code, x, target, prefixes)

    def training_code(self, x: Activations) -> tuple[SparseCode, dict[str, Tensor]]:
        """Refused: a `UserError`."""
        raise UserError(
            "pruning is for a dictionary that has learned; train the dictionary inside and prune "
            "it afterwards"
        )

    def row_matrices(self) -> Iterator[tuple[nn.Parameter, bool]]:
        """The inner dictionary's."""
        return self.inner.row_matrices()

    def fold_(self, read: Units, write: Units) -> Dictionary:
        """Refused, because the threshold would mean something else: a `UserError`."""
        raise UserError(
            "the threshold of a pruned dictionary is in the units that it was chosen in; fold the "
            "units of the dictionary inside, then choose a threshold and prune it"
        )


def _reasons(inner: Dictionary) -> list[str]:
    if not inner.autoencodes:
        return [
            "a dictionary that writes another place than it reads cannot be pruned: while it reads, "
            "what it is to write is not known"
        ]
    if inner.needs_input:
        return [
            "a dictionary that sees tokens normalised is pruned inside its normalisation: "
            "NormalisedDictionary(PrunedDictionary(inner, threshold), norm)"
        ]
    return []
