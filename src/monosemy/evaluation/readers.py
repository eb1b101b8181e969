"""Who says which features a sample holds: a dictionary, or one that was told the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from monosemy.data.features.truth import Features, Samples
from monosemy.dictionaries.base import Dictionary
from monosemy.foundation.errors import UserError
from monosemy.tensors import kernels
from monosemy.tensors.axes import Activations, Float, Int, Tensor
from monosemy.tensors.codes import SparseCode


@runtime_checkable
class Reader(Protocol):
    """A code for every sample, and a direction for every latent."""

    @property
    def directions(self) -> Float[Tensor, "latent width"]:
        """Along which latents write."""

    @property
    def told(self) -> Int[Tensor, "latent"] | None:
        """The feature that each latent stands for, where that was given and not found out."""

    def read(self, samples: Samples) -> tuple[SparseCode, Activations | None]:
        """The code of each sample and the reconstruction, or nothing where none is made."""


class DictionaryReader:
    """A dictionary that writes the place that it reads, in evaluation mode.

    Errors
    ------
    `UserError` for a transcoder: worlds have one place.
    """

    told: Int[Tensor, "latent"] | None = None

    def __init__(self, dictionary: Dictionary):
        if not dictionary.autoencodes:
            raise UserError(
                "a world has one place, and this dictionary writes another than it reads; "
                "wanted one that reconstructs what it reads"
            )
        self.dictionary = dictionary.eval()
        self.directions = dictionary.W_dec.detach()

    @torch.no_grad()
    def read(self, samples: Samples) -> tuple[SparseCode, Activations]:
        """See `Reader`."""
        x = samples.x.to(self.dictionary.b_dec)
        code = self.dictionary.code(x)
        return code, self.dictionary.decode(code, x)


@dataclass(frozen=True, eq=False)
class Oracle:
    """Knows the truth: true directions, true firing, true activations, of some features.

    The best that a dictionary of that many latents could do; what it leaves over is noise and the
    features that it has no latents for.

    Attributes
    ----------
    features : the world's.
    told : features that it has a latent for.
    b_dec : what is added to what it writes.
    """

    features: Features
    told: Int[Tensor, "latent"]
    b_dec: Float[Tensor, "width"]

    @classmethod
    def of_most_frequent(cls, features: Features, latents: int, samples: Samples) -> Oracle:
        """With a latent for each of the `latents` features that are most often active.

        `b_dec` is the mean of what they leave over on `samples`.
        """
        told = features.rates.argsort(descending=True, stable=True)[:latents].sort().values
        oracle = cls(features, told, torch.zeros_like(samples.x[0]))
        code, written = oracle.read(samples)
        return cls(features, told, (samples.x - written).mean(0))

    @property
    def directions(self) -> Float[Tensor, "latent width"]:
        """The true ones."""
        return self.features.directions[self.told]

    def read(self, samples: Samples) -> tuple[SparseCode, Activations]:
        """See `Reader`."""
        code = renumbered(samples.truth, self.told)
        directions = self.directions.to(samples.x)
        return code, kernels.decode(code, directions, self.b_dec.to(samples.x))


def renumbered(truth: SparseCode, told: Int[Tensor, "latent"]) -> SparseCode:
    """The features `told` alone, numbered in their order."""
    number = torch.full((truth.latents,), -1, device=truth.indices.device)
    number[told.to(number.device)] = torch.arange(len(told), device=number.device)
    kept = truth.keep(number[truth.indices] >= 0)
    return SparseCode(kept.offsets, number[kept.indices], kept.values, len(told))
