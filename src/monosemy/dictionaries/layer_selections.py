"""One selection for each layer of latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

import torch
from torch import nn

from monosemy.dictionaries.penalties import QUADRATIC, STEP, Measure
from monosemy.dictionaries.selection import Selection
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.kernels import PreActivations


class LayerSelections(Selection):
    """Each layer selects among its own latents; none is compared with another layer's.

    Parameters
    ----------
    layers : the selection of each layer.
    latents : how many latents each layer has.
    """

    def __init__(self, layers: Sequence[Selection], latents: Sequence[int]):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.latents = tuple(latents)
        self.kind = layers[0].kind
        self.compares = any(one.compares for one in layers)
        self.counts = any(one.counts for one in layers)
        self._k = [one.k for one in layers]
        self._measure = Measure()

    def __iter__(self) -> Iterator[Selection]:
        return iter(self.layers)  # type: ignore[arg-type]

    @property
    def k(self) -> int:  # type: ignore[override]
        """The largest of the layers' k: active latents a token and layer. 0 where there is none.

        Set to another number, every layer's k moves by as much, within 1 and its latents.
        """
        return max(one.k for one in self)

    @k.setter
    def k(self, k: int) -> None:
        more = k - max(self._k)
        for one, own, latents in zip(self, self._k, self.latents, strict=True):
            one.k = min(max(own + more, 1), latents) if own else 0

    @property
    def measure(self) -> Measure:  # type: ignore[override]
        """How training measures the sparsity of all layers together."""
        return self._measure

    @measure.setter
    def measure(self, measure: Measure) -> None:
        self._measure = measure
        # A target is one of all layers together, so each only counts.
        form = STEP if measure.form == QUADRATIC else measure.form
        firsts = [0, *accumulate(self.latents)]
        for one, first in zip(self, firsts, strict=False):
            one.measure = replace(measure, form=form, lengths=_of_layer(measure.lengths, first))

    def support(self, pre: PreActivations) -> SparseCode:
        """Of layers side by side in ``pre.x``; rows of ``pre.W`` are zero outside their layer."""
        width, parts = pre.x.shape[1] // len(self.layers), []
        rows = zip(pre.W.split(self.latents), pre.b.split(self.latents), strict=True)
        for layer, (one, (W, b)) in enumerate(zip(self, rows, strict=True)):
            own = slice(layer * width, (layer + 1) * width)
            parts.append(one.support(PreActivations(pre.x[:, own], W[:, own], b, pre.propose)))
        return SparseCode.side_by_side(parts)

    def activate(self, linear: SparseCode) -> SparseCode:
        """Each layer's own."""
        return self.activate_layers(linear.split(self.latents))

    def activate_layers(self, linear: Sequence[SparseCode]) -> SparseCode:
        """One code from the layers' own."""
        parts = zip(self, linear, strict=True)
        return SparseCode.side_by_side([one.activate(part) for one, part in parts])

    def penalties(self, linear: SparseCode, width: int) -> dict[str, Tensor]:
        """Those of all layers together."""
        return self.layer_penalties(linear.split(self.latents), width)

    def layer_penalties(self, linear: Sequence[SparseCode], width: int) -> dict[str, Tensor]:
        """Those of all layers together, from the layers' own codes."""
        terms = [one.penalties(part, width) for one, part in zip(self, linear, strict=True)]
        summed = {name: torch.stack([found[name] for found in terms]).sum() for name in terms[0]}
        if "l0" in summed:
            summed["l0"] = self.measure.counted(summed["l0"])
        return summed

    def rescale_(self, length: Float[Tensor, "latent"]) -> None:
        """Each layer's own."""
        for one, part in zip(self, length.split(self.latents), strict=True):
            one.rescale_(part)

    def refuse_for(self, latents: int) -> list[str]:
        """The reasons of every layer, which say which it is, and layers of different kinds."""
        reasons = [
            f"layer {layer}: {reason}"
            for layer, (one, own) in enumerate(zip(self, self.latents, strict=True))
            for reason in one.refuse_for(own)
        ]
        kinds = sorted({one.kind for one in self})
        if len(kinds) > 1:
            reasons.append(f"layers select by {', '.join(kinds)}; wanted one kind for all of them")
        if latents != sum(self.latents):
            reasons.append(f"selections of {sum(self.latents):,} latents for {latents:,}")
        return reasons


Lengths = Callable[[Int[Tensor, "chosen"]], Float[Tensor, "chosen"]]


def _of_layer(lengths: Lengths | None, first: int) -> Lengths | None:
    """The same for latents numbered from the layer's first."""
    return None if lengths is None else lambda chosen: lengths(chosen + first)
