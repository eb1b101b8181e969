"""What SAELens has no architecture for, in the same two files under names of our own.

=========================  ==========================================================================
``general``                an autoencoder or transcoder with any selection, weighing and centring
``crosscoder``             ``widths`` of its parts, and the ``scales`` they were learned in
``cross_layer_transcoder`` tensors of each layer, numbered; ``k_by_layer``
``lista``                  ``step``, and the first selection's ``threshold_first``
``pruned``                 ``pruning_threshold``, and the dictionary inside under ``inner``
``normalised``             ``norm``, ``eps``, ``factor``, ``factor_out``, and ``inner``
``local``                  of each ``level``: ``V_l`` (chart, rank, width), ``routes_l``, ``C_l``
                           (bearer, child, rank); ``rounds``, ``floor``, ``least``, and ``inner``
``hierarchical``           ``reads``, ``writes`` (latent, rank, width), ``C_enc``, ``C_dec``, ``t``,
                           and ``inner``
=========================  ==========================================================================

Matrices lie as in SAELens: ``W_enc`` (read, latent), ``W_dec`` (latent, written); of a cross-layer
transcoder ``W_enc_l`` (latent, width), ``W_dec_l`` (latent, target, width).
"""

from __future__ import annotations

from collections.abc import Callable

from monosemy.dictionaries.base import WEIGHINGS, Dictionary
from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.crosscoders import Crosscoder
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign import saelens_reading, trained_k
from monosemy.dictionaries.foreign.reading import Shape
from monosemy.dictionaries.foreign.saelens_reading import Config, Tensors, is_count, is_real, short
from monosemy.dictionaries.hierarchical import HierarchicalDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.dictionaries.normalised import NORMS, NormalisedDictionary
from monosemy.dictionaries.pruned import PrunedDictionary
from monosemy.dictionaries.refined import RefinedDictionary
from monosemy.dictionaries.selection import (
    GroupMax,
    Identity,
    JumpReLU,
    RawTopK,
    ReLU,
    Selection,
    SignedTopK,
    TopK,
)
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.tensors.axes import Tensor

WRAPPERS = ("pruned", "normalised")
LOCAL, HIERARCHICAL = "local", "hierarchical"
BRANCHING = (LOCAL, HIERARCHICAL)
LINEAR = ("general", "crosscoder", "lista")
CROSS_LAYER = "cross_layer_transcoder"
OWN = (*LINEAR, CROSS_LAYER, *WRAPPERS, *BRANCHING)
WITHOUT_K: dict[str, Callable[[], Selection]] = {"relu": ReLU, "identity": Identity}
WITH_K: dict[str, Callable[[int], Selection]] = {
    "topk": TopK,
    "raw_topk": RawTopK,
    "signed_topk": SignedTopK,
    "groupmax": GroupMax,
}
JUMPRELU = "jumprelu"
SELECTIONS = (*WITHOUT_K, *WITH_K, JUMPRELU)
# A wrapper in a wrapper is the most that means something; a file could nest without end.
_DEPTH = 3
# Levels of children in each other.
_LEVELS = 8


def known(architecture: object) -> bool:
    """Whether `architecture` is one that can be read."""
    return isinstance(architecture, str) and (
        architecture in saelens_reading.SHAPES or architecture in OWN
    )


def config_reasons(config: Config, depth: int = 0) -> list[str]:
    """Why no dictionary can be built by this configuration, whatever the tensors are."""
    architecture = config.get("architecture")
    if not known(architecture):
        return [_unknown(architecture)]
    if architecture not in OWN:
        return saelens_reading.config_reasons(config)
    if architecture in WRAPPERS:
        return _wrapper_reasons(config, depth)
    if architecture in BRANCHING:
        return _branching_reasons(config, depth)
    if architecture == CROSS_LAYER:
        return _layer_reasons(config)
    return _linear_reasons(config)


def shapes(config: Config) -> dict[str, Shape]:
    """The tensors that `config` asks for; sizes that it does not say are called by their names."""
    architecture = config.get("architecture")
    if architecture in WRAPPERS:
        return shapes(config["inner"])
    if architecture in BRANCHING:
        return shapes(config["inner"]) | _branching_shapes(config)
    if architecture == CROSS_LAYER:
        return _layer_shapes(config)
    named = _linear_shapes(config) if architecture in LINEAR else saelens_reading.SHAPES.get(
        str(architecture), saelens_reading.SHAPES["standard"]
    )  # fmt: skip
    said = {name: config.get(name) for name in ("d_in", "d_sae", "d_out")}
    sizes: dict[int | str, int] = {name: size for name, size in said.items() if is_count(size)}
    return {name: tuple(sizes.get(size, size) for size in shape) for name, shape in named.items()}


def build(config: Config, tensors: Tensors) -> Dictionary:
    """The dictionary that `config` and `tensors` mean; there must be no reason against them."""
    architecture = config["architecture"]
    if architecture not in OWN:
        return saelens_reading.build(config, tensors)
    if architecture == "pruned":
        return PrunedDictionary(build(config["inner"], tensors), config["pruning_threshold"])
    if architecture in BRANCHING:
        return _branching(config, tensors)
    if architecture == "normalised":
        rule = config["norm"], config["eps"], config["factor"], config["factor_out"]
        return NormalisedDictionary(build(config["inner"], tensors), *rule)
    built = _layers(config, tensors) if architecture == CROSS_LAYER else _linear(config, tensors)
    built.prefixes = saelens_reading.prefixes(config)
    return built


def _linear(config: Config, tensors: Tensors) -> Dictionary:
    selection = _selection(config, tensors.get("threshold"))
    parts = tensors["W_enc"].T.contiguous(), tensors["b_enc"], tensors["W_dec"], tensors["b_dec"]
    centred, weighing = config["apply_b_dec_to_input"], config["weighing"]
    if config["architecture"] == "lista":
        first = _selection(config, tensors.get("threshold_first"))
        return RefinedDictionary(*parts, selection, config["step"], first)
    if config["architecture"] == "crosscoder":
        widths, scales = config["widths"], config["scales"]
        return Crosscoder(*parts, selection, widths, centred, weighing, scales)
    if "d_out" in config:
        made = Transcoder(*parts, selection, tensors.get("W_skip"), centred, weighing)
        made.autoencodes = config.get("autoencodes", False)
        return made
    return FlatDictionary(*parts, selection, centred, weighing)


def _branching(config: Config, tensors: Tensors) -> Dictionary:
    trunk = build(config["inner"], tensors)
    trained_k.recall(trunk, config)
    if config["architecture"] == HIERARCHICAL:
        assert isinstance(trunk, FlatDictionary), "another was refused"
        own = ("reads", "writes", "C_enc", "C_dec", "t")
        return HierarchicalDictionary(trunk, *(tensors[name] for name in own))
    assert isinstance(trunk, FlatDictionary | LocalDictionary), "another was refused"
    level = config["level"]
    V, routes, C = (tensors[f"{name}_{level}"] for name in ("V", "routes", "C"))
    rule = config["rounds"], config["floor"], config["least"]
    return LocalDictionary(trunk, V, routes.long(), C, *rule)


def _branching_shapes(config: Config) -> dict[str, Shape]:
    children, rank = config.get("children", "child"), config.get("rank", "rank")
    if config.get("architecture") == HIERARCHICAL:
        found: dict[str, Shape] = dict.fromkeys(("C_enc", "C_dec"), ("d_sae_in", children, rank))
        found |= dict.fromkeys(("reads", "writes"), ("d_sae_in", rank, config.get("d_in", "d_in")))
        return found | {"t": ("d_sae_in", children)}
    level, bearers = config.get("level"), config.get("bearers", "bearer")
    return {
        f"V_{level}": (config.get("charts", "chart"), rank, config.get("d_in", "d_in")),
        f"routes_{level}": (bearers,),
        f"C_{level}": (bearers, children, rank),
    }


def _layers(config: Config, tensors: Tensors) -> Dictionary:
    layers = range(len(config["latents_by_layer"]))
    return CrossLayerTranscoder(
        [tensors[f"W_enc_{layer}"] for layer in layers],
        [tensors[f"b_enc_{layer}"] for layer in layers],
        [tensors[f"W_dec_{layer}"] for layer in layers],
        tensors["b_dec"],
        [
            _selection(
                config | {"k": config["k_by_layer"][layer]}, tensors.get(f"threshold_{layer}")
            )
            for layer in layers
        ],
    )


def _selection(config: Config, threshold: Tensor | None) -> Selection:
    kind = config["selection"]
    if threshold is not None:
        return JumpReLU(threshold)
    return WITHOUT_K[kind]() if kind in WITHOUT_K else WITH_K[kind](config["k"])


def _linear_shapes(config: Config) -> dict[str, Shape]:
    written = "d_out" if "d_out" in config else "d_in"
    found: dict[str, Shape] = {
        "W_dec": ("d_sae", written),
        "W_enc": ("d_in", "d_sae"),
        "b_enc": ("d_sae",),
        "b_dec": (written,),
    }
    if config.get("selection") == JUMPRELU:
        found["threshold"] = ("d_sae",)
        if config.get("architecture") == "lista":
            found["threshold_first"] = ("d_sae",)
    if config.get("skip") is True:
        found["W_skip"] = (written, "d_in")
    return found


def _layer_shapes(config: Config) -> dict[str, Shape]:
    if _layer_reasons(config):
        return {}
    width, sizes = config["d_layer"], config["latents_by_layer"]
    found: dict[str, Shape] = {"b_dec": (len(sizes), width)}
    for layer, latents in enumerate(sizes):
        found[f"W_enc_{layer}"] = (latents, width)
        found[f"b_enc_{layer}"] = (latents,)
        found[f"W_dec_{layer}"] = (latents, len(sizes) - layer, width)
        if config["selection"] == JUMPRELU:
            found[f"threshold_{layer}"] = (latents,)
    return found


# --- reasons --------------------------------------------------------------------------------------


def _linear_reasons(config: Config) -> list[str]:
    names = ["d_in", "d_sae", *(["d_out"] if "d_out" in config else [])]
    reasons = [
        f"{name} = {short(config.get(name))}; wanted a whole number above zero"
        for name in names
        if not is_count(config.get(name))
    ]
    reasons += _selection_reasons(config, [config.get("k")], [config.get("d_sae")])
    if type(config.get("apply_b_dec_to_input")) is not bool:
        reasons.append("apply_b_dec_to_input is not true or false")
    if type(config.get("autoencodes", False)) is not bool:
        reasons.append(f"autoencodes = {short(config['autoencodes'])}; wanted true or false")
    if config.get("weighing") not in WEIGHINGS:
        said = short(config.get("weighing"))
        reasons.append(f"weighing = {said}; known: {', '.join(WEIGHINGS)}")
    if config.get("architecture") == "lista" and not is_real(config.get("step")):
        reasons.append(f"step = {short(config.get('step'))}; wanted a number")
    if config.get("architecture") == "crosscoder":
        reasons += _part_reasons(config)
    return reasons + saelens_reading.prefix_reasons(config)


def _part_reasons(config: Config) -> list[str]:
    widths, scales = config.get("widths"), config.get("scales")
    if not isinstance(widths, list) or not all(is_count(width) for width in widths):
        return [f"widths = {short(widths)}; wanted a list of whole numbers above zero"]
    fits = isinstance(scales, list) and all(map(is_real, scales)) and len(scales) == len(widths)
    return [] if fits else [f"scales = {short(scales)}; wanted {len(widths)} numbers"]


def _layer_reasons(config: Config) -> list[str]:
    sizes, ks, width = (config.get(key) for key in ("latents_by_layer", "k_by_layer", "d_layer"))
    if not isinstance(sizes, list) or not sizes or not all(is_count(size) for size in sizes):
        return [f"latents_by_layer = {short(sizes)}; wanted a list of whole numbers above zero"]
    if not isinstance(ks, list) or len(ks) != len(sizes):
        return [f"k_by_layer = {short(ks)}; wanted {len(sizes)} whole numbers"]
    reasons = _selection_reasons(config, ks, sizes)
    if not is_count(width):
        reasons.append(f"d_layer = {short(width)}; wanted a whole number above zero")
    return reasons


def _selection_reasons(config: Config, ks: list[object], sizes: list[object]) -> list[str]:
    kind = config.get("selection")
    if kind not in SELECTIONS:
        return [f"selection = {short(kind)}; known: {', '.join(SELECTIONS)}"]
    if kind not in WITH_K:
        return []
    return [
        f"k = {short(k)}; wanted a whole number from 1 to {size:,}"
        for k, size in zip(ks, sizes, strict=True)
        if isinstance(size, int) and is_count(size) and not is_count(k, size)
    ]


def _wrapper_reasons(config: Config, depth: int) -> list[str]:
    inner = config.get("inner")
    if not isinstance(inner, dict):
        return [f"inner = {short(inner)}; wanted the configuration of the dictionary inside"]
    if depth >= _DEPTH:
        return [f"dictionaries are nested more than {_DEPTH} deep"]
    reasons = config_reasons(inner, depth + 1)
    named = ("eps", "factor", "factor_out") if config["architecture"] == "normalised" else (
        "pruning_threshold",
    )  # fmt: skip
    for name in named:
        if not is_real(config.get(name)):
            reasons.append(f"{name} = {short(config.get(name))}; wanted a number")
    if config["architecture"] == "normalised" and config.get("norm") not in NORMS:
        reasons.append(f"norm = {short(config.get('norm'))}; known: {', '.join(NORMS)}")
    return reasons


def _branching_reasons(config: Config, depth: int) -> list[str]:
    inner = config.get("inner")
    if not isinstance(inner, dict):
        return [f"inner = {short(inner)}; wanted the configuration of the parents"]
    if depth >= _LEVELS:
        return [f"levels of children are nested more than {_LEVELS} deep"]
    reasons = config_reasons(inner, depth + 1)
    known = ("standard", "topk", "jumprelu", "general")
    local = config["architecture"] == LOCAL
    if inner.get("architecture") not in (*known, *([LOCAL] if local else [])):
        reasons.append(f"inner is {short(inner.get('architecture'))}; wanted an autoencoder")
    elif "d_out" in inner:
        reasons.append("inner writes another place than it reads; wanted an autoencoder")
    counts = ["d_in", "d_sae", "rank", "children"]
    counts += ["level", "charts", "bearers"] if local else []
    reasons += [
        f"{name} = {short(config.get(name))}; wanted a whole number above zero"
        for name in counts
        if not is_count(config.get(name))
    ]
    if local:
        reasons += [f"{name} = {short(config.get(name))}; wanted a number of at least 0"
                    for name in ("rounds", "floor", "least")
                    if not is_real(config.get(name)) or config[name] < 0]  # fmt: skip
        if not isinstance(config.get("rounds"), int):
            reasons.append(f"rounds = {short(config.get('rounds'))}; wanted a whole number")
        above = inner.get("level", 0) if inner.get("architecture") == LOCAL else 0
        if config.get("level") != above + 1:
            reasons.append(f"level = {short(config.get('level'))} above level {short(above)}")
    return reasons


def _unknown(architecture: object) -> str:
    if architecture == "temporal":
        return (
            "architecture 'temporal': it reads the tokens before each token too, which no "
            "dictionary here does"
        )
    names = ", ".join(sorted([*saelens_reading.SHAPES, *OWN]))
    return f"unknown architecture {short(architecture)}; known: {names}"
