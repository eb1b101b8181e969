"""How a local dictionary learns: parents alone, then children in charts, found and found again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize

from monosemy.dictionaries.local import Level, LocalDictionary
from monosemy.tensors import branches, kernels
from monosemy.tensors.axes import Activations, Bool, Float, Tensor, Written
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.compute import Compute
from monosemy.training import charts
from monosemy.training.charts import Bank, Found
from monosemy.training.local_config import FOUND, ONE_EACH, LocalConfig
from monosemy.training.local_knee import knee
from monosemy.training.local_stages import Stages
from monosemy.training.local_steering import begin_floor, steer
from monosemy.training.loop import Readings
from monosemy.training.objectives import LearnDictionary

# A bearer that had fewer residuals than this when charts were found is not there: it begins anew.
_FEW = 4
RECENT = 16
"""Batches whose residuals say where parents are missing."""


class LearnLocal:
    """``FVU + FVU of the proposals + aux · AuxK`` over a local dictionary's parents and children.

    1. Parents alone, by `LearnDictionary`, for ``begin`` of the steps.
    2. From then on active parents explain what the others leave (`branches.explain`); the error is that
       of what is left in the end. Activations are least squares, so directions learn at fixed ones.
       The encoder learns what it can still give: that its proposals, with the children taken out of
       what they are to explain, reconstruct with the directions held fixed.
    3. ``times`` times until ``until``, charts are found from the residuals of a stretch of steps (see
       `training.charts`), every bearer is routed anew, and its children begin at the clusters of its
       residuals inside its chart. With charts not fixed in number, as many as there are at the knee:
       charts are allocated and removed. Parents that hardly appeared begin anew where the error is
       largest. Deeper levels begin one after the other.
    4. What is left of the run with everything in place.

    ``floor`` and ``least`` are steered so that as many parents and children are active as wanted.

    Parameters
    ----------
    local : learns the parents.
    dictionary : the local dictionary over ``local.module``.
    config : its stages.
    active : parents, children, ... of a token that are to be active on average.
    seed : of what is drawn while learning.
    """

    def __init__(
        self, local: LearnDictionary, dictionary: LocalDictionary, config: LocalConfig,
        active: Sequence[float], seed: int = 0,
    ):  # fmt: skip
        self.local = local
        self.dictionary = dictionary
        self.config = config
        self.active = tuple(active)
        self.stages = Stages(config, local.steps, len(dictionary.levels))
        self.compute = Compute(seed=seed)
        self.bank: Bank | None = None
        self.curves: list[dict[str, Any]] = []
        for level in dictionary.levels:
            level.V.requires_grad_(not config.random_charts)
        self._left: deque[Float[Tensor, "token width"]] = deque(maxlen=RECENT)
        self._found: tuple[Readings, Tensor] | None = None

    @property
    def module(self) -> LocalDictionary:
        """What learns."""
        return self.dictionary

    @property
    def k(self) -> float:
        """Active parents that the encoder proposes."""
        return self.local.k

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.local.steps

    @property
    def step(self) -> int:
        """Steps that were taken."""
        return self.local.step

    @step.setter
    def step(self, value: int) -> None:
        self.local.step = value

    def loss(self, batch: Float[Tensor, "token columns"]) -> tuple[Float[Tensor, ""], Readings]:
        """See the class. Readings: those of `LearnDictionary`; ``l0`` counts every level."""
        if not self.stages.explains(self.local.step):
            return self.local.loss(batch)
        total, readings = self.local.loss(batch, self._unexplained)
        assert self._found is not None
        return total, readings | self._found[0]

    def _unexplained(
        self, code: SparseCode, x: Activations, target: Written
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Written]:
        """What is lowered, the FVU, and what is left over."""
        dictionary, parents_of = self.dictionary, self.dictionary.parents
        if float(dictionary.levels[0].floor) == 0:
            begin_floor(dictionary.levels[0], code, self.active[0])
        full, parents, levels = dictionary.find(x, code)
        last = levels[-1].explained
        held = [(level.bearers, level.explained, level.charts) for level in levels]
        kept = levels[0].bearers.with_values(levels[0].explained.values)
        W_dec, b_dec = parents_of.W_dec, parents_of.b_dec
        error = branches.squared_error(last, kept, held, W_dec, b_dec).mean() / self.local.variance
        childless = last.rest + parents_of.decode(parents.detach()).detach()
        fixed = W_dec.detach(), b_dec.detach()
        proposed = kernels.squared_error(code, *fixed, childless)[0].mean() / self.local.variance
        counts = steer(dictionary, parents, levels, self.active)
        self._gather(levels, x)
        self._found = {"l0": full.counts.sum() / full.tokens, **counts}, last.rest
        return error + proposed, error.detach(), last.rest

    # --- stages -------------------------------------------------------------------------------

    @torch.no_grad()
    def _gather(self, levels: list[Level], x: Activations) -> None:
        """Before charts are found, keep what each bearer leaves over."""
        level = self.stages.gathers(self.local.step)
        if level is None:
            return
        one, found = self.dictionary.levels[level], levels[level]
        if self.bank is None:
            self.bank = Bank(one.bearers, self.config.samples, one.width, x)
        kept = found.explained.values > 0
        entries = found.bearers.with_values(found.explained.values).keep(kept)
        own = _own_parts(found, kept)
        # A parent that is hardly there, with a child that is, says little about their ratio.
        size = entries.values.clamp_min(float(self.dictionary.levels[0].floor))
        self.bank.add(entries.indices, found.explained.rest[entries.rows] + own, size)
        self._left.append(levels[-1].explained.rest)

    @torch.no_grad()
    def renew(self) -> Sequence[tuple[nn.Parameter, Tensor]]:
        """Charts stay orthonormal and children of length one; charts are found when it is time."""
        fresh = list(self.local.renew())
        for level in self.dictionary.levels:
            level.V.copy_(charts.near_orthonormal(level.V))
            level.C.copy_(normalize(level.C, dim=2))
        due = self.stages.due(self.local.step)
        if due is None or self.bank is None:
            return fresh
        bank, self.bank = self.bank, None
        return [*fresh, *self._find_charts(due, bank)]

    def _find_charts(self, at: int, bank: Bank) -> list[tuple[nn.Parameter, Tensor]]:
        level = self.dictionary.levels[at]
        draw = self.compute.generator(f"charts of level {at} at step {self.local.step}")
        weighed = bank.weights().sqrt()[:, None, None]
        rank = level.V.shape[1]
        if at == 0 and self.config.charts == ONE_EACH:
            # Nothing else tells a child from its parent's own direction: others' charts would.
            bank.project_out(self.dictionary.parents.W_dec)
        F = charts.factors(bank, 2 * rank) * weighed
        wanted = len(level.V)
        if self.config.charts == FOUND:
            wanted = self._knee(at, F, rank)
        found = (
            _random_charts(level.V, len(F), draw)
            if self.config.random_charts
            else charts.find_charts(F, wanted, rank, draw)
        )
        level.V[: len(found.V)] = found.V
        level.routes.copy_(found.routes)
        inside = torch.einsum("bmd,brd->bmr", bank.rows, level.V[found.routes])
        level.C.copy_(charts.cluster(inside, bank.counts, level.branching, draw))
        few = bank.counts < _FEW
        if at == 0 and self.stages.again(self.local.step):
            few |= charts.in_disguise(self.dictionary.parents.W_dec, level.V, level.routes)
        level.routes[few] = -1
        fresh: list[tuple[nn.Parameter, Tensor]] = [
            (level.V, torch.arange(len(level.V))), (level.C, torch.arange(len(level.C)))]  # fmt: skip
        return fresh + (self._begin_anew(few, draw) if at == 0 else [])

    def _knee(self, at: int, F: Tensor, rank: int) -> int:
        merged = charts.merge(F[: charts.MERGED], rank)
        wanted = knee(merged.captured)
        self.curves.append({"step": self.local.step, "level": at, "charts": wanted})
        return wanted if wanted is not None else len(F)

    def _begin_anew(
        self, absent: Bool[Tensor, "latent"], draw: torch.Generator
    ) -> list[tuple[nn.Parameter, Tensor]]:
        """Parents that are not there take directions that what is left over has in common."""
        rows = absent.nonzero()[:, 0]
        if not len(rows) or not self._left:
            return []
        found = charts.common_directions(torch.cat(list(self._left)), len(rows), draw)
        rows = rows[: len(found)]
        parents = self.dictionary.parents
        size = parents.W_enc.norm(dim=1).median()
        parents.W_dec[rows], parents.W_enc[rows], parents.b_enc[rows] = found, size * found, 0.0
        self.local.firing.silent[rows] = 0
        return [(parameter, rows) for parameter in (parents.W_dec, parents.W_enc, parents.b_enc)]

    # --- what the loop asks -------------------------------------------------------------------

    def at_work(self) -> AbstractContextManager[None]:
        """The kernels bring threads of their own."""
        return self.local.at_work()

    def state_dict(self) -> dict[str, Any]:
        """Every level, what the parents' training remembers, and residuals that are being kept."""
        bank = None if self.bank is None else self.bank.state_dict()
        return {
            "module": self.dictionary.state_dict(), "local": self.local.state_dict(), "bank": bank,
            "left": list(self._left), "curves": self.curves,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state saved by `state_dict`."""
        self.local.load_state_dict(state["local"])
        self.dictionary.load_state_dict(state["module"])
        device, bank = self.dictionary.b_dec.device, state["bank"]
        self.bank = None if bank is None else Bank.load({n: t.to(device) for n, t in bank.items()})
        self._left.clear()
        self._left.extend(rest.to(device) for rest in state["left"])
        self.curves = list(state["curves"])

    def result(self) -> LocalDictionary:
        """The dictionary in the activations' own units, in evaluation mode. Ends the training."""
        self.dictionary.aims = self.active
        self.local.result(self.dictionary)
        for level in self.dictionary.levels:
            drop_unused(level)
        return self.dictionary


def _own_parts(level: Level, kept: Bool[Tensor, "active"]) -> Float[Tensor, "chosen width"]:
    """What the child of each entry that is kept wrote."""
    found, charted = level.explained, level.charts
    bearers, children = level.bearers.indices[kept], found.children[kept]
    inside = (
        charted.C[bearers, children.clamp_min(0)] * (found.amounts[kept] * (children >= 0))[:, None]
    )
    return (inside[:, None] @ charted.V[charted.routes[bearers].clamp_min(0)])[:, 0]


@torch.no_grad()
def drop_unused(level: LocalDictionary) -> None:
    """Leave out charts that no bearer points at, and number the others anew. In place."""
    used = level.routes[level.routes >= 0].unique()
    if 0 < len(used) < len(level.V):
        places = torch.searchsorted(used, level.routes.clamp_min(0))
        level.routes.copy_(torch.where(level.routes >= 0, places, -1))
        level.V = nn.Parameter(level.V[used].clone())


def _random_charts(V: Tensor, bearers: int, draw: torch.Generator) -> Found:
    """Any subspaces, and any of them for each bearer."""
    frames = torch.linalg.qr(torch.randn(len(V), V.shape[2], V.shape[1], generator=draw))[0]
    routes = torch.randint(len(V), (bearers,), generator=draw)
    nothing = torch.zeros(bearers)
    return Found(frames.transpose(1, 2).contiguous().to(V), routes.to(V.device), nothing)


def first_charts(config: LocalConfig, bearers: int) -> int:
    """How many charts there is room for: what was asked, or one for each bearer."""
    return bearers if config.charts in (ONE_EACH, FOUND) else min(config.charts, bearers)
