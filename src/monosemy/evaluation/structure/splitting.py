"""Split features: how many latents it takes to see one label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse

from monosemy.evaluation.structure.config import AbsorptionConfig
from monosemy.evaluation.structure.probes import f1, fit_on_latents, ranked


@dataclass(frozen=True, eq=False)
class Split:
    """The latents that a label is split into, and the F1 of the probes on the first k of them.

    Attributes
    ----------
    latents : in order of rank; empty where no latent speaks for the label.
    f1 : of k = 1, 2, ... latents on held-out tokens, one more than `latents` where one more was
        tried and did not help.
    """

    latents: np.ndarray
    f1: tuple[float, ...]


def split(
    fitting: scipy.sparse.csr_array, fitting_positive: np.ndarray,
    heldout: scipy.sparse.csr_array, heldout_positive: np.ndarray,
    config: AbsorptionConfig,
) -> Split:  # fmt: skip
    """Rank latents by an L1 probe, and take one more as long as F1 rises by more than ``f1_jump``.

    Parameters
    ----------
    fitting, heldout : codes of the tokens that probes are fitted on and measured on.
    """
    order = ranked(fitting, fitting_positive, config.l1)[: config.most_splits]
    taken, scores = 0, list[float]()
    for k in range(1, len(order) + 1):
        probe = fit_on_latents(fitting, fitting_positive, order[:k])
        scores.append(f1(probe.scores(heldout[:, order[:k]].toarray()), heldout_positive))
        if taken and scores[-1] <= scores[taken - 1] + config.f1_jump:
            break
        taken = k
    return Split(order[:taken], tuple(scores))
