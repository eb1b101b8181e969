"""Any dictionary in the form that `own_reading` reads, SAELens' architectures first."""

from __future__ import annotations

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.crosscoders import Crosscoder
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign import saelens_writing
from monosemy.dictionaries.foreign.own_reading import (
    CROSS_LAYER,
    HIERARCHICAL,
    JUMPRELU,
    LOCAL,
    SELECTIONS,
    WITH_K,
)
from monosemy.dictionaries.foreign.saelens_reading import Config, Tensors
from monosemy.dictionaries.foreign.saelens_writing import tensors_of, threshold_of
from monosemy.dictionaries.hierarchical import HierarchicalDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.dictionaries.pruned import PrunedDictionary
from monosemy.dictionaries.refined import RefinedDictionary
from monosemy.dictionaries.selection import Selection
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation.errors import UserError


def describe(dictionary: Dictionary) -> tuple[Config, Tensors]:
    """The configuration and tensors of any dictionary: SAELens' architecture where there is one."""
    if not saelens_writing.refuse(dictionary):
        return saelens_writing.describe(dictionary)
    if isinstance(dictionary, NormalisedDictionary):
        rule = {name: getattr(dictionary, name) for name in ("norm", "eps", "factor", "factor_out")}
        return _wrapped(dictionary, "normalised", rule)
    if isinstance(dictionary, PrunedDictionary):
        return _wrapped(dictionary, "pruned", {"pruning_threshold": dictionary.threshold})
    if isinstance(dictionary, LocalDictionary | HierarchicalDictionary):
        return _describe_branching(dictionary)
    if isinstance(dictionary, CrossLayerTranscoder):
        return _describe_layers(dictionary)
    return _describe_linear(dictionary)


def _wrapped(
    dictionary: NormalisedDictionary | PrunedDictionary, name: str, rule: Config
) -> tuple[Config, Tensors]:
    inner, tensors = describe(dictionary.inner)
    sizes = {"d_in": dictionary.width, "d_sae": dictionary.latents}
    return {"architecture": name, **sizes, **rule, "inner": inner}, tensors


def _describe_branching(
    dictionary: LocalDictionary | HierarchicalDictionary,
) -> tuple[Config, Tensors]:
    inner, tensors = describe(dictionary.trunk)
    sizes = {"d_in": dictionary.width, "d_sae": dictionary.latents}
    if isinstance(dictionary, HierarchicalDictionary):
        own = ("reads", "writes", "C_enc", "C_dec", "t")
        tensors |= {name: getattr(dictionary, name).detach() for name in own}
        shape = {"rank": dictionary.reads.shape[1], "children": dictionary.branching}
        return {"architecture": HIERARCHICAL, **sizes, **shape, "inner": inner}, tensors
    level = len(dictionary.levels)
    tensors |= {f"V_{level}": dictionary.V.detach(), f"C_{level}": dictionary.C.detach(),
                f"routes_{level}": dictionary.routes}  # fmt: skip
    rule = {
        "level": level, "charts": len(dictionary.V), "rank": dictionary.V.shape[1],
        "bearers": dictionary.bearers, "children": dictionary.branching,
        "rounds": dictionary.rounds, "floor": float(dictionary.floor),
        "least": float(dictionary.least),
    }  # fmt: skip
    return {"architecture": LOCAL, **sizes, **rule, "inner": inner}, tensors


def _describe_linear(dictionary: Dictionary) -> tuple[Config, Tensors]:
    tensors = tensors_of(dictionary)
    config = {
        "architecture": "general",
        "d_in": dictionary.width,
        "d_sae": dictionary.latents,
        "apply_b_dec_to_input": dictionary.centred,
        "weighing": dictionary.weighing,
        **_describe_selection(dictionary.selection),
    }
    if isinstance(dictionary, Transcoder):
        config |= {"d_out": dictionary.written, "skip": dictionary.W_skip is not None}
        config |= {"autoencodes": True} if dictionary.autoencodes else {}
    elif isinstance(dictionary, Crosscoder):
        config |= {"architecture": "crosscoder", "widths": list(dictionary.widths)}
        config["scales"] = list(dictionary.scales)
    elif isinstance(dictionary, RefinedDictionary):
        config |= {"architecture": "lista", "step": dictionary.step}
        first = threshold_of(dictionary.first, dictionary.W_dec, dictionary.latents)
        tensors |= {} if first is None else {"threshold_first": first}
    elif not isinstance(dictionary, FlatDictionary):
        raise UserError(f"a {type(dictionary).__name__} has no form in files")
    return config, tensors


def _describe_selection(selection: Selection) -> Config:
    kind = JUMPRELU if selection.kind == "batchtopk" else selection.kind
    if kind not in SELECTIONS:
        names = ", ".join((*SELECTIONS, "batchtopk"))
        raise UserError(f"the selection {kind!r} has no form in files; known: {names}")
    return {"selection": kind} | ({"k": selection.k} if kind in WITH_K else {})


def _describe_layers(dictionary: CrossLayerTranscoder) -> tuple[Config, Tensors]:
    config = {
        "architecture": CROSS_LAYER,
        "d_in": dictionary.width,
        "d_sae": dictionary.latents,
        "d_layer": dictionary.layer_width,
        "latents_by_layer": list(dictionary.sizes),
        "selection": _describe_selection(next(iter(dictionary.selection)))["selection"],
        "k_by_layer": [one.k if one.kind in WITH_K else 0 for one in dictionary.selection],
    }
    tensors = {"b_dec": dictionary.b_dec.detach().view(dictionary.layers, -1)}
    for layer, selection in enumerate(dictionary.selection):
        tensors[f"W_enc_{layer}"] = dictionary.encoders[layer].detach()
        tensors[f"b_enc_{layer}"] = dictionary.biases[layer].detach()
        tensors[f"W_dec_{layer}"] = dictionary.decoder(layer).detach()
        threshold = threshold_of(selection, dictionary.b_dec, dictionary.sizes[layer])
        if threshold is not None:
            tensors[f"threshold_{layer}"] = threshold
    return config, tensors
