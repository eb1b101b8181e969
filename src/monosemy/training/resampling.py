"""Dead latents that begin anew where the reconstruction is worst."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import normalize

from monosemy.dictionaries.base import Dictionary
from monosemy.tensors.axes import Activations, Float, Tensor, Written
from monosemy.tensors.compute import Compute
from monosemy.training.revival import Firing

# How long a new encoder row is, measured in the mean of the living: weak enough not to disturb.
_STRENGTH = 0.2
# What begins at zero, where a dictionary has it; a threshold begins at its share of the living.
_BIASES = ("b_enc", "b_mag", "r_mag")
_THRESHOLD = "selection.threshold"


class Resampling:
    """Neuron resampling (Bricken et al. 2023, "Towards Monosemanticity", appendix).

    Every `every` steps, up to the share `until` of the run, each dead latent draws a token of the
    batch with probability proportional to the square of its loss, ``|target - x̂|⁴``. Its encoder
    row points at what was read there (``x - shift``), its decoder row at what was to be written
    (``target - b_dec``); they are ``0.2 ·`` the mean length of living encoder rows and 1 long; its
    biases are zero. The optimiser forgets its moments.

    Differences: tokens come from the current batch, not from a sample of 819,200, and none twice,
    so that no two latents begin alike: where more latents are dead than the batch has tokens, the
    longest silent go first. A threshold begins at ``0.2 ·`` the mean of the living. Where latents
    are compared with each other (TopK), encoder rows are as long as the living: a weaker one would
    never be selected.

    Parameters
    ----------
    every : steps between occasions; 0 for never.
    until : share of all `steps` after which nothing is resampled, so that the last have time to
        learn.
    steps : of the whole run.
    seed : of the draws; each step has its own, so that a resumed run draws the same.
    """

    def __init__(self, every: int, until: float, steps: int, seed: int = 0):
        self.every = every
        self.last = until * steps
        self.compute = Compute(seed=seed)

    def due(self, step: int) -> bool:
        """Whether latents are resampled after step `step` (from 1)."""
        return self.every > 0 and step % self.every == 0 and step <= self.last

    @torch.no_grad()
    def renew(
        self,
        dictionary: Dictionary,
        x: Activations,
        target: Written,
        error: Float[Tensor, "token"],
        firing: Firing,
        step: int,
    ) -> list[tuple[nn.Parameter, Tensor]]:
        """Resample in place; gives what was written to: a parameter and its rows.

        Parameters
        ----------
        error : ``|target - x̂|²`` of each token.
        firing : which latents are dead; those that begin anew count as having fired.
        """
        silent, living = firing.silent, ~firing.dead
        weights = (error.double().cpu() / error.max().double().cpu().clamp_min(1e-300)).square()
        dead = silent.argsort(descending=True, stable=True)[: int((~living).sum())]
        rows = dead[: int(weights.count_nonzero())]
        if not len(rows):
            return []
        draw = self.compute.generator(f"resampling of step {step}")
        tokens = weights.multinomial(len(rows), generator=draw).to(rows.device)
        silent[rows] = 0
        parameters = dict(dictionary.named_parameters())
        news = {"W_dec": normalize(target[tokens] - dictionary.b_dec, dim=1),
                "W_enc": normalize(x[tokens] - dictionary.shift, dim=1)}  # fmt: skip
        # Against others, a weak latent would never be selected, and never learn.
        strength = 1.0 if dictionary.selection.compares else _STRENGTH
        news["W_enc"] *= strength * _mean(parameters["W_enc"].norm(dim=1)[living])
        if _THRESHOLD in parameters:
            threshold = parameters[_THRESHOLD]
            news[_THRESHOLD] = (_STRENGTH * _mean(threshold[living])).expand(len(rows))
        found = [name for name in (*news, *_BIASES) if name in parameters]
        for name in found:
            parameter = parameters[name]
            parameter[rows] = news[name].to(parameter) if name in news else 0.0
        return [(parameters[name], rows) for name in found]


def resamples(dictionary: Dictionary) -> bool:
    """Whether each latent of `dictionary` has an encoder row and a decoder row of its own."""
    own = dict(dictionary.named_parameters())
    return all(name in own and len(own[name]) == dictionary.latents for name in ("W_enc", "W_dec"))


def _mean(values: Float[Tensor, "living"]) -> Float[Tensor, ""]:
    """With nobody alive there is no length to take a share of: one."""
    return values.mean() if len(values) else values.new_ones(())
