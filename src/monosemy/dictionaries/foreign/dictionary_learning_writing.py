"""dictionary_learning's classes: the one that computes what a dictionary does, and its file."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign.dictionary_learning_reading import (
    BATCHTOPK,
    GATED,
    GROUPS,
    JUMPRELU,
    LIBRARY,
    MATRYOSHKA,
    RELU,
    SHAPES,
    TOPK,
    UNCENTRED,
    WITH_K,
    type_reasons,
)
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.selection import BatchTopK, JumpReLU
from monosemy.dictionaries.semantics import a_structure
from monosemy.tensors.axes import Tensor


def _class_for(dictionary: Dictionary) -> str | None:
    """The class that computes what `dictionary` does."""
    if type(dictionary) is GatedDictionary:
        return GATED if dictionary.centred else None
    kind, centred = dictionary.selection.kind, dictionary.centred
    if kind == "batchtopk" and dictionary.prefixes:
        return MATRYOSHKA if centred else None
    return {
        ("relu", True): RELU, ("relu", False): UNCENTRED, ("topk", True): TOPK,
        ("batchtopk", True): BATCHTOPK, ("jumprelu", False): JUMPRELU,
    }.get((kind, centred))  # fmt: skip


def against(dictionary: Dictionary) -> list[str]:
    """Why no class computes what `dictionary` does."""
    if type(dictionary) not in (FlatDictionary, GatedDictionary):
        what = a_structure(dictionary)
        return [f"it is {what}, and {LIBRARY} has only plain and gated autoencoders"]
    kind, reasons = _class_for(dictionary), []
    if kind is None:
        does = "is" if dictionary.centred else "is not"
        reasons.append(
            f"its latents are selected by {dictionary.selection.kind} and b_dec {does} subtracted "
            f"before encoding, and {LIBRARY} has no class that does both"
        )
    if dictionary.weighing != "none":
        reasons.append(
            f"each latent is weighed by the length of its decoder row ({dictionary.weighing}), "
            f"which {LIBRARY} ignores"
        )
    if dictionary.prefixes and kind != MATRYOSHKA:
        reasons.append(
            f"it is nested, and {LIBRARY} has a place for the prefixes "
            f"{list(dictionary.prefixes)} only with batchtopk where b_dec is subtracted"
        )
    ends = (0, *dictionary.prefixes)
    if kind == MATRYOSHKA and (ends[-1] != dictionary.latents or _falls(ends)):
        reasons.append(f"prefixes = {dictionary.prefixes}; {LIBRARY} wants rising numbers, the last "
                       f"of them all {dictionary.latents:,} latents")  # fmt: skip
    if dictionary.W_dec.dtype == torch.float64:
        reasons.append(f"float64 weights: {LIBRARY} computes in float32, so digits would be lost; "
                       "convert the dictionary with .float() first")  # fmt: skip
    return reasons + type_reasons(dict(dictionary.named_parameters(recurse=False)))


def _falls(ends: tuple[int, ...]) -> bool:
    return any(later <= earlier for earlier, later in pairwise(ends))


def state_of(dictionary: Dictionary) -> dict[str, Tensor]:
    """The class's own tensors, by the class's own names."""
    kind = _class_for(dictionary)
    assert kind is not None  # cannot_say has been asked
    rows = {"W_enc": dictionary.W_enc.T, "W_dec": dictionary.W_dec,
            "encoder.weight": dictionary.W_enc, "decoder.weight": dictionary.W_dec.T}  # fmt: skip
    bias = dict.fromkeys(("encoder.bias", "b_enc", "gate_bias"), dictionary.b_enc)
    bias |= dict.fromkeys(("bias", "decoder.bias", "decoder_bias", "b_dec"), dictionary.b_dec)
    known = {**rows, **bias}
    if isinstance(dictionary, GatedDictionary):
        known |= {"r_mag": dictionary.r_mag, "mag_bias": dictionary.b_mag}
    if isinstance(dictionary.selection, JumpReLU):
        known["threshold"] = dictionary.selection.threshold.to(dictionary.b_enc)
    state = {name: known[name].detach().cpu().contiguous().clone() for name in SHAPES[kind]}
    return state | _buffers(dictionary, kind)


def _buffers(dictionary: Dictionary, kind: str) -> dict[str, Tensor]:
    if kind not in WITH_K:
        return {}
    buffers = {"k": torch.tensor(dictionary.selection.k, dtype=torch.int32)}
    if isinstance(dictionary.selection, BatchTopK):
        buffers["threshold"] = _threshold(dictionary.selection.threshold.detach().cpu())
    else:
        kept = dictionary.metadata.get(LIBRARY) or {}
        buffers["threshold"] = torch.tensor(float(kept.get("threshold", -1)))
    if kind == MATRYOSHKA:
        sizes = [later - earlier for earlier, later in pairwise((0, *dictionary.prefixes))]
        buffers[GROUPS] = torch.tensor(sizes)
    return buffers


def _threshold(threshold: Tensor) -> Tensor:
    """float32 like the library's, or in full where that would drop digits; it reads both."""
    if threshold <= 0:
        return torch.tensor(-1.0)
    return threshold.float() if threshold.float().double() == threshold else threshold.clone()


def config_of(dictionary: Dictionary) -> dict[str, Any]:
    """What ``config.json`` says: what was read of it, corrected, and the metadata."""
    metadata = dict(dictionary.metadata)
    kept = dict(metadata.pop(LIBRARY, None) or {})
    site = metadata.get("hook_name")
    layer = re.search(r"\.(\d+)(?:\.|$)", site) if isinstance(site, str) else None
    trainer = {
        "lm_name": metadata.get("model_name"),
        "submodule_name": site,
        "layer": int(layer[1]) if layer else None,
        **dict(kept.get("trainer") or {}),
        "dict_class": _class_for(dictionary),
        "activation_dim": dictionary.width,
        "dict_size": dictionary.latents,
    }
    numbers = _buffers(dictionary, trainer["dict_class"])
    for name in ("k", GROUPS):
        trainer.pop(name, None)
        trainer |= {name: numbers[name].tolist()} if name in numbers else {}
    buffer = {"ctx_len": metadata.get("context_size"), **dict(kept.get("buffer") or {})}
    return {"trainer": trainer, "buffer": buffer, "metadata": metadata}
