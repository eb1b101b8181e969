"""BatchTopK in a form that has only thresholds: its k lies in the metadata, and is taken up again."""

from __future__ import annotations

from typing import Any

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.crosscoders import Crosscoder
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign.saelens_reading import Config, is_count
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.dictionaries.pruned import PrunedDictionary
from monosemy.dictionaries.selection import BatchTopK, JumpReLU
from monosemy.dictionaries.semantics import unwrapped
from monosemy.dictionaries.transcoders import Transcoder

KEY = "batchtopk_k"


def kept(dictionary: Dictionary) -> dict[str, Any]:
    """What the metadata of `dictionary` say of it."""
    selection = dictionary.selection
    return {KEY: selection.k} if selection.kind == "batchtopk" else {}


def recall(dictionary: Dictionary, config: Config) -> None:
    """BatchTopK in the place of a JumpReLU that was written for one: it computes the same.

    Not where the thresholds differ since, or the k is none.
    """
    core = unwrapped(dictionary)
    k, selection = (config.get("metadata") or {}).get(KEY), core.selection
    if not is_count(k, core.latents) or not isinstance(selection, JumpReLU):
        return
    if type(core) not in (FlatDictionary, Transcoder, Crosscoder):
        return
    least = selection.threshold.detach()
    if (least == least[0]).all() and least[0] >= 0:
        core.selection = BatchTopK(k)
        core.selection.threshold.copy_(least[0])
        while isinstance(dictionary, NormalisedDictionary | PrunedDictionary):
            dictionary.selection = core.selection
            dictionary = dictionary.inner
