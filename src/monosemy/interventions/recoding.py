"""A code with one latent changed, so that it stays a code that the dictionary could have found.

A flat dictionary's latents are free of each other. Where latents have children (local codes,
`LocalDictionary`, and `HierarchicalDictionary`) they are not: a child lives only below an active
parent, and a parent has at most one child at a time. So a silent parent takes everything below it
along, a child of a silent parent stays silent, and a child that is set takes its sibling's place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.hierarchical import HierarchicalDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.tensors.axes import Activations, Bool, Float, Int, Tensor, Written
from monosemy.tensors.codes import SparseCode

Change = Callable[[SparseCode], SparseCode]
"""Takes the code of some tokens and returns another one of the same tokens."""

_Family = LocalDictionary | HierarchicalDictionary


def difference(dictionary: Dictionary, read: Activations, changes: Sequence[Change]) -> Written:
    """``decode(changed code) - decode(code)``: what the changes alone write, and nothing else.

    Whatever the code leaves over (its error) is in neither term. Tokens whose code stays as it was
    get exact zeros. Works for every decoder, linear in its code or not.

    Parameters
    ----------
    dictionary : in evaluation mode, so that every token is encoded by itself.
    read : activations of the place that it reads, in its own precision.
    changes : made one after the other, on the code of the activations as they came.
    """
    code = dictionary.code(read)
    changed = code
    for change in changes:
        changed = change(changed)
    tokens = touched(code, changed)
    x = read[tokens]
    written = read.new_zeros(len(read), dictionary.written)
    if len(x):
        new, old = (dictionary.decode(rows(one, tokens), x) for one in (changed, code))
        written = written.index_put((tokens.nonzero()[:, 0],), new - old)
    return written


def change_latent(
    dictionary: Dictionary, code: SparseCode, latent: int, values: Float[Tensor, "token"]
) -> SparseCode:
    """`code` with `values` of one latent, one a token, and what follows from that for its family."""
    family = _unwrapped(dictionary)
    if not isinstance(family, _Family):
        return put(code, latent, values)
    parent = int(family.parent_of(torch.tensor([latent], device=code.indices.device)))
    if parent < 0:
        return _without_orphans(family, code, put(code, latent, values))
    # A child of a silent parent stays silent.
    values = torch.where(_has(code, parent), values, torch.zeros_like(values))
    siblings = (family.parent_of(code.indices) == parent) & (code.indices != latent)
    replaced = code.keep(~(siblings & (values != 0)[code.rows]))
    return _without_orphans(family, code, put(replaced, latent, values))


def values_of(code: SparseCode, latent: int) -> Float[Tensor, "token"]:
    """The activation of one latent on every token, zero where it is silent."""
    own = code.indices == latent
    values = code.values.new_zeros(code.tokens)
    return values.index_add(0, code.rows[own], code.values[own])


def put(code: SparseCode, latent: int, values: Float[Tensor, "token"]) -> SparseCode:
    """`code` with `values` of one latent; zero takes its entry out, others keep their order."""
    own = code.indices == latent
    replaced = torch.where(own, values[code.rows], code.values)
    there = _has(code, latent)
    kept = code.with_values(replaced).keep(~own | (replaced != 0))
    fresh = (~there & (values != 0)).nonzero()[:, 0]
    if not len(fresh):
        return kept
    # Behind the entries that its token has: the sort is stable.
    at = torch.cat([kept.rows, fresh]).argsort(stable=True)
    indices = torch.cat([kept.indices, torch.full_like(fresh, latent)])[at]
    entries = torch.cat([kept.values, values[fresh]])[at]
    counts = kept.counts + torch.zeros_like(kept.counts).index_fill(0, fresh, 1)
    return SparseCode(_bounds(counts), indices, entries, code.latents)


def rows(code: SparseCode, chosen: Bool[Tensor, "token"]) -> SparseCode:
    """The code of the `chosen` tokens alone."""
    part = chosen[code.rows]
    return SparseCode(
        _bounds(code.counts[chosen]), code.indices[part], code.values[part], code.latents
    )


def touched(before: SparseCode, after: SparseCode) -> Bool[Tensor, "token"]:
    """Which tokens have another code; both list a token's entries in the same order."""
    alike = before.counts == after.counts
    old, new = (one.keep(alike[one.rows]) for one in (before, after))
    found = ~alike
    differs = (old.indices != new.indices) | (old.values != new.values)
    found[old.rows[differs]] = True
    return found


def _unwrapped(dictionary: Dictionary) -> Dictionary:
    """The one inside a normalisation or a pruning: their latents are the same."""
    while isinstance(inner := getattr(dictionary, "inner", None), Dictionary):
        dictionary = inner
    return dictionary


def _has(code: SparseCode, latent: int) -> Bool[Tensor, "token"]:
    found = torch.zeros(code.tokens, dtype=torch.bool, device=code.offsets.device)
    found[code.rows[code.indices == latent]] = True
    return found


def _without_orphans(dictionary: _Family, before: SparseCode, after: SparseCode) -> SparseCode:
    """`after` without what lies below entries that `before` had and it has not."""
    gone = _keys(before, before.indices)
    gone = gone[~torch.isin(gone, _keys(after, after.indices))]
    while len(gone):
        lost = torch.isin(_keys(after, dictionary.parent_of(after.indices)), gone)
        gone = _keys(after, after.indices)[lost]
        after = after.keep(~lost)
    return after


def _keys(code: SparseCode, latents: Int[Tensor, "active"]) -> Int[Tensor, "active"]:
    """One number for each token and latent; latent -1 (nobody) gives a key that none has."""
    return torch.where(latents < 0, -1, code.rows * code.latents + latents)


def _bounds(counts: Int[Tensor, "token"]) -> Int[Tensor, "bounds"]:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
