"""Llama Scope, as its authors' library of that time (lm-saes) and SAELens read it.

**Llama Scope** (He et al. 2024, arXiv:2410.20526): ``hyperparams.json`` and
``checkpoints/final.safetensors``; **R1-Distill**: ``config.json`` and ``sae_weights.safetensors``.
Both hold ``encoder.weight`` (m, d), ``encoder.bias`` (m), ``decoder.weight`` (d, m) and
``decoder.bias`` (d). With ``a_in = sqrt(d) / norm_in``, ``a_out`` likewise, from
``dataset_average_activation_norm`` (where ``norm_activation`` is ``dataset-wise``):

``pre = W_enc (a_in x) + b_enc``, ``x̂ = (f W_dec + b_dec) / a_out``

* Llama Scope has one ``jump_relu_threshold``. lm-saes folds all scales into the weights and makes
  decoder rows length one before it compares, so the threshold is in units of what is written:
  ``f = pre · [pre |W_dec| > a_out · threshold]``, activations counted in ``|W_dec|``. Without
  ``sparsity_include_decoder_norm`` it is in units of what is read: ``pre > a_in · threshold``.
  SAELens reads the second always; the two agree where rows have length one and norms are equal.
* R1-Distill has ``log_jumprelu_threshold`` (m), in the units of ``pre``; with
  ``sparsity_include_decoder_norm`` it is compared with ``pre |W_dec|``.

Activations stay in the normalised units, as in SAELens.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign.format import Format
from monosemy.dictionaries.foreign.names import header_names
from monosemy.dictionaries.foreign.plain import in_one_type, is_positive
from monosemy.dictionaries.foreign.reading import Shape, read_safetensors, tensor_reasons
from monosemy.dictionaries.normalised import CONSTANT, NormalisedDictionary
from monosemy.dictionaries.selection import JumpReLU, ReLU, Selection, TopK
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation import storage
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors.axes import Tensor

FIRST, SECOND = "hyperparams.json", "config.json"
FIRST_WEIGHTS = ("checkpoints/pruned.safetensors", "checkpoints/final.safetensors")
SECOND_WEIGHTS = "sae_weights.safetensors"
LOG_THRESHOLD = "log_jumprelu_threshold"
_NORMS, _SIDES = "dataset_average_activation_norm", ("in", "out")
_SHAPES: dict[str, Shape] = {
    "encoder.bias": ("m",),
    "encoder.weight": ("m", "d"),
    "decoder.weight": ("d", "m"),
    "decoder.bias": ("d",),
}
_GLU = "a gated linear unit in the encoder (use_glu_encoder), which no dictionary here has"


def recognises(path: Path) -> bool:
    """Whether there is a ``hyperparams.json``, or weights under Llama Scope's names."""
    path = Path(path)
    return (path / FIRST).is_file() or "encoder.weight" in header_names(path / SECOND_WEIGHTS)


def read(path: Path) -> dict[str, Dictionary]:
    """The dictionary in the folder `path`; a transcoder where two sites are named.

    Errors
    ------
    `UserError` with every reason: files missing or not whole, settings or tensors that do not fit.
    """
    path = Path(path)
    first = (path / FIRST).is_file()
    config = storage.read_json(path / (FIRST if first else SECOND), "Llama Scope's settings")
    if not isinstance(config, dict):
        raise UserError(f"the settings at {path} are a {type(config).__name__}, wanted an object")
    given = read_safetensors(_weights(path) if first else path / SECOND_WEIGHTS)
    norms = _norms(config, given, first)
    tensors = {name: t for name, t in given.items() if not name.startswith(f"{_NORMS}.")}
    what = f"the Llama Scope dictionary at {path}"
    refuse(_reasons(config, tensors, norms, first), what)
    dictionary = _built(config, in_one_type(tensors), norms, first)
    dictionary.metadata |= _metadata(config)
    return {"": dictionary.eval()}


FORMAT = Format("llama_scope", "Llama Scope", recognises, read)


def _weights(folder: Path) -> Path:
    for name in FIRST_WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    return folder / FIRST_WEIGHTS[-1]


def _norms(config: dict[str, Any], given: dict[str, Tensor], first: bool) -> dict[str, Any]:
    """Average norms of what is read and written, ``in`` and ``out``, wherever they are kept."""
    if first:
        found = config.get(_NORMS)
        return found if isinstance(found, dict) else {}
    sides = {side: given.get(f"{_NORMS}.{config.get(f'hook_point_{side}')}") for side in _SIDES}
    return {side: float(t) for side, t in sides.items() if t is not None and t.numel() == 1}


def _reasons(
    config: dict[str, Any], tensors: dict[str, Tensor], norms: dict[str, Any], first: bool
) -> list[str]:
    reasons, shapes, optional = _setting_reasons(config, norms, first), dict(_SHAPES), []
    if not first and config.get("act_fn", "jumprelu") == "jumprelu":
        shapes[LOG_THRESHOLD] = ("m",)
    if config.get("use_decoder_bias") is False:
        optional.append("decoder.bias")
    found = tensor_reasons(tensors, shapes, optional)
    if not found:
        latents, width = tensors["encoder.weight"].shape
        sizes = {"d_model": width, "d_sae": latents}
        found = [f"{key} = {config[key]!r}, and the tensors say {size}"
                 for key, size in sizes.items() if config.get(key, size) != size]  # fmt: skip
    return reasons + found


def _setting_reasons(config: dict[str, Any], norms: dict[str, Any], first: bool) -> list[str]:
    reasons = []
    if config.get("sae_type", "sae") != "sae":
        reasons.append(f"sae_type = {config['sae_type']!r}, and only 'sae' is read")
    if config.get("use_glu_encoder"):
        reasons.append(_GLU)
    norm = config.get("norm_activation", "dataset-wise")
    if norm not in ("dataset-wise", "inference"):
        reasons.append(
            f"norm_activation = {norm!r}: tokens are scaled by what is known in training only; "
            "'dataset-wise' and 'inference' are read"
        )
    if norm == "dataset-wise":
        reasons += [
            f"{_NORMS} '{side}' is {norms.get(side)!r}; wanted a number above zero"
            for side in _SIDES
            if not is_positive(norms.get(side))
        ]
    if config.get("apply_decoder_bias_to_pre_encoder") and norms.get("in") != norms.get("out"):
        reasons.append("b_dec is subtracted from what is read in other units")
    return reasons + _activation_reasons(config, first)


def _activation_reasons(config: dict[str, Any], first: bool) -> list[str]:
    kind, threshold = config.get("act_fn", "jumprelu"), config.get("jump_relu_threshold", 0)
    if kind not in ("relu", "topk", "jumprelu"):
        return [f"act_fn = {kind!r}; known: relu, topk, jumprelu"]
    if first and kind != "relu" and not (threshold == 0 or is_positive(threshold)):
        return [f"jump_relu_threshold = {threshold!r}; wanted a number of at least zero"]
    k = config.get("top_k")
    if kind == "topk" and (type(k) is not int or k < 1):
        return [f"top_k = {k!r}; wanted a whole number of at least 1"]
    return []


def _scales(config: dict[str, Any], norms: dict[str, Any], width: int) -> dict[str, float]:
    """By how much what is read and written is larger in the units of learning."""
    if config.get("norm_activation", "dataset-wise") == "inference":
        return dict.fromkeys(_SIDES, 1.0)
    return {side: math.sqrt(width) / norms[side] for side in _SIDES}


def _weighing(config: dict[str, Any], first: bool) -> str:
    if not config.get("sparsity_include_decoder_norm", True):
        return "none"
    return "rescaled" if first else "selected"


def _selection(
    config: dict[str, Any], tensors: dict[str, Tensor], scales: dict[str, float], first: bool
) -> Selection:
    kind, like = config.get("act_fn", "jumprelu"), tensors["encoder.bias"]
    threshold = config.get("jump_relu_threshold", 0)
    if kind == "relu":
        return ReLU()
    if not first and kind == "jumprelu":
        # In float32 at least: a bfloat16 logarithm has digits that a bfloat16 threshold has not.
        precise = torch.promote_types(like.dtype, torch.float32)
        return JumpReLU(tensors[LOG_THRESHOLD].to(precise).exp())
    # Top-k was for training; a threshold that was found for it takes its place.
    if kind == "topk" and not (first and threshold > 0):
        return TopK(config["top_k"])
    side = "out" if _weighing(config, first) == "rescaled" else "in"
    return JumpReLU(torch.full_like(like, threshold * scales[side]))


def _built(
    config: dict[str, Any], tensors: dict[str, Tensor], norms: dict[str, Any], first: bool
) -> Dictionary:
    W_enc, b_dec = tensors["encoder.weight"], tensors.get("decoder.bias")
    scales = _scales(config, norms, W_enc.shape[1])
    read, written = config.get("hook_point_in"), config.get("hook_point_out")
    kind = FlatDictionary if written in (None, read) else Transcoder
    inner = kind(
        W_enc,
        tensors["encoder.bias"],
        tensors["decoder.weight"].T.contiguous(),
        torch.zeros_like(W_enc[0]) if b_dec is None else b_dec,
        _selection(config, tensors, scales, first),
        centred=bool(config.get("apply_decoder_bias_to_pre_encoder", False)),
        weighing=_weighing(config, first),
    )
    if set(scales.values()) == {1.0}:
        return inner
    return NormalisedDictionary(inner, CONSTANT, factor=scales["in"], factor_out=scales["out"])


def _metadata(config: dict[str, Any]) -> dict[str, Any]:
    read, written = config.get("hook_point_in"), config.get("hook_point_out")
    known = {"hook_name": str(read)} if read else {}
    return known | ({"hook_name_out": str(written)} if written not in (None, read) else {})
