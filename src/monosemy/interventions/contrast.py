"""A clean run, edited runs, and the difference between them, token by token.

What is returned is aligned with the token that was predicted: entry ``(c, p)`` says how well
``ids[c, p]`` was foreseen from the positions before it. Position 0 is never predicted and holds 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from monosemy.foundation.errors import UserError
from monosemy.interventions.edits import Edit, Only
from monosemy.models import tap
from monosemy.models.sites import Site
from monosemy.tensors.axes import Bool, Float, Int, Tensor

# Logits worked on at once (float32): small enough that temporaries stay in the processor's cache.
_ENTRIES = 1 << 20


@dataclass(frozen=True, eq=False)
class Change:
    """What an edit did to each prediction.

    Attributes
    ----------
    loss : cross-entropy of each token in the edited run, in nats.
    divergence : ``KL(p_clean || p_edited)`` of the distribution that predicts it, in nats.
    """

    loss: Float[Tensor, "context position"]
    divergence: Float[Tensor, "context position"]


@dataclass(frozen=True, eq=False)
class CleanRun:
    """One group of contexts as the model reads it: run once, compared with any number of edits.

    Attributes
    ----------
    model, sites, ids, mask : what was run (`mask` is 0 at padding), and where it was read.
    activations : the clean activation at each site, by its name.
    log_p : clean log-probabilities after each position.
    loss : clean cross-entropy of each token, in nats.
    """

    model: Any
    sites: tuple[Site, ...]
    ids: Int[Tensor, "context position"]
    mask: Int[Tensor, "context position"] | None
    activations: Mapping[str, Tensor]
    log_p: Float[Tensor, "context position vocabulary"]
    loss: Float[Tensor, "context position"]

    @property
    def activation(self) -> Float[Tensor, "context position width"]:
        """The clean activation at the only (or first) site."""
        return self.activations[self.sites[0].name]

    @torch.no_grad()
    def under(self, edit: Edit | Mapping[Site, Edit]) -> Change:
        """Run again with `edit` at every site, or with one for each site named, and compare."""
        edits = edit if isinstance(edit, Mapping) else dict.fromkeys(self.sites, edit)
        with tap.editing(self.model, edits):
            logits = _logits(self.model, self.ids, self.mask)
        following = _following(self.ids)
        loss, divergence = torch.empty_like(self.loss), torch.empty_like(self.loss)
        for at, raw in _chunks(logits):
            z, log_p = raw.float(), self.log_p.flatten(0, 1)[at]
            log_total = z.logsumexp(1)
            loss.view(-1)[at] = log_total - _pick(z, following[at])
            divergence.view(-1)[at] = _dot(log_p.exp(), log_p - z) + log_total
        return Change(_at_predicted(loss), _at_predicted(divergence))


@dataclass(frozen=True, eq=False)
class Contrast:
    """A clean run beside its edited runs.

    Attributes
    ----------
    counted : which tokens are compared: kept, and with a position before them.
    loss : clean cross-entropy of each token, in nats.
    changes : what each edit did.
    """

    counted: Bool[Tensor, "context position"]
    loss: Float[Tensor, "context position"]
    changes: dict[str, Change]


def contrast(
    model: Any,
    site: Site,
    ids: Int[Tensor, "context position"],
    kept: Bool[Tensor, "context position"],
    edits: Mapping[str, Edit],
    mask: Int[Tensor, "context position"] | None = None,
) -> Contrast:
    """One clean forward pass, and one for each edit, made at kept positions only.

    Parameters
    ----------
    model : a causal language model.
    site : where the edits are made.
    ids, kept : the contexts, and the tokens whose activation may be replaced and whose loss counts.
    edits : by name.
    mask : 1 where a token counts, 0 for padding; `None` where every token counts.

    Errors
    ------
    `UserError` for a model that gives no logits.
    """
    run = run_clean(model, site, ids, mask)
    changes = {name: run.under(Only(edit, kept)) for name, edit in edits.items()}
    return Contrast(counted_tokens(kept), run.loss, changes)


@torch.no_grad()
def run_clean(
    model: Any,
    sites: Site | Sequence[Site],
    ids: Int[Tensor, "context position"],
    mask: Int[Tensor, "context position"] | None = None,
) -> CleanRun:
    """The clean forward pass, which also reads the activations at `sites`. See `contrast`."""
    sites = (sites,) if isinstance(sites, Site) else tuple(sites)
    seen: dict[str, Tensor] = {}

    def watch(site: Site, activation: Tensor) -> Tensor:
        # A copy: some models add to their hidden states in place.
        if site.name not in seen:
            seen[site.name] = activation.detach().clone()
        return activation

    with tap.editing(model, {site: partial(watch, site) for site in sites}):
        logits = _logits(model, ids, mask)
    if missing := [site.name for site in sites if site.name not in seen]:
        raise UserError(
            f"no activation at {', '.join(missing)}: a forward pass of {type(model).__name__} "
            "never runs it"
        )
    following = _following(ids)
    log_p = torch.empty(logits.shape, dtype=torch.float32, device=logits.device)
    loss = log_p.new_empty(ids.shape)
    for at, raw in _chunks(logits):
        part = torch.log_softmax(raw.float(), 1)
        log_p.flatten(0, 1)[at] = part
        loss.view(-1)[at] = -_pick(part, following[at])
    return CleanRun(model, sites, ids, mask, seen, log_p, _at_predicted(loss))


def counted_tokens(kept: Bool[Tensor, "context position"]) -> Bool[Tensor, "context position"]:
    """Tokens whose prediction counts: kept, and with a position before them in their context."""
    counted = kept.clone()
    counted[:, 0] = False
    return counted


def _logits(model: Any, ids: Tensor, mask: Tensor | None) -> Float[Tensor, "_ _ vocabulary"]:
    given = {} if mask is None else {"attention_mask": mask}
    output = model(input_ids=ids, use_cache=False, **given)
    if getattr(output, "logits", None) is None:
        raise UserError(
            f"{type(model).__name__} gives no logits, so no cross-entropy can be measured; "
            "use a causal language model, or measure the reconstruction alone"
        )
    return output.logits


def _following(ids: Int[Tensor, "context position"]) -> Int[Tensor, "token"]:
    """The id after each position, in one row; the last position of a context wraps around."""
    return ids.roll(-1, dims=1).flatten()


def _chunks(logits: Tensor) -> Iterator[tuple[slice, Float[Tensor, "token vocabulary"]]]:
    flat = logits.flatten(0, 1)
    step = max(1, _ENTRIES // flat.shape[1])
    for start in range(0, len(flat), step):
        yield slice(start, start + step), flat[start : start + step]


def _pick(table: Float[Tensor, "token vocabulary"], ids: Tensor) -> Float[Tensor, "token"]:
    return table.gather(1, ids[:, None]).squeeze(1)


def _dot(left: Tensor, right: Tensor) -> Float[Tensor, "token"]:
    return torch.linalg.vecdot(left, right, dim=1)


def _at_predicted(
    after: Float[Tensor, "context position"],
) -> Float[Tensor, "context position"]:
    """From the position that predicts to the position predicted; drops the wrapped-around last."""
    moved = after.roll(1, dims=1)
    moved[:, 0] = 0
    return moved
