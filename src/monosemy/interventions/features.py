"""Edits of single features: small final values, each of which states what it assumes.

``x -> x + decode(edited code) - decode(code)``: a feature changes, and what the dictionary could
not explain of the activation (its error) stays. For a decoder that is linear in its code,
``Ablate`` is ``x - z_i d_i``; where it is not, or where latents depend on each other
(`interventions.recoding`), the difference of the two decodings is what is meant.

All are made on the activation as it comes: several at once do not see each other's effect
(`Together`). Where positions are to be left out, wrap one in `edits.Only`; where what is read and
what is written are two places (a transcoder), `placed` finds the edit for each.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.foundation.errors import UserError, refuse
from monosemy.interventions.edits import Edit, Only, chunks
from monosemy.interventions.recoding import change_latent, difference, values_of
from monosemy.models.sites import Site
from monosemy.tensors.axes import Activations, Float, Tensor, Written
from monosemy.tensors.codes import SparseCode


class FeatureEdit(ABC):
    """One latent of a dictionary is to be something else.

    Attributes
    ----------
    dictionary : in evaluation mode; a `UserError` while it trains, because BatchTopK then chooses
        over the batch and one token's edit would change another's code.
    latent : its number, from 0; a `UserError` where the dictionary has no such latent.
    """

    dictionary: Dictionary
    latent: int

    def __post_init__(self) -> None:
        refuse(_misfits(self.dictionary, self.latent), "this edit")

    @abstractmethod
    def wanted(self, current: Float[Tensor, "token"]) -> Float[Tensor, "token"]:
        """What the latent is to be on each token, from what it is."""

    def change(self, code: SparseCode) -> SparseCode:
        """The edited code; see `recoding.change_latent` for latents that have a family."""
        values = self.wanted(values_of(code, self.latent))
        return change_latent(self.dictionary, code, self.latent, values)

    def __call__(
        self, activation: Float[Tensor, "context position width"]
    ) -> Float[Tensor, "context position width"]:
        """The activation with the feature changed, its error kept."""
        return Recode(self.dictionary, (self,))(activation)


@dataclass(frozen=True, eq=False)
class Ablate(FeatureEdit):
    """``z_i -> 0``: the feature is taken out, ``x - z_i d_i`` for a linear decoder.

    Assumes that zero is what the feature says when it has nothing to say, which sparse codes are
    made for. Does nothing where the latent is silent. Children go with their parent.
    """

    dictionary: Dictionary
    latent: int

    def wanted(self, current: Float[Tensor, "token"]) -> Float[Tensor, "token"]:
        """Zeros."""
        return torch.zeros_like(current)


@dataclass(frozen=True, eq=False)
class Set(FeatureEdit):
    """``z_i -> value`` on every token, whatever it was: ``x + (value - z_i) d_i``.

    Assumes that `value` is one the feature could have: far above the largest it has on text, the
    model is asked about an activation it never saw. A child can be set only below an active parent,
    and takes its sibling's place there.
    """

    dictionary: Dictionary
    latent: int
    value: float

    def __post_init__(self) -> None:
        finite = _not_finite("value", self.value)
        refuse(_misfits(self.dictionary, self.latent) + finite, "this edit")

    def wanted(self, current: Float[Tensor, "token"]) -> Float[Tensor, "token"]:
        """The value."""
        return torch.full_like(current, self.value)


@dataclass(frozen=True, eq=False)
class Scale(FeatureEdit):
    """``z_i -> factor z_i``: ``x + (factor - 1) z_i d_i``.

    Assumes that what the feature says grows with its activation. 1 changes nothing, 0 is `Ablate`,
    and nothing happens where the latent is silent. Children keep their amounts.
    """

    dictionary: Dictionary
    latent: int
    factor: float

    def __post_init__(self) -> None:
        finite = _not_finite("factor", self.factor)
        refuse(_misfits(self.dictionary, self.latent) + finite, "this edit")

    def wanted(self, current: Float[Tensor, "token"]) -> Float[Tensor, "token"]:
        """So many times what it is."""
        return self.factor * current


@dataclass(frozen=True, eq=False)
class Add:
    """``x -> x + amount · direction`` on every token, whatever it is.

    Assumes nothing of a dictionary, and so knows nothing of what was there: where the feature is
    active already the amounts add up. Steering vectors are added this way (Turner et al. 2023,
    arXiv:2308.10248).

    Errors
    ------
    `UserError` for a direction of zeros (a child that points at no chart) and numbers that are not
    finite.
    """

    direction: Float[Tensor, "width"]
    amount: float

    def __post_init__(self) -> None:
        reasons = _not_finite("amount", self.amount)
        if not bool(self.direction.isfinite().all()):
            reasons.append("the direction holds numbers that are not finite")
        elif not bool(self.direction.any()):
            reasons.append("the direction is all zeros, so nothing would be added")
        refuse(reasons, "this edit")

    @classmethod
    def of(cls, dictionary: Dictionary, latent: int, amount: float) -> Add:
        """Along a latent's direction scaled to length one: `amount` is a length in `x`'s units."""
        refuse(_misfits(dictionary, latent), "this edit")
        return cls(dictionary.directions()[latent].clone(), amount)

    def __call__(
        self, activation: Float[Tensor, "context position width"]
    ) -> Float[Tensor, "context position width"]:
        """The activation, moved."""
        return activation + (self.amount * self.direction).to(activation)


@dataclass(frozen=True, eq=False)
class Recode:
    """``x -> x + decode(edited code) - decode(code)``, or ``x -> decode(edited code)``.

    Assumes, with `keep_error`, that what the dictionary leaves over is none of the edit's business
    and reaches the model as it was; without edits it changes nothing. Without `keep_error` the
    reconstruction takes the activation's place too, so its own harm is mixed with the edits';
    without edits it is `edits.Splice`.

    Parameters
    ----------
    dictionary : what all the edits are of.
    edits : made one after the other on the code of `x`.
    keep_error : see above.
    """

    dictionary: Dictionary
    edits: tuple[FeatureEdit, ...] = ()
    keep_error: bool = True

    def __post_init__(self) -> None:
        if any(edit.dictionary is not self.dictionary for edit in self.edits):
            raise UserError(
                "these edits are of several dictionaries, and a code belongs to one; "
                "combine them with Together"
            )

    def difference(self, read: Activations) -> Written:
        """What the edits write in place of what was read; see `recoding.difference`."""
        changes = [edit.change for edit in self.edits]
        parts = chunks(read.to(self.dictionary.b_dec), self.dictionary.latents)
        return torch.cat([difference(self.dictionary, part, changes) for part in parts])

    def reconstruction(self, read: Activations) -> Written:
        """The decoded code, edited."""
        found = []
        for part in chunks(read.to(self.dictionary.b_dec), self.dictionary.latents):
            code = self.dictionary.code(part)
            for edit in self.edits:
                code = edit.change(code)
            found.append(self.dictionary.decode(code, part))
        return torch.cat(found)

    def __call__(
        self, activation: Float[Tensor, "context position width"]
    ) -> Float[Tensor, "context position width"]:
        """`UserError` for a dictionary that writes another place than it reads: see `placed`."""
        if not self.dictionary.autoencodes:
            raise UserError(
                f"a {type(self.dictionary).__name__} writes another place than it reads, so one "
                "activation is not enough; let placed(edit, writes, reads) find the edit of each"
            )
        return self.beside(activation, activation)

    def beside(
        self,
        read: Float[Tensor, "context position width"],
        written: Float[Tensor, "context position written"],
    ) -> Float[Tensor, "context position written"]:
        """What is to be written, given what was read and what the model wrote."""
        rows = read.flatten(0, 1)
        if not self.keep_error:
            return self.reconstruction(rows).to(written).view_as(written)
        moved = self.difference(rows).view_as(written)
        # In the wider of both precisions, so that tokens without a change keep their bits.
        return (written + moved).to(written)


@dataclass(frozen=True, eq=False)
class Together:
    """Several edits at once: ``x -> x + sum of what each changes``, all of them looking at ``x``.

    Assumes that they are meant to be made side by side: none sees what another did. Edits of one
    dictionary share one code, where later ones win over earlier ones of the same latent.
    """

    edits: tuple[FeatureEdit | Add, ...]

    def __call__(
        self, activation: Float[Tensor, "context position width"]
    ) -> Float[Tensor, "context position width"]:
        """The activation with every change."""
        return self.beside(activation, activation)

    @property
    def recodes(self) -> tuple[Recode, ...]:
        """One for each dictionary."""
        found: dict[int, list[FeatureEdit]] = {}
        for edit in self.edits:
            if isinstance(edit, FeatureEdit):
                found.setdefault(id(edit.dictionary), []).append(edit)
        return tuple(Recode(group[0].dictionary, tuple(group)) for group in found.values())

    def beside(
        self,
        read: Float[Tensor, "context position width"],
        written: Float[Tensor, "context position written"],
    ) -> Float[Tensor, "context position written"]:
        """What is to be written, given what was read and what the model wrote."""
        total = written
        for recode in self.recodes:
            total = total + recode.difference(read.flatten(0, 1)).view_as(written)
        for edit in self.edits:
            if isinstance(edit, Add):
                total = total + (edit.amount * edit.direction).to(total)
        return total.to(written) if total is not written else written.clone()


def placed(edit: Edit, writes: Site, reads: Site | None = None) -> dict[Site, Edit]:
    """`edit` for `tap.editing`: at one site; for a transcoder, read at one and written at another.

    Made anew for each run or generation: what was read is remembered until it is written.

    Parameters
    ----------
    edit : any; feature edits, also inside `Together` and `edits.Only`, are split where they have to be.
    writes : where it acts.
    reads : where its dictionary reads; `None` for the same place.

    Errors
    ------
    `UserError` where a dictionary does not fit the sites: all reasons at once.
    """
    inner = edit.edit if isinstance(edit, Only) else edit
    dictionaries = _dictionaries(inner)
    refuse([r for one in dictionaries for r in _unplaced(one, writes, reads)], "this edit")
    if all(one.autoencodes for one in dictionaries):
        return {writes: edit}
    assert reads is not None, "refused above"
    seen = _Seen()
    later: Edit = _Write(_as_pair(inner), seen, writes)
    return {reads: seen, writes: Only(later, edit.kept) if isinstance(edit, Only) else later}


class _Seen:
    """Remembers the activation that passed last, and leaves it as it is."""

    value: Tensor | None = None

    def __call__(
        self, activation: Float[Tensor, "context position width"]
    ) -> Float[Tensor, "context position width"]:
        # A copy: some models add to their hidden states in place.
        self.value = activation.clone()
        return activation


@dataclass(frozen=True, eq=False)
class _Write:
    """Writes what the activation that was read asks for."""

    edit: Recode | Together
    seen: _Seen
    site: Site

    def __call__(
        self, activation: Float[Tensor, "context position written"]
    ) -> Float[Tensor, "context position written"]:
        read, self.seen.value = self.seen.value, None
        if read is None:
            raise UserError(
                f"{self.site.name} is written before the place that decides what to write was "
                "read; a transcoder reads first"
            )
        return self.edit.beside(read, activation)


def _as_pair(edit: Edit) -> Recode | Together:
    if isinstance(edit, FeatureEdit):
        return Recode(edit.dictionary, (edit,))
    assert isinstance(edit, (Recode, Together)), "only these hold dictionaries"
    return edit


def _dictionaries(edit: Edit) -> Sequence[Dictionary]:
    if isinstance(edit, (FeatureEdit, Recode)):
        return [edit.dictionary]
    return [one.dictionary for one in edit.recodes] if isinstance(edit, Together) else []


def _unplaced(dictionary: Dictionary, writes: Site, reads: Site | None) -> list[str]:
    """Why `dictionary` does not fit these sites."""
    kind = type(dictionary).__name__
    here = writes if reads is None else reads
    reasons = []
    if not dictionary.autoencodes and reads is None:
        reasons.append(f"a {kind} writes another place than it reads; name the place it reads")
    elif dictionary.autoencodes and here != writes:
        reasons.append(
            f"a {kind} writes the place that it reads, not {writes.name} from {here.name}"
        )
    if dictionary.width != here.width and (dictionary.autoencodes or reads is not None):
        reasons.append(
            f"{here.name} has {here.width:,} numbers an activation, this {kind} reads "
            f"{dictionary.width:,}" + _several(dictionary, here.width)
        )
    if dictionary.written != writes.width and not dictionary.autoencodes:
        reasons.append(
            f"{writes.name} has {writes.width:,} numbers an activation, this {kind} writes "
            f"{dictionary.written:,}" + _several(dictionary, writes.width)
        )
    return reasons


def _several(dictionary: Dictionary, width: int) -> str:
    if hasattr(dictionary, "widths") or hasattr(dictionary, "layers"):
        return " (of several places side by side, which cannot be edited together in one run)"
    return "; name the site it was trained on"


def _misfits(dictionary: Dictionary, latent: int) -> list[str]:
    reasons = []
    if not 0 <= latent < dictionary.latents:
        reasons.append(
            f"no latent {latent:,} in a dictionary of {dictionary.latents:,}; they are numbered "
            f"from 0 to {dictionary.latents - 1:,}"
        )
    if dictionary.training:
        reasons.append("the dictionary is in training mode; call its eval() first")
    return reasons


def _not_finite(name: str, value: float) -> list[str]:
    return [] if math.isfinite(value) else [f"{name} is {value}; wanted a finite number"]
