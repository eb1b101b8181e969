"""What is lowered end to end: the harm that a reconstruction does to the model.

Losses are those of Braun et al. 2024 (arXiv:2405.12241), over the tokens that evaluation counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from monosemy.data.tokens import Contexts
from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.units import times
from monosemy.foundation.errors import nearest, refuse
from monosemy.interventions.contrast import counted_tokens
from monosemy.models import tap
from monosemy.models.loading import LoadedModel, PreTrainedModel
from monosemy.models.sites import Site, match
from monosemy.tensors.axes import Activations, Bool, Float, Int, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.training.loop import Readings
from monosemy.training.objectives import LearnDictionary, ObjectiveConfig

LOSSES = ("none", "kl", "ce")

Grid = Float[Tensor, "context position width"]


@dataclass(frozen=True)
class EndToEndConfig:
    """What a dictionary is asked for in the model's terms, instead of a good reconstruction."""

    loss: str = "none"
    """``kl``: divergence of the next-token distribution from the clean model's; ``ce``:
    cross-entropy of the next token; ``none``: neither."""
    reconstruction: float = 0.0
    """Weight of the error at the site itself."""
    downstream: float = 0.0
    """Weight of the error that arrives at later sites."""
    downstream_sites: tuple[str, ...] = ()
    """The later sites: names or patterns; ``monosemy sites MODEL`` lists them."""

    def __post_init__(self) -> None:
        found = [
            f"{name} = {getattr(self, name)}; wanted at least 0"
            for name in ("reconstruction", "downstream")
            if not 0 <= getattr(self, name) < math.inf
        ]
        if self.loss not in LOSSES:
            known = f"known: {', '.join(LOSSES)}{nearest(self.loss, LOSSES)}"
            found.append(f"loss = {self.loss!r}; {known}")
        if self.downstream > 0 and not self.downstream_sites:
            found.append("downstream has a weight and no site; name some in downstream_sites")
        if self.downstream_sites and not self.downstream > 0:
            found.append("downstream_sites have no weight; set downstream above 0")
        if self.reconstruction > 0 and not self.wanted:
            found.append(
                "reconstruction alone is what local training lowers; leave it out, or set loss to "
                "kl or ce"
            )
        refuse(found, "the end-to-end configuration")

    @property
    def wanted(self) -> bool:
        """Whether the model is to be run with the reconstruction in it."""
        return self.loss != "none" or self.downstream > 0


def reasons(
    config: EndToEndConfig, objective: ObjectiveConfig, shards: bool = False, models: int = 1,
    dtype: str = "float32", context: int = 2,
) -> list[str]:  # fmt: skip
    """Why a run cannot learn end to end, as far as it shows before anything is loaded.

    Parameters
    ----------
    objective : what is asked beside.
    shards : whether activations come from a folder.
    models : how many models one dictionary reads.
    dtype : precision in which the model runs.
    context : tokens in a window of text.
    """
    if not config.wanted:
        return []
    wrong = {
        "end-to-end training runs the model on text, and shards hold activations only; leave "
        "shards out, or train locally": shards,
        f"end-to-end training splices into one model, and this dictionary reads {models}; read "
        "one, or train locally": models > 1,
        f"dtype = {dtype}; gradients through the model want float32": dtype != "float32",
        f"context = {context}; a window of one token has no next one": context < 2,
        "prefixes are learned from the error at the site, which has no weight; set reconstruction "
        "above 0, or leave prefixes out": objective.nested and not config.reconstruction,
        f"tilt = {objective.tilt:g} weighs tokens by their error at the site, which has no weight; "
        "set reconstruction above 0, or leave the tilt out": (
            objective.tilt > 0 and not config.reconstruction
        ),
    }
    return [reason for reason, holds in wrong.items() if holds]


def misplaced(config: EndToEndConfig, loaded: LoadedModel, write: Sequence[Site]) -> list[str]:
    """Why splicing into `loaded` at `write` would not be felt where `config` looks."""
    if not loaded.is_causal:
        return [
            f"{loaded.name} ({loaded.family}) predicts no next token, so nothing can be learned "
            "end to end; name a causal language model, or train locally"
        ]
    later = match(loaded.model, config.downstream_sites)
    order: list[Site] = []

    def visit(site: Site, activation: Tensor) -> Tensor:
        order.append(site)
        return activation

    with torch.no_grad():
        ids = torch.zeros(1, 2, dtype=torch.int64, device=loaded.device)
        _logits(loaded.model, ids, {site: partial(visit, site) for site in {*write, *later}})
    first = min(write, key=order.index)
    return [
        f"downstream site {site.name} does not come after {first.name}, where the reconstruction "
        "is spliced in; name later sites"
        for site in later
        if site in write or order.index(site) < order.index(first)
    ]


def mark_unkept(contexts: Contexts) -> Contexts:
    """The same contexts, with ``~id`` (below zero) for the id of each token that is not kept.

    A stream of ids then also says which activations count; see `LearnEndToEnd.loss`.
    """
    return replace(contexts, ids=torch.where(contexts.kept, contexts.ids, ~contexts.ids))


@dataclass(frozen=True, eq=False)
class _Clean:
    """What the model makes of a batch when nothing is spliced in.

    Attributes
    ----------
    ids : the contexts.
    places : context and position of each kept token, shuffled.
    predicted : positions whose prediction counts.
    seen : activations by site.
    log_p : log-probabilities at these positions; `None` where nothing asks for them.
    """

    ids: Int[Tensor, "context position"]
    places: tuple[Tensor, ...]
    predicted: Bool[Tensor, "context before"]
    seen: dict[str, Grid]
    log_p: Float[Tensor, "prediction vocabulary"] | None

    def columns(self, sites: Sequence[Site]) -> Activations:
        """Activations of kept tokens, the sites side by side."""
        return torch.cat([self.seen[site.name][self.places] for site in sites], 1)

    def harm(self, logits: Float[Tensor, "context position vocabulary"]) -> Float[Tensor, ""]:
        """KL from this run where it has `log_p`, else cross-entropy of the tokens that came."""
        z = logits[:, :-1][self.predicted]
        if self.log_p is None:
            return nn.functional.cross_entropy(z, self.ids[:, 1:][self.predicted])
        differences = torch.linalg.vecdot(self.log_p.exp(), self.log_p - z)
        return (differences + z.logsumexp(1)).mean()  # log q itself would be one table more

    def unexplained(self, name: str, other: Grid) -> Float[Tensor, ""]:
        """``mean |a - â|² / mean |a - mean a|²`` at the site `name`."""
        a = self.seen[name][self.places]
        error = (a - other[self.places]).square().sum(1).mean()
        return error / (a - a.mean(0)).square().sum(1).mean()


class LearnEndToEnd:
    """``KL or CE + reconstruction · FVU + downstream · FVU_later``, and what `local` adds.

    The model runs twice: clean and without gradient, which gives ``x``, ``a`` and ``p``; and with
    ``x̂`` in place of ``x`` at the kept tokens, which gives ``â`` and ``q``.

    * ``KL = mean sum_v p_v (log p_v - log q_v)``, ``CE = -mean log q`` of the token that came, in
      nats, over kept tokens that have a position before them;
    * ``FVU``: the error at the site as `LearnDictionary` counts it, nested prefixes included;
    * ``FVU_later = mean |a - â|² / mean |a - mean a|²`` at kept tokens, the mean over later sites
      (Braun et al. do not divide: here weights mean the same at every site);
    * sparsity terms, AuxK, the schedule of k and the units are those of `local`; weights count
      against nats.

    The model is neither changed nor given gradients. Padding is not masked: it comes last, where a
    causal model does not look.

    Parameters
    ----------
    local : the dictionary, and its terms beside.
    loaded : a causal language model.
    config : which losses count.
    read, write : the sites whose activations lie side by side in what the dictionary reads and
        writes; the same for one that reconstructs what it reads.

    Errors
    ------
    `UserError` where `misplaced` finds reasons.
    """

    def __init__(
        self, local: LearnDictionary, loaded: LoadedModel, config: EndToEndConfig,
        read: Sequence[Site], write: Sequence[Site],
    ):  # fmt: skip
        refuse(misplaced(config, loaded, write), "end-to-end training")
        self.local = local
        self.model = loaded.model
        self.config = config
        self.write = tuple(write)
        self.columns = tuple(read) if local.module.autoencodes else (*read, *write)
        self.later = match(loaded.model, config.downstream_sites)

    @property
    def module(self) -> Dictionary:
        """What learns."""
        return self.local.module

    def loss(self, batch: Int[Tensor, "context position"]) -> tuple[Float[Tensor, ""], Readings]:
        """See the class. `batch`: ids, or ``~id`` of a token that is not kept (`mark_unkept`).

        Readings: those of `LearnDictionary`, and kl, ce or downstream where they count.
        """
        clean = self._run_clean(batch)
        more: Readings = {}
        columns = clean.columns(self.columns).to(self.module.b_dec.dtype)
        total, readings = self.local.loss(columns, partial(self._lowered, clean, more))
        return total, readings | more

    @torch.no_grad()
    def _run_clean(self, batch: Int[Tensor, "context position"]) -> _Clean:
        kept, ids = batch >= 0, torch.where(batch >= 0, batch, ~batch)
        predicted, log_p = counted_tokens(kept)[:, 1:], None
        sites = [*self.columns, *self.later]
        if self.config.loss == "kl":
            logits, seen = self._run(ids, sites, {})
            log_p = logits[:, :-1][predicted].log_softmax(1)
        else:  # nobody asks for logits, so the pass ends at the last site
            seen = tap.read(self.model, sites, ids)
        return _Clean(ids, self._shuffled(kept), predicted, seen, log_p)

    def _shuffled(self, kept: Bool[Tensor, "context position"]) -> tuple[Tensor, ...]:
        """Context and position of each kept token: AuxK takes the first of them for a sample."""
        draw = torch.Generator().manual_seed(self.local.step)
        places = kept.nonzero()
        order = torch.randperm(len(places), generator=draw)
        return places[order.to(places.device)].unbind(1)

    def _run(
        self, ids: Int[Tensor, "context position"], sites: Sequence[Site],
        edits: Mapping[Site, tap.Edit],
    ) -> tuple[Float[Tensor, "context position vocabulary"], dict[str, Grid]]:  # fmt: skip
        """Logits under `edits`, and the activations at `sites`."""
        seen: dict[str, Tensor] = {}

        def watch(site: Site, activation: Tensor) -> Tensor:
            # A copy: some models add to their hidden states in place.
            seen[site.name] = activation.clone()
            return activation

        watches = {site: partial(watch, site) for site in sites}
        return _logits(self.model, ids, {**watches, **edits}), seen

    def _lowered(
        self, clean: _Clean, more: Readings, code: SparseCode, x: Activations, target: Activations
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Activations]:
        """In place of the error at the site alone: what is lowered, the FVU, and what is left over."""
        weights = self.config
        with torch.set_grad_enabled(weights.reconstruction > 0):
            near, fvu, residual = self.local.unexplained(code, x, target)
        logits, seen = self._run(clean.ids, self.later, self._splices(clean, code, x))
        total = weights.reconstruction * near
        if weights.loss != "none":
            harm = clean.harm(logits)
            more[weights.loss] = harm.detach()
            total = total + harm
        if seen:
            each = [clean.unexplained(name, other) for name, other in seen.items()]
            later = torch.stack(each).mean()
            more["downstream"] = later.detach()
            total = total + weights.downstream * later
        return total, fvu, residual

    def _splices(self, clean: _Clean, code: SparseCode, x: Activations) -> dict[Site, tap.Edit]:
        """The reconstruction, in the activations' own units, at the kept tokens."""
        _, units = self.local.places()
        rebuilt = times(self.module.decode(code, x), units.inverse)
        rebuilt = rebuilt if units.origin is None else rebuilt + units.origin

        def splice(part: Tensor, activation: Tensor) -> Tensor:
            return activation.index_put(clean.places, part.to(activation))

        parts = rebuilt.split([site.width for site in self.write], 1)
        return {site: partial(splice, part) for site, part in zip(self.write, parts, strict=True)}

    def renew(self) -> Sequence[tuple[nn.Parameter, Tensor]]:
        """See `LearnDictionary`."""
        return self.local.renew()

    def at_work(self) -> AbstractContextManager[None]:
        """The model's loops, which take most of a step, use every thread."""
        return nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """That of `local`: nothing else changes."""
        return self.local.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state saved by `state_dict`."""
        self.local.load_state_dict(state)


def _logits(
    model: PreTrainedModel, ids: Int[Tensor, "context position"], edits: Mapping[Site, tap.Edit]
) -> Float[Tensor, "context position vocabulary"]:
    with tap.editing(model, edits):
        return model(input_ids=ids, use_cache=False).logits
