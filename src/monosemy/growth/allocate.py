"""Features on axes of their own: widen, then move them there step by step.

A feature stands in the residual stream as ``z v``: its value times a direction that others use too.
The model is widened (`expand`), so that each chosen feature j has an axis ``e_j`` that nothing writes,
and every later reader is taught to read ``q_j = |v_j| e_j`` as it reads ``v_j``. The MLP then writes

    share · y_j (q_j - v_j)

where ``y_j`` is what it reads of the feature (`reading`): by its old neurons, and by own neurons that
are new. At share 0 nothing has changed. At share 1 the feature has left the crowd, as far as it was
read, and stands on its axis. Whatever y is, a linear reader behind the MLP notices nothing on the way;
only the scale of a norm does, by

    |x - y v + y q|² - |x|²  =  2 y |v|² (y - x·v / |v|²)

which is small where the feature is read well. What remains is left to training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from monosemy.foundation.errors import UserError, refuse
from monosemy.growth import layout
from monosemy.growth.crowd import Crowd, readers_behind, same_direction
from monosemy.growth.expand import expand, problems
from monosemy.growth.families import family_of
from monosemy.growth.plan import Plan
from monosemy.growth.reading import Reading
from monosemy.growth.shapes import Growth, Shape, shape_of
from monosemy.growth.untie import untied
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.compute import Compute

_CPU = Compute()


@dataclass(frozen=True, eq=False)
class Assignment:
    """Which features get an axis, and how they are read.

    Attributes
    ----------
    crowd : where they stand.
    directions : ``v`` in the stream of the model as it is now.
    reading : ``y``.
    axes : whether each gets an axis of the stream; else only neurons of its own, which write where
        the crowd wrote.
    """

    crowd: Crowd
    directions: Float[Tensor, "feature stream"]
    reading: Reading
    axes: bool = True

    def __len__(self) -> int:
        return len(self.directions)

    @property
    def own(self) -> int:
        """New neurons of each feature."""
        return self.reading.up.shape[1]


class Allocated:
    """A widened model, and the features that move in it.

    Attributes
    ----------
    model : larger; trains and saves like any other.
    plan : where what is new lies.
    axes : of the stream, one a feature; empty where features only got neurons.
    neurons : of the MLP that moves them, feature after feature.
    share : how far they have moved.
    """

    def __init__(self, model: Any, plan: Plan, assignment: Assignment):
        self.model, self.plan, self.assignment = model, plan, assignment
        many = len(assignment)
        self.axes: Int[Tensor, "feature"] = plan.stream.new[: many if assignment.axes else 0]
        self.neurons: Int[Tensor, "own"] = plan.neurons.new[: many * assignment.own]
        self.share = 0.0

    @torch.no_grad()
    def move(self, share: float) -> None:
        """Go on to `share` (0 to 1): ``W_down += (share - before) · write``.

        Moves add to whatever training made of the weights meanwhile.
        """
        if not 0 <= share <= 1:
            raise UserError(f"share {share} of a feature; wanted 0 to 1")
        down = self._down()
        step = share - self.share
        crowd, own = self._writes()
        reading = self.assignment.reading
        old = self.plan.neurons.places
        down[:, old] += (step * crowd @ reading.crowd.double()).to(down)
        scaled = (own[:, :, None] * reading.scale.double()).flatten(1)
        down[:, self.neurons] += (step * scaled).to(down)
        self.share = share

    def _down(self) -> Float[Tensor, "stream neuron"]:
        """The matrix itself, not a copy."""
        found = self.assignment.crowd
        shape = shape_of(self.model.config, found.family)
        weight = layout.read(self.model, found.family, shape).blocks[found.layer]["down.weight"]
        assert weight.untyped_storage().data_ptr() in {
            p.untyped_storage().data_ptr() for p in self.model.parameters()
        }
        return weight

    def _writes(self) -> tuple[Float[Tensor, "stream feature"], Float[Tensor, "stream feature"]]:
        """What one unit of the crowd's part of y, and of the own neurons', adds to the stream."""
        given = self.assignment
        v = torch.zeros(len(given), self.plan.stream.size, dtype=torch.float64)
        v[:, self.plan.stream.places] = given.directions.double()
        if not given.axes:
            return -v.T, v.T
        q = torch.zeros_like(v)
        q[torch.arange(len(given)), self.axes] = given.directions.double().norm(dim=1)
        return (q - v).T, (q - v).T


def growth_for(shape: Shape, crowd: Crowd, features: int, own: int, axes: bool = True) -> Growth:
    """The least growth that holds so many axes and neurons; `own` neurons a feature.

    Where the stream is as wide as its heads together, it grows by whole heads if they come out even,
    else by wider heads, rounded up.
    """
    growth = Growth(mlp=features * own)
    if not axes:
        return growth
    if not crowd.family.tied:
        # Configurations of transformers want a multiple of the heads whatever their width.
        rounded = -(-features // shape.heads) * shape.heads
        return Growth(mlp=features * own, residual=rounded)
    if features % shape.head == 0:
        return Growth(mlp=features * own, residual=features, heads=features // shape.head)
    # A pair of a rotary head has to stay whole.
    step = 2 if crowd.family.rotary else 1
    wider = -(-features // (shape.heads * step)) * step
    return Growth(mlp=features * own, residual=wider * shape.heads, key=wider, value=wider)


def widened(model: Any, growth: Growth, compute: Compute = _CPU) -> tuple[Any, Plan]:
    """The control: the same growth, untied in the same way, and nothing assigned."""
    base = untied(model)
    refuse(problems(base, growth), f"growing this model by {growth}")
    found = expand(base, growth, compute)
    return found.model, found.plan


@torch.no_grad()
def allocate(
    model: Any, assignment: Assignment, growth: Growth | None = None, compute: Compute = _CPU
) -> Allocated:
    """`model` widened, later readers taught, own neurons set to read: share 0, the same function.

    Parameters
    ----------
    model : as `Assignment.crowd` was found in; it is left as it was.
    growth : at least `growth_for`, which it is by default.

    Errors
    ------
    `UserError` with every reason at once where the model cannot grow so.
    """
    found = assignment.crowd
    shape = shape_of(model.config, found.family)
    growth = growth or growth_for(shape, found, len(assignment), assignment.own, assignment.axes)
    larger, plan = widened(model, growth, compute)
    _refuse_narrow(assignment, plan)
    done = Allocated(larger, plan, assignment)
    family = family_of(larger.config)
    assert family is not None
    weights = layout.read(larger, family, plan.after)
    weights.blocks = [dict(block) for block in weights.blocks]
    if assignment.axes:
        _teach(weights, done)
    _set_own(weights.blocks[found.layer], done)
    state = layout.write(weights, larger, family, plan.after)
    larger.load_state_dict({name: t.to(larger.dtype) for name, t in state.items()})
    return done


def _teach(weights: layout.Layout, done: Allocated) -> None:
    """Every reader behind the MLP reads each new axis as its feature's direction."""
    given, plan = done.assignment, done.plan
    family = given.crowd.family
    v = torch.zeros(len(given), plan.stream.size, dtype=torch.float64)
    v[:, plan.stream.places] = given.directions.double()
    for one in readers_behind(weights, given.crowd.layer, family):
        taught = same_direction(one.read, one.gain, v, done.axes, family.centres)
        one.holder[one.name] = taught


def _set_own(block: layout.Weights, done: Allocated) -> None:
    """Own neurons read what `Reading` says; what they write stays 0."""
    reading, plan = done.assignment.reading, done.plan
    for name, rows in (("up", reading.up), ("gate", reading.gate)):
        if rows is None:
            continue
        weight = block[f"{name}.weight"].clone()
        weight[done.neurons] = 0
        weight[done.neurons[:, None], plan.stream.places] = rows.flatten(0, 1).to(weight)
        block[f"{name}.weight"] = weight
    if reading.bias is not None:
        bias = block["up.bias"].clone()
        bias[done.neurons] = reading.bias.flatten().to(bias)
        block["up.bias"] = bias


def _refuse_narrow(assignment: Assignment, plan: Plan) -> None:
    wanted = {"neurons": len(assignment) * assignment.own,
              "stream": len(assignment) if assignment.axes else 0}  # fmt: skip
    have = {name: len(getattr(plan, name).new) for name in wanted}
    refuse([f"{have[name]} new entries of {name}; {len(assignment)} features need {many}"
            for name, many in wanted.items() if have[name] < many], "this growth")  # fmt: skip
