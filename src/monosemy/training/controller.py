"""Steering a penalty until codes have the sparsity that was asked for."""

from __future__ import annotations

import math
from typing import Any

import torch

from monosemy.tensors.axes import Float, Tensor

# Until here in the run L0 falls by itself, faster than any penalty should push: nothing is steered.
_HOLD = 0.05
# Here the target is to be reached; the rest of the run is for settling, and for learning at it.
_ARRIVE = 0.5
# How strongly an error acts now, and how strongly its sum over a whole run.
_POSITIVE = 3.0, 40.0
# Thresholds move by the learning rate alone, however large the penalty, so only its sign acts fast.
_SIGNED = 50.0, 200.0
# Farther from the reference a signed penalty is at its limit, and a sum would only overshoot.
_NEAR = 0.15
# Steps over which L0 is smoothed: a batch's own mean is off by a few per cent, but with an older one
# the loop swings.
_SMOOTH = 2


class Controller:
    """A proportional-integral controller: ``weight = first weight · factor``, so that L0 → target.

    With ``e = log(L0 / r)``, held within ±1, and ``I`` its sum over steps, divided by their number,

    * ``factor = exp(3 e + 40 I)``, which stays positive: an L1 penalty, or a soft count;
    * ``factor = 1 + 50 e + 200 I`` where `signed`: the count of a JumpReLU, which below the target
      turns into a reward that pulls thresholds down again. Only steps with ``|e| < 0.15`` count in
      its ``I``: far away the thresholds climb as fast as they can already.

    The reference ``r`` falls geometrically from the L0 that is found after 5 % of the run to the
    target at half of it, so that no burst of penalty kills latents that a smaller one would have
    kept. Times are shares of the run, and L0 enters by its logarithm, so nothing depends on the
    units of the data, the target, or the number of steps, as long as L0 can follow within the run.

    Parameters
    ----------
    target : mean active latents a token.
    steps : of the whole run.
    signed : see above.
    device : where readings are; nothing here waits for it.
    """

    def __init__(
        self, target: float, steps: int, signed: bool = False, device: str | torch.device = "cpu"
    ):
        self.target = target
        self.steps = steps
        self.signed = signed
        self.step = 0
        # Smoothed L0, the L0 from which the reference falls, and I.
        self.smoothed, self.begun, self.summed = torch.zeros(3, device=device).unbind()

    def see(self, l0: Float[Tensor, ""]) -> None:
        """The mean L0 of the batch that is being learned from."""
        keep = 1 - 1 / min(self.step + 1, _SMOOTH)
        self.smoothed = keep * self.smoothed + (1 - keep) * l0
        self.step += 1
        if self.step <= max(_HOLD * self.steps, 1):
            self.begun = self.smoothed
        error = self._error
        if self.signed:
            error = error.where(error.abs() < _NEAR, torch.zeros_like(error))
        self.summed = self.summed + error / self.steps

    @property
    def factor(self) -> Float[Tensor, ""]:
        """What the penalty's first weight is multiplied by."""
        now, over_time = _SIGNED if self.signed else _POSITIVE
        pull = now * self._error + over_time * self.summed
        return 1 + pull if self.signed else pull.clamp(-20, 20).exp()

    @property
    def _error(self) -> Float[Tensor, ""]:
        left = (_ARRIVE - self.step / self.steps) / (_ARRIVE - _HOLD)
        left = min(max(left, 0.0), 1.0)
        wanted = left * self._log(self.begun) + (1 - left) * math.log(self.target)
        return (self._log(self.smoothed) - wanted).clamp(-1, 1)

    def _log(self, l0: Tensor) -> Tensor:
        # An empty batch is as far away as one active latent in a thousand tokens.
        return l0.clamp_min(1e-3).log()

    def state_dict(self) -> dict[str, Any]:
        """All that it remembers."""
        return {
            "step": self.step,
            "smoothed": self.smoothed,
            "begun": self.begun,
            "summed": self.summed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state saved by `state_dict`."""
        self.step = int(state["step"])
        for name in ("smoothed", "begun", "summed"):
            setattr(self, name, state[name].to(self.smoothed))
