"""Plain forms, which hold ``W_enc x + b_enc``, thresholds and a decoder, and what they leave unsaid."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, ReLU, Selection
from monosemy.dictionaries.semantics import a_structure
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.tensors.axes import Float, Tensor


def unsayable(dictionary: Dictionary, form: str) -> list[str]:
    """Why `form`, which holds ``W_enc x + b_enc``, thresholds and a decoder, cannot say it all."""
    if isinstance(dictionary, NormalisedDictionary):
        return [f"activations are normalised first ({dictionary.norm}), which {form} cannot say"]
    if not isinstance(dictionary, FlatDictionary | Transcoder):
        return [f"it is {a_structure(dictionary)}, and {form} holds plain encoders only"]
    reasons = []
    if dictionary.centred:
        reasons.append(f"b_dec is subtracted before encoding, which is not done in {form}")
    if dictionary.weighing != "none":
        reasons.append(
            f"each latent is weighed by the length of its decoder row ({dictionary.weighing}), "
            f"which {form} ignores"
        )
    if dictionary.prefixes:
        reasons.append(
            f"it is nested, and {form} has no place for the prefixes {list(dictionary.prefixes)}; "
            "to write it without them, load it in Python and set prefixes to ()"
        )
    return reasons + threshold_reasons(dictionary.selection, form)


def threshold_reasons(selection: Selection, form: str) -> list[str]:
    """Why `selection` is not one threshold for each latent."""
    if not isinstance(selection, ReLU | JumpReLU | BatchTopK):
        return [
            f"the selection {selection.kind!r} is no threshold for each latent, and {form} has only "
            "those (relu, jumprelu, and batchtopk once it is trained)"
        ]
    if isinstance(selection, BatchTopK) and selection.threshold < 0:
        return [f"its batchtopk threshold is {float(selection.threshold):g}, so it was never set"]
    return []


def thresholds(selection: Selection, like: Tensor) -> Float[Tensor, "latent"] | None:
    """Above what each latent is active in use, as `like` has one number each; `None`: above zero."""
    if isinstance(selection, BatchTopK):
        return selection.threshold.to(like).expand_as(like).clone()
    return selection.threshold.detach().to(like) if isinstance(selection, JumpReLU) else None


def in_one_type(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All in the smallest type that holds each without loss."""
    kind = torch.bfloat16 if not tensors else next(iter(tensors.values())).dtype
    for tensor in tensors.values():
        kind = torch.promote_types(kind, tensor.dtype)
    return {name: tensor.to(kind).contiguous() for name, tensor in tensors.items()}


def is_positive(value: object) -> bool:
    """Whether `value` is a finite number above zero."""
    return type(value) in (int, float) and 0 < value < float("inf")  # type: ignore[operator]
