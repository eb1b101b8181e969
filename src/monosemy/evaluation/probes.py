"""Logistic probes: what a linear reader finds that was told, for each sample, which features are on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from monosemy.data.features.truth import Samples
from monosemy.evaluation.readers import renumbered
from monosemy.foundation.errors import UserError
from monosemy.foundation.progress import SILENT, Progress
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.codes import SparseCode

# Variances below this share of the largest are not made larger by whitening.
_LEAST_VARIANCE = 1e-6
_RATE = 0.05


@dataclass(frozen=True, eq=False)
class Probes:
    """``on_i  if  <w_i, x> + b_i > 0``: one logistic regression a feature. A `readers.Reader`.

    The directions are not the weights, which also cancel everything else, but the patterns
    ``Cov(x) w_i`` that belong to them (Haufe et al. 2014). Nothing is reconstructed.

    Attributes
    ----------
    weights, biases : of each probe.
    directions : the pattern of each.
    told : the feature that each was taught.
    """

    weights: Float[Tensor, "latent width"]
    biases: Float[Tensor, "latent"]
    directions: Float[Tensor, "latent width"]
    told: Int[Tensor, "latent"]

    @torch.no_grad()
    def read(self, samples: Samples) -> tuple[SparseCode, None]:
        """See `readers.Reader`; an activation is the logit."""
        logits = samples.x.to(self.weights) @ self.weights.T + self.biases
        return SparseCode.from_mask(logits > 0, logits), None


def fit_probes(
    batches: Iterable[Samples], told: Int[Tensor, "latent"], first: Samples, steps: int,
    progress: Progress = SILENT,
) -> Probes:  # fmt: skip
    """Learn from fresh samples, each seen once, so that no probe learns a sample by heart.

    The cross-entropy of all probes is lowered by Adam in coordinates in which `x` is white, where
    one learning rate suits every direction; the rate falls linearly to zero.

    Parameters
    ----------
    batches : at least `steps` batches of samples.
    told : the features to teach.
    first : a sample that mean, covariance and rates are taken from.
    steps : updates.

    Errors
    ------
    `UserError` for no feature, no step, and fewer than two samples to begin with.
    """
    if not len(told) or steps < 1 or len(first.x) < 2:
        raise UserError(
            f"{len(told):,} probes, {steps:,} steps, {len(first.x):,} samples to begin with; "
            "wanted at least 1, 1 and 2"
        )
    mean, inverse, root = _whitening(first.x)
    learned = nn.Linear(len(mean), len(told)).to(first.x)
    with torch.no_grad():
        learned.weight.zero_()
        learned.bias.copy_(_logit_of_rate(first, told))
    optimiser = torch.optim.Adam(learned.parameters(), lr=_RATE)
    with progress.task("probes", steps, "steps") as task:
        for step, batch in zip(range(steps), batches, strict=False):
            optimiser.param_groups[0]["lr"] = _RATE * (1 - step / steps)
            logits = learned((batch.x - mean) @ inverse)
            wanted = (renumbered(batch.truth, told).dense() != 0).to(logits)
            # Mean over samples, sum over probes: each learns as it would alone.
            loss = nn.functional.binary_cross_entropy_with_logits(logits, wanted)
            (loss * len(told)).backward()
            optimiser.step()
            optimiser.zero_grad()
            task.advance(1)
    W, b = learned.weight.detach(), learned.bias.detach()
    return Probes(W @ inverse, b - W @ inverse @ mean, W @ root, told)


def _logit_of_rate(first: Samples, told: Int[Tensor, "latent"]) -> Float[Tensor, "latent"]:
    """Where a probe begins that knows nothing but how often its feature is on."""
    counts = torch.bincount(renumbered(first.truth, told).indices, minlength=len(told))
    return ((counts + 1) / (len(first.x) + 2)).to(first.x).logit()


def _whitening(x: Float[Tensor, "token width"]) -> tuple[Tensor, Tensor, Tensor]:
    """The mean, the symmetric inverse root of the covariance, and the root."""
    values, axes = torch.linalg.eigh(torch.cov(x.T.double()))
    roots = values.clamp_min(_LEAST_VARIANCE * float(values[-1])).sqrt()
    return x.mean(0), ((axes / roots) @ axes.T).to(x), ((axes * roots) @ axes.T).to(x)
