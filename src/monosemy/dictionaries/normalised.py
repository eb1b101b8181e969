"""A dictionary that sees each token normalised, and whose reconstruction is taken back."""

from __future__ import annotations

from torch import nn

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import UserError
from monosemy.tensors.axes import Activations, Float, Latents, Tensor, Written
from monosemy.tensors.codes import SparseCode

LAYER_NORM, UNIT_NORM, CONSTANT = "layer_norm", "unit_norm", "constant"
NORMS = (LAYER_NORM, UNIT_NORM, CONSTANT)


class NormalisedDictionary(Dictionary):
    """``f = inner.code(N(x))``, ``x̂ = N⁻¹(inner.decode(f))``: tokens are normalised first.

    * ``layer_norm``: ``N(x) = (x - mean(x)) / (std(x) + eps)``, the standard deviation with
      ``width - 1`` in its denominator, and back ``std(x) z + mean(x)``, without ``eps`` (Gao et al.
      2024, arXiv:2406.04093, as published);
    * ``unit_norm``: ``N(x) = sqrt(width) x / (|x| + eps)``;
    * ``constant``: ``N(x) = factor x``.

    ``N⁻¹`` undoes what was done to this very token, so decoding needs what was read, but for a
    constant. A constant that may differ between reading and writing comes back by its own factor.

    Parameters
    ----------
    inner : works on normalised activations; its parameters are this dictionary's.
    norm : one of `NORMS`.
    eps : see above.
    factor, factor_out : of ``constant``: what is read is multiplied by `factor`, what is written is
        divided by `factor_out` (`None`: the same).
    """

    def __init__(
        self, inner: Dictionary, norm: str, eps: float = 0.0, factor: float = 1.0,
        factor_out: float | None = None,
    ):  # fmt: skip
        super().__init__()
        if norm not in NORMS:
            raise UserError(f"unknown normalisation {norm!r}; known: {', '.join(NORMS)}")
        self.inner = inner
        self.norm, self.eps = norm, eps
        self.factor = factor
        self.factor_out = factor if factor_out is None else factor_out
        self.autoencodes = inner.autoencodes
        self.needs_input = norm != CONSTANT or inner.needs_input
        self.selection = inner.selection
        self.prefixes = inner.prefixes
        self.metadata = inner.metadata

    def __getattr__(self, name: str) -> Tensor | nn.Module:
        # Parameters are looked for in the inner dictionary.
        if name in ("W_enc", "b_enc", "W_dec", "b_dec"):
            return getattr(super().__getattr__("inner"), name)
        return super().__getattr__(name)

    def code(self, x: Activations) -> SparseCode:
        """See the class."""
        return self.inner.code(self._normalise(x)[0])

    def decode(self, code: SparseCode | Latents, x: Activations | None = None) -> Written:
        """See the class; `UserError` where `x` is wanted and missing."""
        if self.needs_input and x is None:
            raise UserError(
                f"a dictionary under {self.norm} needs the activations to decode their code: each "
                "token is scaled back by its own statistics; give decode(code, x)"
            )
        if x is None:
            return self.inner.decode(code) / self.factor_out
        z, mean, scale = self._normalise(x)
        return self.inner.decode(code, z) * scale + mean

    def training_code(self, x: Activations) -> tuple[SparseCode, dict[str, Tensor]]:
        """Refused: a `UserError`."""
        raise UserError(
            f"a dictionary under {self.norm} is run, not trained: train the dictionary inside on "
            "normalised activations"
        )

    def squared_error(
        self, code: SparseCode, x: Activations, target: Written
    ) -> tuple[Float[Tensor, "token"], Written]:
        """See `Dictionary`."""
        rest = target - self.decode(code, x)
        return rest.square().sum(1), rest.detach()

    def fold_(self, read: Units, write: Units) -> Dictionary:
        """Refused, because it was not learned in other units: a `UserError`."""
        raise UserError("fold the units of the dictionary inside, then normalise it")

    def _normalise(
        self, x: Activations
    ) -> tuple[Activations, Float[Tensor, "token one"], Float[Tensor, "token one"]]:
        """The normalised tokens, and what each reconstruction is multiplied with and gets added."""
        nothing = x.new_zeros(len(x), 1)
        if self.norm == CONSTANT:
            return x * self.factor, nothing, nothing + 1 / self.factor_out
        if self.norm == UNIT_NORM:
            scale = (x.norm(dim=1, keepdim=True) + self.eps) / x.shape[1] ** 0.5
            return x / scale, nothing, scale
        mean = x.mean(1, keepdim=True)
        std = ((x - mean).square().sum(1, keepdim=True) / (x.shape[1] - 1)).sqrt()
        return (x - mean) / (std + self.eps), mean, std
