"""What an edit truly does to the next tokens: the model is run again with it, and compared.

Two places are spoken of. A *token* is foreseen from the positions before it (`loss`, `divergence`:
aligned as in `interventions.contrast`, 0 at position 0). A *prediction* stands at a position and
speaks of the token after it (`Prediction`), so the last position has one too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.interventions.contrast import CleanRun, counted_tokens, run_clean
from monosemy.interventions.edits import Edit, Only
from monosemy.models import tap
from monosemy.models.sites import Site
from monosemy.tensors.axes import Bool, Float, Int, Tensor

Words = Callable[[int], str]
"""The text of a token id, as a person reads it."""

ORDERS = ("probability", "logit")
"""What raised and lowered tokens are ordered by."""


@dataclass(frozen=True)
class TokenChange:
    """What an edit did to one possible next token.

    Attributes
    ----------
    token : its id.
    before, after : its probability in the clean and in the edited run.
    logit : how much its logit rose, less the mean rise over the vocabulary (which no probability
        depends on).
    """

    token: int
    before: float
    after: float
    logit: float

    def to_json(self, words: Words | None = None) -> dict[str, Any]:
        """``{token, [text], before, after, logit}``."""
        text = {} if words is None else {"text": words(self.token)}
        return {"token": self.token, **text, "before": self.before, "after": self.after,
                "logit": self.logit}  # fmt: skip


@dataclass(frozen=True)
class Prediction:
    """What an edit did to the distribution of the token after one position.

    Attributes
    ----------
    context, position : where.
    divergence : ``KL(p_clean || p_edited)``, in nats.
    raised, lowered : the tokens that gained and lost most, strongest first; only those that did.
    """

    context: int
    position: int
    divergence: float
    raised: tuple[TokenChange, ...]
    lowered: tuple[TokenChange, ...]

    def to_json(self, words: Words | None = None) -> dict[str, Any]:
        """``{context, position, divergence, raised, lowered}``."""
        return {
            "context": self.context, "position": self.position, "divergence": self.divergence,
            "raised": [one.to_json(words) for one in self.raised],
            "lowered": [one.to_json(words) for one in self.lowered],
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Effects:
    """An edited run beside the clean one, token by token.

    Attributes
    ----------
    ids : the tokens.
    counted : which of them are compared: kept, and with a position before them.
    clean_loss, loss : cross-entropy of each token without and with the edit, in nats.
    divergence : ``KL(p_clean || p_edited)`` of the distribution that foresees each token, in nats.
    rise : how much each logit rose after each position, less the mean over the vocabulary.
    predictions : at the positions that were asked for.
    """

    ids: Int[Tensor, "context position"]
    counted: Bool[Tensor, "context position"]
    clean_loss: Float[Tensor, "context position"]
    loss: Float[Tensor, "context position"]
    divergence: Float[Tensor, "context position"]
    rise: Float[Tensor, "context position vocabulary"]
    predictions: tuple[Prediction, ...]

    @property
    def loss_change(self) -> float | None:
        """Mean rise of the cross-entropy over counted tokens, in nats; `None` where none counts."""
        return _mean(self.loss - self.clean_loss, self.counted)

    @property
    def mean_divergence(self) -> float | None:
        """Mean ``KL(p_clean || p_edited)`` over counted tokens, in nats."""
        return _mean(self.divergence, self.counted)

    def to_json(self, words: Words | None = None) -> dict[str, Any]:
        """``{loss_change, divergence, tokens: [context: [token]], predictions}``.

        A token is ``{token, [text], counted, clean_loss, loss, divergence}``.
        """
        return {
            "loss_change": self.loss_change,
            "divergence": self.mean_divergence,
            "tokens": [self._context(c, words) for c in range(len(self.ids))],
            "predictions": [one.to_json(words) for one in self.predictions],
        }

    def _context(self, context: int, words: Words | None) -> list[dict[str, Any]]:
        columns = (self.ids, self.counted, self.clean_loss, self.loss, self.divergence)
        found = []
        for token, counted, clean, loss, kl in zip(
            *(column[context].tolist() for column in columns), strict=True
        ):
            text = {} if words is None else {"text": words(token)}
            found.append({"token": token, **text, "counted": counted, "clean_loss": clean,
                          "loss": loss, "divergence": kl})  # fmt: skip
        return found


@torch.no_grad()
def true_effects(
    run: CleanRun,
    edits: Mapping[Site, Edit],
    kept: Bool[Tensor, "context position"] | None = None,
    *,
    positions: Sequence[int] | None = None,
    count: int = 10,
    by: str = "probability",
) -> Effects:
    """Run once more with `edits`, made at kept positions only, and compare with the clean `run`.

    Parameters
    ----------
    run : `contrast.run_clean`, made once for any number of edits.
    edits : by site; `features.placed` makes them.
    kept : tokens whose activation may be changed and whose loss counts; `None` for all.
    positions : of the predictions to list, negative ones from the end; `None` for every one.
    count : tokens raised, and lowered, that a prediction lists.
    by : what they are ordered by, one of `ORDERS`. Changes of probability are what a reader of the
        text would notice; changes of the logit compare with the direct path, and often stand at
        tokens that stay improbable.

    Errors
    ------
    `UserError` for positions there are none of and an unknown order, all reasons at once.
    """
    contexts, length = run.ids.shape
    kept = torch.ones_like(run.ids, dtype=torch.bool) if kept is None else kept
    listed = range(length) if positions is None else positions
    reasons = [f"position {p}; contexts here have {length} of them" for p in listed
               if not -length <= p < length]  # fmt: skip
    if by not in ORDERS:
        reasons.append(f"ordered by {by!r}; known: {', '.join(ORDERS)}")
    refuse(reasons, "this comparison")
    edited = rerun(run, edits, kept)
    change = edited.log_p - run.log_p
    rise = change - change.mean(-1, keepdim=True)
    after = (run.log_p.exp() * -change).sum(-1)
    predictions = tuple(
        _prediction(run, edited, rise, after, context, p % length, count, by)
        for context in range(contexts)
        for p in listed
    )
    divergence = after.roll(1, dims=1)
    divergence[:, 0] = 0
    return Effects(run.ids, counted_tokens(kept), run.loss, edited.loss, divergence, rise,
                   predictions)  # fmt: skip


def rerun(
    run: CleanRun,
    edits: Mapping[Site, Edit],
    kept: Bool[Tensor, "context position"] | None = None,
) -> CleanRun:
    """The same contexts through the model with `edits`, at `kept` positions only."""
    if kept is not None:
        edits = {site: Only(edit, kept) for site, edit in edits.items()}
    with tap.editing(run.model, edits):
        return run_clean(run.model, (), run.ids, run.mask)


def _prediction(
    run: CleanRun, edited: CleanRun, rise: Tensor, after: Tensor, context: int, position: int,
    count: int, by: str,
) -> Prediction:  # fmt: skip
    p, q = (one.log_p[context, position].exp() for one in (run, edited))
    r = rise[context, position]
    key = q - p if by == "probability" else r
    count = min(count, len(key))
    raised, lowered = (_listed(key, p, q, r, count, sign) for sign in (1, -1))
    return Prediction(context, position, float(after[context, position]), raised, lowered)


def _listed(
    key: Tensor, p: Tensor, q: Tensor, r: Tensor, count: int, sign: int
) -> tuple[TokenChange, ...]:
    values, ids = (sign * key).topk(count)
    return tuple(
        TokenChange(i, float(p[i]), float(q[i]), float(r[i]))
        for i, value in zip(ids.tolist(), values.tolist(), strict=True)
        if value > 0
    )


# --- at several strengths ------------------------------------------------------------------------


@dataclass(frozen=True)
class Dose:
    """What an edit does at one strength.

    Attributes
    ----------
    strength : in whatever unit the caller counts it.
    loss_change : mean rise of the cross-entropy over counted tokens, in nats.
    divergence : mean ``KL(p_clean || p_edited)`` over counted tokens, in nats.
    probabilities : mean probability of each named token over the positions looked at, by id.
    """

    strength: float
    loss_change: float
    divergence: float
    probabilities: Mapping[int, float]

    def to_json(self, words: Words | None = None) -> dict[str, Any]:
        """``{strength, loss_change, divergence, probabilities: {token or text: number}}``."""
        named = {str(i) if words is None else words(i): p for i, p in self.probabilities.items()}
        return {"strength": self.strength, "loss_change": self.loss_change,
                "divergence": self.divergence, "probabilities": named}  # fmt: skip


@dataclass(frozen=True, eq=False)
class DoseResponse:
    """An edit at rising strengths, beside the clean run.

    Attributes
    ----------
    clean_loss : mean cross-entropy without the edit, over counted tokens, in nats.
    clean_probabilities : of the named tokens, without the edit.
    tokens : how many tokens count.
    doses : one for each strength.
    """

    clean_loss: float
    clean_probabilities: Mapping[int, float]
    tokens: int
    doses: tuple[Dose, ...]

    def to_json(self, words: Words | None = None) -> dict[str, Any]:
        """``{clean_loss, clean_probabilities, tokens, doses}``."""
        named = {str(i) if words is None else words(i): p
                 for i, p in self.clean_probabilities.items()}  # fmt: skip
        return {"clean_loss": self.clean_loss, "clean_probabilities": named,
                "tokens": self.tokens, "doses": [one.to_json(words) for one in self.doses]}  # fmt: skip


@torch.no_grad()
def dose_response(
    run: CleanRun,
    doses: Mapping[float, Mapping[Site, Edit]],
    kept: Bool[Tensor, "context position"] | None = None,
    *,
    tokens: Sequence[int] = (),
    position: int | None = None,
    progress: Progress = SILENT,
) -> DoseResponse:
    """One pass over all contexts for each strength, each beside the same clean `run`.

    Parameters
    ----------
    doses : by strength, what is edited then; `features.placed` makes each.
    kept : see `true_effects`.
    tokens : ids whose probability is followed.
    position : where it is followed: after this position of every context (negative from the end);
        `None` for the mean over all kept positions.

    Errors
    ------
    `UserError` for no strengths, for a position or a token id there is none of, and for contexts
    none of whose tokens count.
    """
    kept = torch.ones_like(run.ids, dtype=torch.bool) if kept is None else kept
    counted = counted_tokens(kept)
    length, vocabulary = run.log_p.shape[1:]
    reasons = [] if doses else ["no strengths to compare; wanted at least one"]
    if position is not None and not -length <= position < length:
        reasons.append(f"position {position}; contexts here have {length} of them")
    reasons += [f"no token {i}; the model knows {vocabulary:,}" for i in tokens
                if not 0 <= i < vocabulary]  # fmt: skip
    if not bool(counted.any()):
        reasons.append("no token has a kept position before it; give a longer text")
    refuse(reasons, "this dose response")

    def probabilities(one: CleanRun) -> dict[int, float]:
        chosen = one.log_p[kept] if position is None else one.log_p[:, position]
        return {i: float(chosen[:, i].exp().mean()) for i in tokens}

    found = []
    with progress.task("doses", len(doses), "strengths") as task:
        for strength, edits in doses.items():
            edited = rerun(run, edits, kept)
            after = (run.log_p.exp() * (run.log_p - edited.log_p)).sum(-1)
            divergence = _mean(after.roll(1, dims=1), counted)
            loss = _mean(edited.loss - run.loss, counted)
            assert loss is not None, "some tokens count"
            assert divergence is not None, "some tokens count"
            found.append(Dose(float(strength), loss, divergence, probabilities(edited)))
            task.advance()
    clean = _mean(run.loss, counted)
    assert clean is not None, "some tokens count"
    return DoseResponse(clean, probabilities(run), int(counted.sum()), tuple(found))


def _mean(values: Tensor, counted: Tensor) -> float | None:
    chosen = values[counted]
    return float(chosen.double().mean()) if len(chosen) else None
