"""The same numbers for dictionaries that learned nothing about features."""

from __future__ import annotations

from monosemy.dictionaries import baselines
from monosemy.dictionaries.base import Dictionary
from monosemy.foundation.errors import UserError
from monosemy.tensors.axes import Activations
from monosemy.tensors.compute import Compute


def controls_at(
    rows: Activations, l0: float, latents: int, compute: Compute, ica: bool = False
) -> dict[str, Dictionary]:
    """Neurons, principal components and random directions at equal L0.

    Parameters
    ----------
    rows : training activations, which principal axes, mean and scale are fitted on.
    l0 : of the dictionary to be compared with; each control keeps its nearest whole number, at
        least one, and no more than it has.
    latents : size of the random dictionary: that of the dictionary to be compared with.
    compute : device, and the seed of the random directions.
    ica : independent components too, which take minutes where the others take a moment.

    Errors
    ------
    `UserError` for an `l0` that is negative or not finite, and for fewer than two rows.
    """
    if not 0 <= l0 < float("inf"):
        raise UserError(f"controls at L0 = {l0}; wanted a number of active latents")
    if len(rows) < 2:
        raise UserError(f"controls are fitted on {len(rows)} activations; wanted at least 2")
    k = max(1, round(l0))
    rows = rows.float().to(compute.device)
    random = baselines.random_directions(
        rows, latents, min(k, latents), compute.generator("random dictionary")
    )
    controls = {
        "neurons": baselines.neurons(rows.shape[1], k),
        "pca": baselines.principal_components(rows, k),
        "random": random,
    }
    if ica:
        draw = compute.generator("independent components")
        controls["ica"] = baselines.independent_components(rows, k, draw)
    return {name: control.to(compute.device).eval() for name, control in controls.items()}
