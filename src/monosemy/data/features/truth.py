"""What is known of a world: its features, and which of them each sample holds."""

from __future__ import annotations

from dataclasses import dataclass

from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.codes import SparseCode


@dataclass(frozen=True, eq=False)
class Features:
    """The features of a world: fixed, whatever is drawn from it.

    Attributes
    ----------
    name : the world's name.
    directions : along which each feature is written; unit rows.
    parents : the feature that has to be active for this one to be; -1 for a root.
    levels : how many ancestors each has: 0 for a root.
    rates : share of samples on which each is active.
    charts : which shared subspace each lies in; -1 for none.
    """

    name: str
    directions: Float[Tensor, "feature width"]
    parents: Int[Tensor, "feature"]
    levels: Int[Tensor, "feature"]
    rates: Float[Tensor, "feature"]
    charts: Int[Tensor, "feature"]

    @property
    def count(self) -> int:
        """How many features there are."""
        return len(self.directions)

    @property
    def width(self) -> int:
        """Numbers in an activation vector."""
        return self.directions.shape[1]

    @property
    def true_l0(self) -> float:
        """Features that are active on a sample, on average."""
        return float(self.rates.double().sum())


@dataclass(frozen=True, eq=False)
class Samples:
    """Activations together with the features that made them.

    Attributes
    ----------
    x : activations, noise and bias included.
    truth : which features are active on each, and how strongly; a code over the features.
    """

    x: Float[Tensor, "token width"]
    truth: SparseCode
