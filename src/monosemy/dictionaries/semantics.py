"""What a dictionary does, in plain words and numbers, and whether two do the same."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.crosscoders import Crosscoder
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.hierarchical import HierarchicalDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.dictionaries.normalised import CONSTANT, NormalisedDictionary
from monosemy.dictionaries.pruned import PrunedDictionary
from monosemy.dictionaries.refined import MatchingPursuit, RefinedDictionary
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, ReLU, Selection
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.tensors.axes import Tensor

_STRUCTURES: dict[type[Dictionary], str] = {
    FlatDictionary: "autoencoder",
    GatedDictionary: "gated autoencoder",
    Transcoder: "transcoder",
    Crosscoder: "crosscoder",
    CrossLayerTranscoder: "cross-layer transcoder",
    RefinedDictionary: "autoencoder with one refining step",
    MatchingPursuit: "matching pursuit",
    LocalDictionary: "local code",
    HierarchicalDictionary: "hierarchical dictionary",
}
_SIGNED = ("signed_topk", "raw_topk", "identity")


def semantics(dictionary: Dictionary) -> dict[str, Any]:
    """What `dictionary` does, as plain JSON.

    ``structure``, ``selection``, ``k``; ``threshold``: one number, or the least and largest of one
    a latent; ``strict``: active only above the threshold, not at it; ``rectified``: no negative
    activations; ``centred``: ``b_dec`` is subtracted first; ``weighing``: what decoder lengths do;
    ``normalisation``, ``pruning``, ``skip``, ``prefixes``; sizes, ``dtype``; ``sha256`` of the
    weights, which no change of file form changes.
    """
    core = unwrapped(dictionary)
    selection = core.selection
    thresholds = _all_thresholds(core)
    return {
        "structure": _structure(core),
        "selection": selection.kind,
        "k": selection.k or None,
        "threshold": _said(thresholds),
        "strict": True if thresholds else None,
        "rectified": selection.kind not in _SIGNED,
        "centred": core.centred,
        "weighing": core.weighing,
        "normalisation": _normalisation(dictionary),
        "pruning": _pruning(dictionary),
        "skip": getattr(core, "W_skip", None) is not None,
        "prefixes": list(dictionary.prefixes),
        **_details(core),
        "width": dictionary.width,
        "written": dictionary.written,
        "latents": dictionary.latents,
        "dtype": str(core.b_dec.dtype).removeprefix("torch."),
        "sha256": _digest(weights(dictionary)),
    }


def a_structure(dictionary: Dictionary) -> str:
    """What it is, for a sentence: ``an autoencoder of normalised activations``."""
    if isinstance(dictionary, NormalisedDictionary):
        return f"{a_structure(dictionary.inner)} of normalised activations"
    if isinstance(dictionary, PrunedDictionary):
        return f"{a_structure(dictionary.inner)} that is pruned"
    what = _structure(dictionary)
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"


def _structure(dictionary: Dictionary) -> str:
    if isinstance(dictionary, Transcoder) and dictionary.autoencodes:
        return "autoencoder with a skip"
    return _STRUCTURES.get(type(dictionary), type(dictionary).__name__)


def differences(first: Dictionary, second: Dictionary) -> list[str]:
    """What the two do differently, one sentence each: no sentence, and every bit means the same.

    Forms name equal things differently: BatchTopK after training is JumpReLU with one threshold,
    ReLU is JumpReLU at zero, an offset of zero is subtracted or not, and a number is the same in a
    wider type.
    """
    one, other = _rules(first), _rules(second)
    found = [
        f"{name} is {one[name]!r} in one and {other[name]!r} in the other"
        for name in one
        if one[name] != other[name]
    ]
    here, there = weights(first), weights(second)
    for name in sorted(here.keys() | there.keys()):
        if name not in here or name not in there:
            found.append(f"only one has {name}")
        elif here[name].shape != there[name].shape:
            found.append(f"{name} is {tuple(here[name].shape)} in one, {tuple(there[name].shape)} "
                         "in the other")  # fmt: skip
        elif not torch.equal(here[name].double(), there[name].double()):
            found.append(f"{name} holds other numbers")
    return found


def unwrapped(dictionary: Dictionary) -> Dictionary:
    """The dictionary inside normalisation and pruning."""
    while isinstance(dictionary, NormalisedDictionary | PrunedDictionary):
        dictionary = dictionary.inner
    return dictionary


def weights(dictionary: Dictionary) -> dict[str, Tensor]:
    """Every number it works with after training, by name, thresholds among them."""
    core = unwrapped(dictionary)
    own = {
        name: value.detach()
        for name, value in core.named_parameters()
        if not name.startswith(("selection.", "first.")) and ".selection." not in name
    }
    if isinstance(core, LocalDictionary):
        own |= {f"routes_{n}": level.routes for n, level in enumerate(core.levels)}
    return own | _all_thresholds(core)


def _all_thresholds(core: Dictionary) -> dict[str, Tensor]:
    """Above what latents are active, by the selection's name."""
    if isinstance(core, CrossLayerTranscoder):
        named = {f"threshold_{layer}": one for layer, one in enumerate(core.selection)}
        sizes = dict(zip(named, core.sizes, strict=True))
    else:
        named = {"threshold": core.selection}
        if isinstance(core, RefinedDictionary):
            named["threshold_first"] = core.first
        sizes = dict.fromkeys(named, core.latents)
    found = {name: _threshold(one, core.b_dec, sizes[name]) for name, one in named.items()}
    return {name: value for name, value in found.items() if value is not None}


def _threshold(selection: Selection, like: Tensor, latents: int) -> Tensor | None:
    if isinstance(selection, ReLU):
        return like.new_zeros(latents).detach()
    if isinstance(selection, BatchTopK):
        return selection.threshold.to(like).clamp_min(0).expand(latents)
    if isinstance(selection, JumpReLU):
        return selection.threshold.detach().to(like).clamp_min(0)
    return None


def _said(thresholds: dict[str, Tensor]) -> float | dict[str, float] | None:
    if not thresholds:
        return None
    every = torch.cat([value.flatten().double() for value in thresholds.values()])
    least, most = float(every.min()), float(every.max())
    return least if least == most else {"min": least, "max": most}


def _rules(dictionary: Dictionary) -> dict[str, Any]:
    """The semantics without what is said by the weights, equal things under equal names."""
    rules = semantics(dictionary)
    for name in ("threshold", "dtype", "sha256"):
        del rules[name]
    if rules["strict"]:
        rules |= {"selection": "above a threshold", "k": None}
    if not unwrapped(dictionary).b_dec.any():
        rules["centred"] = False
    return rules


def _normalisation(dictionary: Dictionary) -> dict[str, Any] | None:
    while isinstance(dictionary, PrunedDictionary):
        dictionary = dictionary.inner
    if not isinstance(dictionary, NormalisedDictionary):
        return None
    if dictionary.norm == CONSTANT:
        return {"norm": CONSTANT, "factor": dictionary.factor, "factor_out": dictionary.factor_out}
    return {"norm": dictionary.norm, "eps": dictionary.eps}


def _pruning(dictionary: Dictionary) -> float | None:
    while isinstance(dictionary, NormalisedDictionary):
        dictionary = dictionary.inner
    return dictionary.threshold if isinstance(dictionary, PrunedDictionary) else None


def _details(core: Dictionary) -> dict[str, Any]:
    if isinstance(core, Crosscoder):
        return {"parts": list(core.widths)}
    if isinstance(core, CrossLayerTranscoder):
        return {"latents_by_layer": list(core.sizes), "k_by_layer": [s.k for s in core.selection]}
    if isinstance(core, RefinedDictionary):
        return {"step": core.step}
    if isinstance(core, LocalDictionary):
        levels = core.levels
        return {
            **core.tree(),
            "rounds": [level.rounds for level in levels],
            "floor": [float(level.floor) for level in levels],
            "least": [float(level.least) for level in levels],
        }
    if isinstance(core, HierarchicalDictionary):
        return {"parents": core.trunk.latents, "children": [core.branching],
                "rank": [core.reads.shape[1]]}  # fmt: skip
    if isinstance(core, MatchingPursuit):
        return {
            "residual_threshold": core.residual_threshold,
            "stop_on_duplicate": core.stop_on_duplicate,
        }
    return {}


def _digest(named: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and bytes, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(named):
        tensor = named[name].cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
