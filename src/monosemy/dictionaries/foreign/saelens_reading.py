"""SAELens' architectures: from a configuration and tensors to the dictionary that they mean."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, TypeGuard

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign.reading import Shape
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.normalised import CONSTANT, LAYER_NORM, UNIT_NORM, NormalisedDictionary
from monosemy.dictionaries.refined import MatchingPursuit
from monosemy.dictionaries.selection import (
    BatchTopK,
    JumpReLU,
    ReLU,
    Selection,
    SignedTopK,
    TopK,
)
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.tensors.axes import Tensor

Config = dict[str, Any]
Tensors = dict[str, Tensor]

WIDTHS = "matryoshka_widths"
LAYER_NORM_EPS = 1e-5
# SAELens divides by a token's length; this changes no length but zero, where it would divide by it.
UNIT_NORM_EPS = 1e-30

_FLAT: dict[str, Shape] = {
    "W_dec": ("d_sae", "d_in"),
    "W_enc": ("d_in", "d_sae"),
    "b_enc": ("d_sae",),
    "b_dec": ("d_in",),
}
_GATED = {name: _FLAT[name] for name in ("W_dec", "W_enc", "b_dec")}
_TRANSCODER = _FLAT | {"W_dec": ("d_sae", "d_out"), "b_dec": ("d_out",)}
_THRESHOLD: dict[str, Shape] = {"threshold": ("d_sae",)}
_SKIP: dict[str, Shape] = {"W_skip": ("d_out", "d_in")}
_BATCH: dict[str, Shape] = {"topk_threshold": ()}

SHAPES: dict[str, dict[str, Shape]] = {
    "standard": _FLAT,
    "topk": _FLAT,
    "abstopk": _FLAT,
    "jumprelu": _FLAT | _THRESHOLD,
    "gated": _GATED | dict.fromkeys(("b_gate", "r_mag", "b_mag"), ("d_sae",)),
    "matching_pursuit": {name: _FLAT[name] for name in ("W_dec", "b_dec")},
    "transcoder": _TRANSCODER,
    "skip_transcoder": _TRANSCODER | _SKIP,
    "jumprelu_transcoder": _TRANSCODER | _THRESHOLD,
    "jumprelu_skip_transcoder": _TRANSCODER | _THRESHOLD | _SKIP,
    # Checkpoints of training only; their files for use are jumprelu.
    "batchtopk": _FLAT | _BATCH,
    "matryoshka_batchtopk": _FLAT | _BATCH,
}
"""The tensors of each architecture, in sizes that the configuration names."""

_NORMS = {
    "layer_norm": (LAYER_NORM, LAYER_NORM_EPS),
    "constant_norm_rescale": (UNIT_NORM, UNIT_NORM_EPS),
}


def is_transcoder(architecture: str) -> bool:
    """Whether it writes another place than it reads."""
    return architecture.endswith("transcoder")


def config_reasons(config: Config) -> list[str]:
    """Why no dictionary can be built by this configuration, whatever the tensors are."""
    architecture = str(config.get("architecture"))
    reasons = _size_reasons(config, is_transcoder(architecture))
    if architecture in ("topk", "abstopk"):
        reasons += _k_reasons(config, whole=True)
    if "batchtopk" in architecture:
        reasons += _k_reasons(config, whole=False)
    if architecture == "matching_pursuit":
        reasons += _pursuit_reasons(config)
    reasons += prefix_reasons(config)
    return [*reasons, *_flag_reasons(config), *_norm_reasons(config, architecture)]


def build(config: Config, tensors: Tensors) -> Dictionary:
    """The dictionary that `config` and `tensors` mean; there must be no reason against them."""
    norm = config.get("normalize_activations", "none")
    inner = _inner(config, tensors)
    inner.prefixes = prefixes(config)
    if norm == "expected_average_only_in":
        return NormalisedDictionary(inner, CONSTANT, factor=config["scaling_factor"])
    if norm in _NORMS:
        kind, eps = _NORMS[norm]
        return NormalisedDictionary(inner, kind, eps)
    return inner


def prefixes(config: Config) -> tuple[int, ...]:
    """The widths of a Matryoshka dictionary, to the last latent; none for others.

    Found among the settings of training, or where SAELens moves these when it saves for use.
    """
    widths = _widths(config)
    if not isinstance(widths, list) or not widths:
        return ()
    return (*widths, *([config["d_sae"]] if widths[-1] != config["d_sae"] else []))


def prefix_reasons(config: Config) -> list[str]:
    """Why `prefixes` cannot be read."""
    widths, latents = _widths(config), config.get("d_sae")
    if widths is None or not is_count(latents):
        return []
    whole = isinstance(widths, list) and all(is_count(width, latents) for width in widths)
    if whole and all(a < b for a, b in pairwise(widths)):
        return []
    return [f"matryoshka_widths = {short(widths)}; wanted rising whole numbers up to {latents:,}"]


def _widths(config: Config) -> Any:
    metadata = config.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    details = metadata.get("training_architecture_details")
    for place in (config, metadata, details if isinstance(details, dict) else {}):
        if place.get(WIDTHS) is not None:
            return place[WIDTHS]
    return None


def short(value: Any) -> str:
    """`value` as a message shows it."""
    said = repr(value)
    return said if len(said) <= 80 else said[:77] + "..."


def _inner(config: Config, tensors: Tensors) -> Dictionary:
    architecture = config["architecture"]
    if architecture == "matching_pursuit":
        return _pursuit(config, tensors)
    W_enc = tensors["W_enc"].T.contiguous()
    decoder = tensors["W_dec"], tensors["b_dec"]
    centred = config.get("apply_b_dec_to_input", True)
    if architecture == "gated":
        biases = tensors["b_gate"], tensors["r_mag"], tensors["b_mag"]
        gated = GatedDictionary(W_enc, *biases, *decoder)
        gated.centred = centred
        return gated
    parts = W_enc, tensors["b_enc"], *decoder, _selection(config, tensors)
    if is_transcoder(architecture):
        return Transcoder(*parts, W_skip=tensors.get("W_skip"))
    rescaled = config.get("rescale_acts_by_decoder_norm", False)
    return FlatDictionary(*parts, centred=centred, weighing="rescaled" if rescaled else "none")


def _selection(config: Config, tensors: Tensors) -> Selection:
    architecture = config["architecture"]
    if architecture == "topk":
        return TopK(config["k"])
    if architecture == "abstopk":
        return SignedTopK(config["k"])
    if "topk_threshold" in tensors:
        return _batch_topk(config["k"], tensors["topk_threshold"], len(tensors["b_enc"]))
    if "threshold" in tensors:
        return JumpReLU(tensors["threshold"])
    return ReLU()


def _batch_topk(k: float, threshold: Tensor, latents: int) -> Selection:
    """A `k` that is no whole number means nothing once there is a threshold."""
    if k != int(k) or k < 1:
        return JumpReLU(threshold.expand(latents))
    selection = BatchTopK(int(k))
    selection.threshold.copy_(threshold)
    return selection


def _pursuit(config: Config, tensors: Tensors) -> Dictionary:
    steps = config.get("max_iterations")
    return MatchingPursuit(
        tensors["W_dec"],
        tensors["b_dec"],
        tensors["W_dec"].shape[1] if steps is None else steps,
        # Below zero SAELens never compares with it, as with zero.
        max(config.get("residual_threshold", 1e-2), 0.0),
        config.get("stop_on_duplicate_support", True),
    )


# --- reasons --------------------------------------------------------------------------------------


def is_count(value: Any, most: int | None = None) -> TypeGuard[int]:
    """Whether `value` is a whole number from 1 on, to `most` where that is given."""
    return type(value) is int and value >= 1 and (most is None or value <= most)


def _size_reasons(config: Config, transcoder: bool) -> list[str]:
    names = ("d_in", "d_sae", "d_out") if transcoder else ("d_in", "d_sae")
    if all(is_count(config.get(name)) for name in names):
        return []
    said = [f"{name} = {short(config.get(name))}" for name in names]
    sizes = ", ".join(said[:-1]) + f" and {said[-1]}"
    return [f"{sizes}; wanted {'three' if transcoder else 'two'} whole numbers above zero"]


def _k_reasons(config: Config, whole: bool) -> list[str]:
    k, latents = config.get("k"), config.get("d_sae")
    if not is_count(latents):
        return []
    # A training that compares whole batches may ask for half a latent a token.
    fits = is_count(k, latents) if whole else is_real(k) and bool(0 < k <= latents)
    kind = "a whole number from 1 to" if whole else "a number above 0, up to"
    return [] if fits else [f"k = {short(k)}; wanted {kind} {latents:,}"]


def is_real(value: Any) -> TypeGuard[float]:
    """Whether `value` is a number, and not endless."""
    # A whole number may be too long for a float.
    return type(value) in (int, float) and -1e300 < value < 1e300


def _pursuit_reasons(config: Config) -> list[str]:
    steps, least = config.get("max_iterations"), config.get("residual_threshold", 1e-2)
    stop = config.get("stop_on_duplicate_support", True)
    reasons = []
    if steps is not None and not is_count(steps):
        reasons.append(
            f"max_iterations = {short(steps)}; wanted a whole number above zero, or null"
        )
    if not is_real(least):
        reasons.append(f"residual_threshold = {short(least)}; wanted a number")
    if type(stop) is not bool:
        reasons.append(f"stop_on_duplicate_support = {short(stop)}; wanted true or false")
    if config.get("apply_b_dec_to_input") is False:
        reasons.append("matching pursuit without b_dec in its input has no form here")
    return reasons


def _flag_reasons(config: Config) -> list[str]:
    architecture = str(config.get("architecture"))
    reasons = [
        f"{name} = {short(config[name])}; wanted true or false"
        for name in ("apply_b_dec_to_input", "rescale_acts_by_decoder_norm")
        if type(config.get(name, True)) is not bool
    ]
    if is_transcoder(architecture) and config.get("apply_b_dec_to_input") is not False:
        reasons.append(
            "apply_b_dec_to_input of a transcoder must be false: b_dec is what it writes"
        )
    reshape = config.get("reshape_activations", "none")
    if reshape not in ("none", "hook_z"):
        reasons.append(f"reshape_activations = {short(reshape)}; known: 'none', 'hook_z'")
    return reasons


def _norm_reasons(config: Config, architecture: str) -> list[str]:
    norm = config.get("normalize_activations", "none")
    if norm == "none":
        return []
    if not isinstance(norm, str):
        return [f"normalize_activations = {short(norm)}; wanted a text"]
    if norm == "expected_average_only_in" or norm == "constant_scalar_rescale":
        return _scale_reasons(config, architecture, norm)
    if norm == "covariance_whitening":
        return [
            "normalize_activations = 'covariance_whitening': this is a checkpoint of training whose "
            "whitening is not folded in yet; let SAELens finish it with save_inference_model"
        ]
    if norm not in _NORMS:
        known = ", ".join(["none", *_NORMS, "expected_average_only_in"])
        return [f"normalize_activations = {short(norm)}; known: {known}"]
    if is_transcoder(architecture):
        return [
            f"normalize_activations = {short(norm)} of a transcoder: SAELens normalises what it reads "
            "and never takes it back, which has no form here"
        ]
    return []


def _scale_reasons(config: Config, architecture: str, norm: str) -> list[str]:
    factor = config.get("scaling_factor")
    if is_transcoder(architecture):
        return [f"normalize_activations = {short(norm)} of a transcoder has no form here"]
    if norm == "constant_scalar_rescale" or factor is None:
        return [
            f"normalize_activations = {short(norm)} needs the factor that activations are scaled "
            "by, and the file does not hold it (while training, SAELens keeps it in "
            "activation_scaler.json); fold it into the weights with SAELens' "
            "fold_activation_norm_scaling_factor"
        ]
    if not is_real(factor) or factor <= 0:
        return [f"scaling_factor = {short(factor)}; wanted a number above zero"]
    return []
