"""How the value of a feature is read: from the crowd of neurons, and by neurons of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute

# Share of the rows that nothing is fitted on.
_HELD_OUT = 0.25
_ROWS = 4096
_RIDGE = 1e-4


@dataclass(frozen=True, eq=False)
class Reading:
    """``y = r·a + Σ c n``: n features from the neurons ``a`` there are, and from own neurons ``n``.

    An own neuron is ``n = act(up·x + b)``, or in a gated MLP ``n = act(gate·x) (up·x)``, where x
    enters the MLP.

    Attributes
    ----------
    crowd : r; zero where features are read by their own neurons alone.
    up, bias, gate : of own neurons, feature after feature; `bias`, `gate` where the MLP has them.
    scale : c.
    fit : ``1 - E(y - z)² / Var z`` of each feature on rows that nothing was fitted on.
    """

    crowd: Float[Tensor, "feature neuron"]
    up: Float[Tensor, "feature own width"]
    bias: Float[Tensor, "feature own"] | None
    gate: Float[Tensor, "feature own width"] | None
    scale: Float[Tensor, "feature own"]
    fit: Float[Tensor, "feature"]


@dataclass(frozen=True, eq=False)
class Rows:
    """What an MLP sees and what it should say, token by token.

    Attributes
    ----------
    x : what enters it, after its norm.
    neurons : its neurons' activations.
    values : of the features that are to be read.
    """

    x: Float[Tensor, "token width"]
    neurons: Float[Tensor, "token neuron"]
    values: Float[Tensor, "token feature"]


@dataclass(frozen=True)
class Kind:
    """What a neuron of the model is.

    Attributes
    ----------
    act : its activation function.
    gated : whether a second product multiplies it.
    biased : whether ``up`` has a bias.
    """

    act: Callable[[Tensor], Tensor]
    gated: bool
    biased: bool


def fit_reading(
    rows: Rows, kind: Kind, own: int, crowd: bool, compute: Compute, steps: int = 400,
    rate: float = 1e-2, progress: Progress = SILENT,
) -> Reading:  # fmt: skip
    """Learn to read each feature; minimises ``Σ_j E(y_j - z_j)² / Var z_j`` by Adam.

    ``r`` begins at ridge regression, own neurons at the regression of ``z`` on ``x``, jittered so that
    neurons of one feature differ.

    Parameters
    ----------
    own : neurons for each feature.
    crowd : whether the neurons that are there are read too.

    Errors
    ------
    `UserError` for fewer rows than the regressions need, and for features that are constant on them.
    """
    refuse(_problems(rows, own), "reading these features")
    cut = int(len(rows.x) * (1 - _HELD_OUT))
    x, a, z = (part.float() for part in (rows.x, rows.neurons, rows.values))
    spread = z[:cut].std(0)
    target = z / spread
    draw = compute.generator("allocation/reading")
    width, many = x.shape[1], z.shape[1]
    first = _ridge(x[:cut], target[:cut])
    jitter = torch.randn(many, own, width, generator=draw) * first.std() * 0.5
    up = (first[:, None] + jitter).requires_grad_()
    gate = (first[:, None] + jitter.flip(1)).requires_grad_() if kind.gated else None
    bias = torch.zeros(many, own, requires_grad=True) if kind.biased else None
    scale = torch.full((many, own), 1.0 / own, requires_grad=True)
    r = _ridge(a[:cut], target[:cut]) if crowd else torch.zeros(many, a.shape[1])
    r.requires_grad_(crowd)
    learned = [t for t in (up, gate, bias, scale, r) if t is not None and t.requires_grad]
    adam = torch.optim.Adam(learned, lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, rate, total_steps=steps)

    def read(at: Tensor | slice) -> Tensor:
        y = _own(x[at], up, bias, gate, scale, kind)
        return y + a[at] @ r.T if crowd else y

    with progress.task("learn to read the features", steps, "steps") as task:
        for _ in range(steps):
            at = torch.randint(cut, (min(_ROWS, cut),), generator=draw)
            loss = (read(at) - target[at]).square().mean(0).sum()
            adam.zero_grad()
            loss.backward()
            adam.step()
            schedule.step()
            task.advance(1, f"unread {float(loss.detach()) / many:.3f}")
    with torch.no_grad():
        missed = (read(slice(cut, None)) - target[cut:]).square().mean(0)
        fit = 1 - missed / target[cut:].var(0).clamp_min(1e-12)
    return Reading(
        r.detach() * spread[:, None], up.detach(), None if bias is None else bias.detach(),
        None if gate is None else gate.detach(), scale.detach() * spread[:, None], fit,
    )  # fmt: skip


def read_values(reading: Reading, rows: Rows, kind: Kind) -> Float[Tensor, "token feature"]:
    """``y`` on `rows`."""
    y = _own(rows.x.float(), reading.up, reading.bias, reading.gate, reading.scale, kind)
    return y + rows.neurons.float() @ reading.crowd.T


def _own(
    x: Tensor, up: Tensor, bias: Tensor | None, gate: Tensor | None, scale: Tensor, kind: Kind
) -> Float[Tensor, "token feature"]:
    linear = torch.einsum("tw,fow->tfo", x, up)
    linear = linear if bias is None else linear + bias
    n = (
        kind.act(linear)
        if gate is None
        else kind.act(torch.einsum("tw,fow->tfo", x, gate)) * linear
    )
    return (n * scale).sum(2)


def _ridge(x: Tensor, y: Tensor) -> Float[Tensor, "feature width"]:
    """Of both about their means."""
    x, y = (x - x.mean(0)).double(), (y - y.mean(0)).double()
    square = x.T @ x
    square.diagonal().add_(_RIDGE * float(square.diagonal().mean()) + 1e-12)
    return torch.linalg.solve(square, x.T @ y).T.float().contiguous()


def _problems(rows: Rows, own: int) -> list[str]:
    reasons = []
    if own < 1:
        reasons.append(f"{own} neurons a feature; wanted at least 1")
    needed = 4 * max(rows.x.shape[1], rows.neurons.shape[1])
    if len(rows.x) < needed:
        reasons.append(f"{len(rows.x):,} tokens; regressions on {rows.neurons.shape[1]} neurons need "
                       f"at least {needed:,}")  # fmt: skip
    cut = int(len(rows.x) * (1 - _HELD_OUT))
    for part, name in ((rows.values[:cut], "first"), (rows.values[cut:], "last")):
        silent = (part.amax(0) == part.amin(0)).nonzero().flatten().tolist()
        if silent:
            more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
            reasons.append(f"chosen feature number {silent[0]}{more} never changes on the {name} "
                           f"{len(part):,} tokens; read more text or choose others")  # fmt: skip
    return reasons
