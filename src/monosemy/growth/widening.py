"""Weights of the larger model from those of the smaller: what is kept, what is scaled, what is silent.

The constraints are those of Gesmundo and Maile 2023 (arXiv 2308.06103), with what they leave out. Of
width ``h`` to ``h'``, key width ``k`` to ``k'``:

=================  ============================================  ======================================
grown              free                                          held
=================  ============================================  ======================================
neurons            rows of ``up``, ``gate``                      columns of ``down``: 0
heads              rows of ``q``, ``k``, ``v``                   columns of ``o``: 0
values             rows of ``v``                                 columns of ``o``: 0
keys               rows of ``q``                                 rows of ``k``: 0, old ones times
                                                                 ``sqrt(k'/k)``
stream             columns of ``q, k, v, gate, up, head``;       rows of ``embed, position, o, down``:
                   gains                                         silent; old gains times
                                                                 ``sqrt(h/h')``; ``eps' = eps h/h'``
=================  ============================================  ======================================

*Silent* is 0 for RMSNorm. For LayerNorm it is 0 where every writer was centred before, which changes no
logit because every reader's norm takes the mean out; where one matrix embeds and unembeds it cannot
be centred (the unembedding would change), and silent is the mean of the old entries (as in LEMON,
Wang et al. 2023, arXiv 2310.07999): mean and relative variance stay, and the norm gives 0.

Where ``eps`` cannot change, the stream is scaled instead: all writers times ``s = sqrt(h'/h)`` gives
the old variance with the old ``eps``. An embedding that also unembeds then scales the logits, which the
last norm's gain and bias undo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from monosemy.growth.families import Family
from monosemy.growth.layout import Layout, Weights
from monosemy.growth.plan import Axis, Plan
from monosemy.tensors.axes import Float, Tensor

Draw = Callable[[str, tuple[int, ...]], Tensor]
"""Standard normal numbers by a name and a shape."""
# What reads the stream, and the axis that it makes; what writes the stream, and the axis that it reads.
_READERS = {"q": "queries", "k": "keys", "v": "values", "gate": "neurons", "up": "neurons"}
_WRITERS = {"o": "mixed", "down": "neurons"}


@dataclass(frozen=True)
class Factors:
    """What old numbers are multiplied by.

    Attributes
    ----------
    stream : everything that writes the stream.
    gain : gains of norms that are read.
    key : keys of old heads.
    embed : the embedding, which the last norm undoes where it is the unembedding too.
    """

    stream: float = 1.0
    gain: float = 1.0
    key: float = 1.0
    embed: float = 1.0


def factors(plan: Plan, family: Family) -> Factors:
    """The factors that keep the function."""
    wider = plan.after.width / plan.before.width
    stream = 1.0 if family.eps else wider**0.5
    # An embedding that is multiplied by the root of the width grows with it by itself.
    embed = 1.0 if family.scaled_embedding else stream
    key = 1.0 if family.fixed_scale else (plan.after.head / plan.before.head) ** 0.5
    return Factors(stream, wider**-0.5, key, embed)


@dataclass(frozen=True, eq=False)
class Widening:
    """How the weights of one model become those of a larger one.

    Attributes
    ----------
    tied : whether the embedding is the unembedding.
    deviation : of free entries, as a multiple of the old entries' of the same matrix.
    least : the deviation where the old entries have none.
    draw : random numbers.
    """

    plan: Plan
    family: Family
    factors: Factors
    tied: bool
    deviation: float
    least: float
    draw: Draw

    def __call__(self, old: Layout) -> Layout:
        """The weights of the larger model, of the same precision; `old` is left as it was."""
        if self._centred:
            old = centred(old)
        blocks = [self._block(weights, f"layer {i}") for i, weights in enumerate(old.blocks)]
        for layer in self.plan.layers.new.tolist():
            blocks.append(self._new_block(blocks[-1], f"layer {layer}"))
        return Layout(self._outside(old.outside), blocks)

    @property
    def _grows_stream(self) -> bool:
        return len(self.plan.stream.new) > 0

    @property
    def _centred(self) -> bool:
        return self._grows_stream and self.family.centres and not self.tied

    def _outside(self, old: Weights) -> Weights:
        given = self.factors
        new = {name: self._written(old[name].T, factor).T
               for name, factor in (("embed", given.embed), ("position", given.stream))
               if name in old}  # fmt: skip
        if "head" in old:
            new["head"] = self._read(old["head"], None, "head")
        undo = 1 / given.embed if self.tied else 1.0
        if "final.weight" in old:
            new["final.weight"] = self._gain(old["final.weight"], given.gain * undo)
        if "final.bias" in old:
            new["final.bias"] = _placed(old["final.bias"], self.plan.stream, undo)
        return new

    def _block(self, old: Weights, where: str) -> Weights:
        return {name: self._one(name, tensor, where) for name, tensor in old.items()}

    def _one(self, name: str, old: Tensor, where: str) -> Tensor:
        module, _, part = name.partition(".")
        if module in _READERS:
            axis = getattr(self.plan, _READERS[module])
            new = (
                _placed(old, axis) if part == "bias" else self._read(old, axis, f"{where}/{module}")
            )
            return self._keys(new) if module == "k" else new
        if module in _WRITERS:
            if part == "weight":
                old = _placed(old.T, getattr(self.plan, _WRITERS[module])).T
            return self._written(old, self.factors.stream)
        if module in ("q norm", "k norm"):
            return old
        if part == "bias":
            return _placed(old, self.plan.stream)
        # What is normalised on its way into the stream needs no smaller gain: its writer was scaled.
        return self._gain(old, 1.0 if module.startswith("after") else self.factors.gain)

    def _read(
        self, old: Float[Tensor, "out width"], made: Axis | None, name: str
    ) -> Float[Tensor, "wider_out wider"]:
        """What reads the stream: everything new is free."""
        made = made or Axis(len(old), torch.arange(len(old)))
        new = self._free(old, (made.size, self.plan.stream.size), name)
        new[made.places[:, None], self.plan.stream.places] = old
        return new

    def _keys(self, new: Float[Tensor, "key ..."]) -> Float[Tensor, "key ..."]:
        """New numbers of old heads are 0, old ones make up for the larger divisor of scores."""
        new = new.clone()
        new[self.plan.new_keys] = 0
        new[self.plan.keys.places] *= self.factors.key
        return new

    def _written(
        self, old: Float[Tensor, "width ..."], factor: float
    ) -> Float[Tensor, "wider ..."]:
        """What writes the stream: new axes are silent."""
        new = _placed(old, self.plan.stream, factor)
        if self.family.centres and not self._centred and self._grows_stream:
            new[self.plan.stream.new] = old.mean(0) * factor
        return new

    def _gain(self, old: Float[Tensor, "width"], factor: float) -> Float[Tensor, "wider"]:
        """Old gains are scaled; new ones are their mean, which is free to be anything."""
        if factor == 1.0 and not self._grows_stream:
            return old
        offset = self.family.offset
        scaled = (old + offset) * factor
        new = scaled.mean().repeat(self.plan.stream.size)
        new[self.plan.stream.places] = scaled
        return new - offset

    def _free(self, old: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
        if shape == tuple(old.shape):
            return torch.empty_like(old)
        spread = float(old.std()) if old.numel() > 1 else 0.0
        return (self.draw(name, shape) * self.deviation * (spread or self.least)).to(old)

    def _new_block(self, last: Weights, where: str) -> Weights:
        """A block that adds nothing: what its modules write is 0, or is multiplied by a gain of 0."""
        new = {}
        for name, old in last.items():
            module, _, part = name.partition(".")
            if part == "bias":
                new[name] = torch.zeros_like(old)
            elif module.startswith("after"):
                new[name] = torch.full_like(old, -self.family.offset)
            elif old.ndim == 1:
                new[name] = old.mean().repeat(len(old))
            elif module in _WRITERS and not self.family.norms_writers:
                new[name] = torch.zeros_like(old)
            else:
                spread = self.deviation * (float(old.std()) or self.least)
                new[name] = (self.draw(f"{where}/{module}", tuple(old.shape)) * spread).to(old)
        return new


def centred(old: Layout) -> Layout:
    """The same function, with the mean over the stream's axes taken out of all that writes into it."""
    outside = dict(old.outside)
    for name in ("embed", "position"):
        if name in outside:
            outside[name] = outside[name] - outside[name].mean(1, keepdim=True)
    blocks = [{name: t - t.mean(0) if name.partition(".")[0] in _WRITERS else t
               for name, t in weights.items()} for weights in old.blocks]  # fmt: skip
    return Layout(outside, blocks)


def _placed(old: Tensor, axis: Axis, factor: float = 1.0) -> Tensor:
    """Old entries at their places of the first axis, 0 elsewhere."""
    new = old.new_zeros(axis.size, *old.shape[1:])
    new[axis.places] = old * factor if factor != 1.0 else old
    return new
