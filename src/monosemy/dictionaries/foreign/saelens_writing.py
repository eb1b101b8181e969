"""SAELens' architectures: from a dictionary to the configuration and tensors that mean it."""

from __future__ import annotations

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign.saelens_reading import (
    LAYER_NORM_EPS,
    UNIT_NORM_EPS,
    Config,
    Tensors,
)
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.normalised import (
    CONSTANT,
    LAYER_NORM,
    UNIT_NORM,
    NormalisedDictionary,
)
from monosemy.dictionaries.refined import MatchingPursuit
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, Selection
from monosemy.dictionaries.semantics import a_structure
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.tensors.axes import Float, Tensor

_FLAT = {
    "relu": "standard",
    "topk": "topk",
    "signed_topk": "abstopk",
    "jumprelu": "jumprelu",
    "batchtopk": "jumprelu",
}
_TRANSCODERS = {"relu": "", "jumprelu": "jumprelu_", "batchtopk": "jumprelu_"}
_NORMS = {
    (LAYER_NORM, LAYER_NORM_EPS): "layer_norm",
    (UNIT_NORM, UNIT_NORM_EPS): "constant_norm_rescale",
    (UNIT_NORM, 0.0): "constant_norm_rescale",
}


def refuse(dictionary: Dictionary) -> list[str]:
    """Why SAELens has no architecture for `dictionary`."""
    kind, weighing = dictionary.selection.kind, dictionary.weighing
    if isinstance(dictionary, NormalisedDictionary):
        return _refuse_norm(dictionary)
    if isinstance(dictionary, GatedDictionary | MatchingPursuit):
        return []
    if isinstance(dictionary, FlatDictionary):
        return _refuse_weighing(kind, weighing) + _unknown(kind, list(_FLAT), "autoencoder")
    if isinstance(dictionary, Transcoder):
        reasons = _unknown(kind, list(_TRANSCODERS), "transcoder")
        if dictionary.centred:
            reasons.append("SAELens' transcoders never subtract b_dec from what they read")
        if weighing != "none":
            reasons.append(
                f"each latent is weighed by the length of its decoder row ({weighing}), which "
                "SAELens' transcoders ignore"
            )
        if dictionary.autoencodes:
            reasons.append("SAELens' autoencoders have no skip")
        return reasons
    return [f"SAELens has no architecture for {a_structure(dictionary)}"]


def describe(dictionary: Dictionary) -> tuple[Config, Tensors]:
    """What `dictionary` is in SAELens' terms, where `refuse` has no reason against it.

    BatchTopK is written as it works after training: JumpReLU, one threshold for all latents.
    """
    if isinstance(dictionary, NormalisedDictionary):
        config, tensors = describe(dictionary.inner)
        norm = _NORMS[dictionary.norm, dictionary.eps]
        return config | {"normalize_activations": norm}, tensors
    config = {"apply_b_dec_to_input": dictionary.centred, "normalize_activations": "none"}
    return config | _settings(dictionary), tensors_of(dictionary)


def tensors_of(dictionary: Dictionary) -> Tensors:
    """A dictionary's own parameters under SAELens' names and in its layout, and its threshold."""
    tensors = {name: value.detach() for name, value in dictionary.named_parameters(recurse=False)}
    if "W_enc" in tensors:
        tensors["W_enc"] = tensors["W_enc"].T
    if isinstance(dictionary, GatedDictionary):
        tensors["b_gate"] = tensors.pop("b_enc")
    threshold = threshold_of(dictionary.selection, dictionary.W_dec, dictionary.latents)
    return tensors if threshold is None else tensors | {"threshold": threshold}


def threshold_of(
    selection: Selection, like: Tensor, latents: int
) -> Float[Tensor, "latent"] | None:
    """Above what each latent is active after training, in the type of `like`; `None` without."""
    if isinstance(selection, BatchTopK):
        return selection.threshold.to(like).expand(latents)
    if isinstance(selection, JumpReLU):
        # As it is compared, whatever type it learned in.
        return selection.threshold.detach().to(like)
    return None


def _settings(dictionary: Dictionary) -> Config:
    kind = dictionary.selection.kind
    sizes = {"d_in": dictionary.width, "d_sae": dictionary.latents}
    if isinstance(dictionary, GatedDictionary):
        return {"architecture": "gated", **sizes}
    if isinstance(dictionary, MatchingPursuit):
        return {
            "architecture": "matching_pursuit",
            **sizes,
            "residual_threshold": dictionary.residual_threshold,
            "max_iterations": dictionary.selection.k,
            "stop_on_duplicate_support": dictionary.stop_on_duplicate,
        }
    if isinstance(dictionary, Transcoder):
        skip = "" if dictionary.W_skip is None else "skip_"
        name = f"{_TRANSCODERS[kind]}{skip}transcoder"
        return {"architecture": name, **sizes, "d_out": dictionary.written}
    config = {"architecture": _FLAT[kind], **sizes}
    if kind in ("topk", "signed_topk"):
        config["k"] = dictionary.selection.k
        config["rescale_acts_by_decoder_norm"] = dictionary.weighing == "rescaled"
    return config


def _refuse_norm(dictionary: NormalisedDictionary) -> list[str]:
    reasons = refuse(dictionary.inner)
    if not dictionary.autoencodes:
        reasons.append("SAELens never takes a transcoder's normalisation back")
    if (dictionary.norm, dictionary.eps) not in _NORMS:
        reasons.append(
            f"activations are normalised first ({_norm(dictionary)}), which SAELens' files cannot "
            "say"
        )
    return reasons


def _refuse_weighing(kind: str, weighing: str) -> list[str]:
    fits = weighing == "none" or (weighing == "rescaled" and kind in ("topk", "signed_topk"))
    if fits:
        return []
    return [
        f"each latent is weighed by the length of its decoder row ({weighing}), which SAELens does "
        f"not do with {kind}"
    ]


def _unknown(kind: str, known: list[str], what: str) -> list[str]:
    if kind in known:
        return []
    return [
        f"its latents are selected by {kind}, which SAELens has for no {what}; it has "
        f"{', '.join(known)}"
    ]


def _norm(dictionary: NormalisedDictionary) -> str:
    if dictionary.norm == CONSTANT:
        return f"times {dictionary.factor:g}, and back by {dictionary.factor_out:g}"
    return f"{dictionary.norm} with eps = {dictionary.eps:g}"
