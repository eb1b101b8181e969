"""Rules that a form cannot say, folded into weights where that changes nothing, on request only.

Each fold leaves every code and every reconstruction what they were, in real numbers; in floating
point they differ by rounding, which is measured. With ``l_i = |W_dec[i]|``:

=============================  =====================================================================
constant factors ``c``, ``o``  ``W_enc c``, ``W_dec / o``, ``b_dec / o``, ``W_skip c / o``
decoder lengths, rescaled      ``l W_enc``, ``l b_enc``, ``W_dec / l``
decoder lengths, selected      ``threshold / l``, where latents are not compared with each other
`b_dec` subtracted, or not     ``b_enc - W_enc b_dec``, or ``b_enc + W_enc b_dec``
BatchTopK after training       JumpReLU, its threshold for every latent
=============================  =====================================================================

What has no exact equal (a norm of each token, pruning, a refining step) is left as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import nn

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign.format import Collection
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.normalised import CONSTANT, NormalisedDictionary
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, ReLU
from monosemy.dictionaries.semantics import unwrapped
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.tensors.axes import Activations, Tensor

FACTORS = "constant factors into the weights"
LENGTHS = "decoder lengths into the encoder"
UNCENTRED = "the subtraction of b_dec into the encoder's bias"
CENTRED = "a subtraction of b_dec, undone in the encoder's bias"
THRESHOLDS = "BatchTopK's threshold as JumpReLU"
_ROWS = 256
_Plain = FlatDictionary | GatedDictionary | Transcoder


@dataclass(frozen=True)
class Folded:
    """A collection in other words.

    Attributes
    ----------
    collection : what is equal to the one given.
    steps : what was folded, in plain words; none where nothing was.
    difference : the largest ``|x̂ - x̂'| / |x̂|`` of a random input.
    reasons : why the form cannot express it even so.
    """

    collection: Collection
    steps: tuple[str, ...]
    difference: float
    reasons: list[str]


def fold_for(collection: Collection, refuse: Callable[[Collection], list[str]]) -> Folded:
    """`collection` with the fewest folds that leave `refuse` the fewest reasons."""
    best = Folded(collection, (), 0.0, refuse(collection))
    known = [step for step in FOLDS if any(_asks_for(d, step) for d in collection.values())]
    for steps in (some for count in range(len(known)) for some in combinations(known, count + 1)):
        if best.reasons:
            found = {part: fold(dictionary, steps) for part, dictionary in collection.items()}
            best = min(best, Folded(found, steps, 0.0, refuse(found)), key=_left)
    if not best.steps:
        return best
    return replace(best, difference=max(distance(collection[p], best.collection[p])
                                        for p in collection))  # fmt: skip


def _left(folded: Folded) -> int:
    return len(folded.reasons)


def _asks_for(dictionary: Dictionary, step: str) -> bool:
    """Whether `step` may have something to do."""
    core = unwrapped(dictionary)
    return {
        FACTORS: core is not dictionary,
        LENGTHS: core.weighing != "none",
        UNCENTRED: core.centred,
        CENTRED: not core.centred,
        THRESHOLDS: core.selection.kind == "batchtopk",
    }[step]


def fold(dictionary: Dictionary, steps: Sequence[str]) -> Dictionary:
    """`dictionary` after those of `steps` (names in `FOLDS`) that have something to do."""
    folded = copy.deepcopy(dictionary)
    with torch.no_grad():
        for step in FOLDS:
            folded = FOLDS[step](folded) if step in steps else folded
    return folded.eval()


@torch.no_grad()
def distance(one: Dictionary, other: Dictionary) -> float:
    """The largest ``|x̂ - x̂'| / |x̂|`` of random inputs around `b_dec`, from small to large."""
    x = _inputs(one)
    here, there = one(x).double(), other(x).double()
    return float(((here - there).norm(dim=1) / here.norm(dim=1).clamp_min(1e-30)).max())


def _inputs(dictionary: Dictionary) -> Activations:
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(_ROWS, dictionary.width, generator=draw, dtype=torch.float64)
    rows *= torch.logspace(-1, 1, _ROWS, dtype=torch.float64)[:, None]
    if dictionary.autoencodes:
        offset = dictionary.b_dec.cpu().double()
        rows = rows * offset.square().mean().sqrt().clamp_min(1e-6) + offset
    return rows.to(dictionary.b_dec)


# --- the folds ------------------------------------------------------------------------------------


def _factors(dictionary: Dictionary) -> Dictionary:
    if not isinstance(dictionary, NormalisedDictionary) or dictionary.norm != CONSTANT:
        return dictionary
    read, write = dictionary.factor, dictionary.factor_out
    inner = _lengths(dictionary.inner)
    if not isinstance(inner, _Plain) or inner.weighing != "none":
        return dictionary
    if inner.centred and read != write:
        inner = _without_centring(inner)
    _times_(inner.W_enc, read)
    _times_(inner.W_dec, 1 / write)
    _times_(inner.b_dec, 1 / write)
    skip = getattr(inner, "W_skip", None)
    if skip is not None:
        _times_(skip, read / write)
    inner.metadata, inner.prefixes = dictionary.metadata, dictionary.prefixes
    return inner


def _lengths(dictionary: Dictionary) -> Dictionary:
    if not isinstance(dictionary, FlatDictionary | Transcoder) or dictionary.weighing == "none":
        return dictionary
    length = dictionary.W_dec.norm(dim=1)
    if dictionary.weighing == "rescaled":
        dictionary.W_enc.mul_(length[:, None])
        dictionary.b_enc.mul_(length)
        dictionary.W_dec.copy_(nn.functional.normalize(dictionary.W_dec, dim=1))
    elif not isinstance(dictionary.selection, ReLU | JumpReLU | BatchTopK) or not length.all():
        return dictionary  # latents would be compared without their lengths, or 0 with 0
    elif not isinstance(dictionary.selection, ReLU):
        least = _jumping(dictionary.selection, dictionary.b_enc)
        if least is None:
            return dictionary
        dictionary.selection = JumpReLU(least.threshold.clamp_min(0) / length)
    dictionary.weighing = "none"
    return dictionary


def _without_centring(dictionary: Dictionary) -> Dictionary:
    return _shifted(dictionary, -1) if dictionary.centred else dictionary


def _with_centring(dictionary: Dictionary) -> Dictionary:
    square = dictionary.width == dictionary.written
    return _shifted(dictionary, 1) if square and not dictionary.centred else dictionary


def _shifted(dictionary: Dictionary, sign: int) -> Dictionary:
    """With ``sign · W_enc b_dec`` in the encoder's bias, and `b_dec` subtracted where it was not."""
    if not isinstance(dictionary, _Plain):
        return dictionary
    shift = sign * (dictionary.W_enc.double() @ dictionary.b_dec.double())
    _add_(dictionary.b_enc, shift)
    if isinstance(dictionary, GatedDictionary):
        _add_(dictionary.b_mag, dictionary.r_mag.double().exp() * shift)
    dictionary.centred = sign > 0
    return dictionary


def _thresholds(dictionary: Dictionary) -> Dictionary:
    if not isinstance(dictionary, FlatDictionary | Transcoder):
        return dictionary
    jumping = _jumping(dictionary.selection, dictionary.b_enc)
    if jumping is not None:
        dictionary.selection = jumping
    return dictionary


def _jumping(selection: nn.Module, like: Tensor) -> JumpReLU | None:
    """`selection` as JumpReLU; `None` where it is none, or no threshold was ever set."""
    if isinstance(selection, JumpReLU):
        return selection
    if not isinstance(selection, BatchTopK) or selection.threshold < 0:
        return None
    return JumpReLU(selection.threshold.to(like).expand_as(like).clone())


def _times_(parameter: Tensor, factor: float) -> None:
    # Rounded once: torch would round the factor too.
    parameter.copy_(parameter.double() * factor)


def _add_(parameter: Tensor, shift: Tensor) -> None:
    parameter.copy_(parameter.double() + shift)


FOLDS: dict[str, Callable[[Dictionary], Dictionary]] = {
    FACTORS: _factors,
    LENGTHS: _lengths,
    UNCENTRED: _without_centring,
    CENTRED: _with_centring,
    THRESHOLDS: _thresholds,
}
"""Every fold by what it says of itself, in the order in which they are done."""
