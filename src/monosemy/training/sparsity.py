"""What sparsity costs at each step: the weights of the penalties, and who sets them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributions import Normal

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.penalties import STEP, Measure
from monosemy.dictionaries.selection import JumpReLU, Selection
from monosemy.tensors import kernels
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.training.controller import Controller

L1, L0 = "l1", "l0"
# First weights of a controlled penalty: one more active latent explains about 0.1 / L0 of the
# variance, and an L1 of this weight leaves some dozens active.
_FIRST_L1, _FIRST_L0 = 0.1, 0.1
# A controlled JumpReLU begins with this many times its target: near it, because thresholds climb
# slowly, but above it, because a latent learns best before it becomes rare.
_ROOM = 8.0


class Sparsity:
    """The weights of the penalties: given, or under a controller that leads L0 to a target.

    Weights climb linearly over `warmup` steps. With a target (and no penalty that has one itself)
    the controller multiplies the one weight that is given, or where none is, a first weight of the
    penalty that the selection answers to: L0 where there is a count with a gradient, else L1.

    Parameters
    ----------
    dictionary : what learns; it is told how to measure sparsity, and the thresholds of a JumpReLU
        with a target are lifted to where pre-activations of spread one leave 8 times the target.
    l1, l0 : weights.
    measure : how sparsity is measured, but for the lengths of decoder rows.
    target : active latents a token to steer to; `None` steers nothing.
    warmup : steps.
    steps : of the whole run.
    free : whether decoder rows are free, so that their lengths count.
    """

    def __init__(
        self, dictionary: Dictionary, l1: float, l0: float, measure: Measure,
        target: float | None, warmup: int, steps: int, free: bool,
    ):  # fmt: skip
        self.dictionary = dictionary
        self.weights = {L1: l1, L0: l0}
        self.warmup = warmup
        self.controller: Controller | None = None
        self.controlled = ""
        self._tell(measure, free)
        if target is not None:
            self._steer(target, steps, measure.form)

    def _tell(self, measure: Measure, free: bool) -> None:
        selections = single_selections(self.dictionary.selection)
        share = replace(measure, target=measure.target / len(selections))
        decoders = [W for W, unit in self.dictionary.row_matrices() if unit]
        for selection, W in zip(selections, decoders, strict=True):
            lengths = partial(_lengths, self.dictionary, W) if free else None
            selection.measure = replace(share, lengths=lengths)

    def _steer(self, target: float, steps: int, form: str) -> None:
        counted = form != STEP or all(
            one.counts for one in single_selections(self.dictionary.selection)
        )
        given = [name for name, weight in self.weights.items() if weight]
        self.controlled = given[0] if given else L0 if counted else L1
        if not given:
            self.weights[self.controlled] = _FIRST_L0 / target if counted else _FIRST_L1
        device = self.dictionary.b_dec.device
        signed = self.controlled == L0 and form == STEP
        self.controller = Controller(target, steps, signed, device)
        _lift_thresholds(self.dictionary, target)

    def at(
        self, step: int, l0: Float[Tensor, ""]
    ) -> tuple[dict[str, float | Tensor], dict[str, Tensor]]:
        """Weights of the penalties at `step`, whose batch has a mean L0 of `l0`; and readings."""
        climbed = min((step + 1) / max(self.warmup, 1), 1.0)
        weights: dict[str, float | Tensor] = {n: w * climbed for n, w in self.weights.items()}
        if self.controller is None:
            return weights, {}
        self.controller.see(l0)
        weight = weights[self.controlled] * self.controller.factor
        return weights | {self.controlled: weight}, {f"{self.controlled}_weight": weight}

    def finish(self) -> None:
        """The dictionary forgets how it was measured."""
        for selection in single_selections(self.dictionary.selection):
            selection.measure = Measure()

    def state_dict(self) -> dict[str, Any]:
        """What the controller remembers."""
        return {} if self.controller is None else self.controller.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state saved by `state_dict`."""
        if self.controller is not None:
            self.controller.load_state_dict(state)


def single_selections(selection: Selection) -> list[Selection]:
    """The selections in `selection` that are not made of others: itself, or one a layer."""
    found = [part for part in selection.modules() if isinstance(part, Selection)]
    return [part for part in found if not any(inner in found for inner in _inside(part))]


def _inside(part: nn.Module) -> list[nn.Module]:
    return [inner for inner in part.modules() if inner is not part]


def _lengths(
    dictionary: Dictionary, W_dec: nn.Parameter, chosen: Int[Tensor, "chosen"]
) -> Float[Tensor, "chosen"]:
    return dictionary.row_length(kernels.take_rows(W_dec, chosen))


@torch.no_grad()
def _lift_thresholds(dictionary: Dictionary, target: float) -> None:
    share = min(_ROOM * target / dictionary.latents, 0.5)
    least = float(Normal(0.0, 1.0).icdf(torch.tensor(1 - share, dtype=torch.float64)))
    for selection in single_selections(dictionary.selection):
        if isinstance(selection, JumpReLU):
            selection.threshold.clamp_min_(least)
