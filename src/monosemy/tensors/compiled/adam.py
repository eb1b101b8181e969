"""AdamW in one pass: every number of a parameter and its moments is read and written once."""

from __future__ import annotations

import numpy as np

from monosemy.tensors import workers
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.compiled.jit import sum_loop
from monosemy.tensors.rows import AdamSettings, RowGradient


def update_rows(
    parameter: Float[Tensor, "latent width"],
    gradient: RowGradient,
    mean: Float[Tensor, "latent width"],
    variance: Float[Tensor, "latent width"],
    settings: AdamSettings,
    seen: Int[Tensor, "latent"] | None = None,
) -> None:
    """One step of AdamW on every row, in place; the gradient is spent. `seen`: see the twin."""
    arrays = [t.detach().numpy() for t in (parameter, gradient.values, mean, variance)]
    touched, (first, second) = gradient.touched.numpy(), settings.betas
    kind = arrays[0].dtype.type
    numbers = (
        kind(settings.scale), kind(first), kind(second), kind(1 - first), kind(1 - second),
        kind(settings.rate / (1 - first**settings.step)),
        kind(1 / (1 - second**settings.step)), kind(settings.eps),
        kind(1 - settings.rate * settings.decay),
    )  # fmt: skip
    last = None if seen is None else seen.numpy()
    state = touched, last, settings.step, numbers, gradient.unit is not None
    shares = workers.share_out(len(touched), workers.LEAST_SHARE)
    workers.run(lambda start, stop: _update(*arrays, *state, start, stop), shares)


@sum_loop
def _update(  # type: ignore[no-untyped-def]
    rows, grads, means, variances, touched, seen, step, numbers, unit, start, stop
):
    scale, first, second, new_first, new_second, rate, correction, eps, keep = numbers
    width = rows.shape[1]
    zero = rows.dtype.type(0)
    for latent in range(start, stop):
        row, mean, variance, grad = rows[latent], means[latent], variances[latent], grads[latent]
        along = zero
        if seen is not None:  # compiled twice: with `seen` and without
            if not touched[latent]:
                continue
            gone = step - seen[latent] - 1
            for j in range(width):
                mean[j] *= first**gone
                variance[j] *= second**gone
            seen[latent] = step
        if touched[latent]:
            if unit:
                for j in range(width):
                    along += grad[j] * row[j]
            for j in range(width):
                g = (grad[j] - along * row[j]) * scale
                mean[j] = first * mean[j] + new_first * g
                variance[j] = second * variance[j] + new_second * g * g
                move = rate * mean[j] / (np.sqrt(variance[j] * correction) + eps)
                row[j] = row[j] * keep - move
            touched[latent] = False
        else:
            for j in range(width):
                mean[j] = first * mean[j]
                variance[j] = second * variance[j]
                move = rate * mean[j] / (np.sqrt(variance[j] * correction) + eps)
                row[j] = row[j] * keep - move
        if unit:
            length = zero
            for j in range(width):
                length += row[j] * row[j]
            shrink = rows.dtype.type(1) / max(np.sqrt(length), rows.dtype.type(1e-12))
            for j in range(width):
                row[j] *= shrink
