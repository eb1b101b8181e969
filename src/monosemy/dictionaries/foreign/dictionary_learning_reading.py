"""dictionary_learning's classes: from a file's tensors to the dictionary that they mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeGuard

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign.reading import Shape, read_pickle, tensor_reasons
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, ReLU, Selection, TopK
from monosemy.foundation import storage
from monosemy.foundation.errors import UserError, nearest, refuse
from monosemy.tensors.axes import Tensor

CONFIG = "config.json"
LIBRARY = "dictionary_learning"
RELU, UNCENTRED, GATED = "AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder"
TOPK, BATCHTOPK = "AutoEncoderTopK", "BatchTopKSAE"
JUMPRELU, MATRYOSHKA = "JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE"

_LINEAR: dict[str, Shape] = {"encoder.weight": ("m", "d"), "decoder.weight": ("d", "m")}
_PLAIN: dict[str, Shape] = {"W_enc": ("d", "m"), "W_dec": ("m", "d")}
SHAPES: dict[str, dict[str, Shape]] = {
    RELU: {"encoder.bias": ("m",), "bias": ("d",), **_LINEAR},
    UNCENTRED: {"encoder.bias": ("m",), "decoder.bias": ("d",), **_LINEAR},
    GATED: {
        "gate_bias": ("m",), "mag_bias": ("m",), "decoder_bias": ("d",), "r_mag": ("m",), **_LINEAR,
    },
    TOPK: {"encoder.bias": ("m",), "b_dec": ("d",), **_LINEAR},
    BATCHTOPK: {"encoder.bias": ("m",), "b_dec": ("d",), **_LINEAR},
    JUMPRELU: {"b_enc": ("m",), "b_dec": ("d",), "threshold": ("m",), **_PLAIN},
    MATRYOSHKA: {"b_enc": ("m",), "b_dec": ("d",), **_PLAIN},
}  # fmt: skip
"""Tensors of each class, in latents m and width d; `WITH_K` have ``k`` and ``threshold`` too."""
WITH_K = (TOPK, BATCHTOPK, MATRYOSHKA)
GROUPS = "group_sizes"
_UNCENTRED = (UNCENTRED, JUMPRELU)


def read_one(file: Path) -> Dictionary:
    """The dictionary in `file`, in evaluation mode; `UserError` with every reason."""
    state = read_pickle(file)
    if not isinstance(state, Mapping):
        raise UserError(f"{file} holds a {type(state).__name__}, wanted tensors by name")
    config, factor = _config_beside(file), None
    if isinstance(state.get("ae"), Mapping):  # a backup
        if isinstance(state.get("config"), Mapping):
            config |= {"trainer": state["config"]}
        state, factor = state["ae"], state.get("norm_factor")
    kind = _class(config, state, file)
    refuse(_reasons(kind, config, state, factor), f"the {kind} in {file}")
    dictionary = _built(kind, config, _scaled(state, factor))
    dictionary.metadata = _provenance(config, state)
    return dictionary.eval()


def _config_beside(file: Path) -> dict[str, Any]:
    """``config.json`` in the file's folder, or in the one above for a checkpoint."""
    for folder in (file.parent, file.parent.parent):
        if (folder / CONFIG).is_file():
            config = storage.read_json(folder / CONFIG, "dictionary_learning's configuration")
            if isinstance(config, dict) and isinstance(config.get("trainer"), dict):
                return config
            raise UserError(f"{folder / CONFIG} has no 'trainer' with the settings of training")
    return {}


def _class(config: dict[str, Any], state: Mapping[str, Any], file: Path) -> str:
    """What the configuration says, or else what only one class's tensors can be."""
    trainer = config.get("trainer")
    if isinstance(trainer, Mapping) and "dict_class" in trainer:
        kind = trainer["dict_class"]
        if isinstance(kind, str) and kind in SHAPES:
            return kind
        close = nearest(str(kind), SHAPES)
        raise UserError(f"unknown dict_class {kind!r} of {file}; known: {', '.join(SHAPES)}{close}")
    fitting = [kind for kind in SHAPES if set(SHAPES[kind]) <= set(state)
               and (GROUPS in state) == (kind == MATRYOSHKA)]  # fmt: skip
    if len(fitting) == 1:
        return fitting[0]
    what = f"could be {' or '.join(fitting)}" if fitting else "fit no class of dictionary_learning"
    raise UserError(
        f"no {CONFIG} beside {file} names its class, and its tensors {what}; "
        f'put a {CONFIG} there that says {{"trainer": {{"dict_class": ...}}}}'
    )


def _reasons(kind: str, config: dict[str, Any], state: Mapping[str, Any], factor: Any) -> list[str]:
    trainer = config.get("trainer") or {}
    sizes = {"m": trainer.get("dict_size"), "d": trainer.get("activation_dim")}
    known = {letter: size for letter, size in sizes.items() if type(size) is int and size > 0}
    wanted: dict[str, Shape] = {
        name: tuple(known.get(str(size), size) for size in shape)
        for name, shape in SHAPES[kind].items()
    }
    buffers = (("k", "threshold") if kind in WITH_K else ()) + (GROUPS,) * (kind == MATRYOSHKA)
    given = {name: value for name, value in state.items() if name not in buffers}
    reasons = tensor_reasons(given, wanted) + type_reasons(given)
    if factor is not None and not (type(factor) in (int, float) and 0 < factor < float("inf")):
        reasons.append(f"norm_factor = {factor!r}; wanted a number above zero")
    buffer = config.get("buffer")
    if isinstance(buffer, Mapping) and buffer.get("io") == "in_and_out":
        reasons.append(
            "it was trained from one place to another (buffer.io = 'in_and_out'), and only "
            "autoencoders are read"
        )
    if not isinstance(config.get("metadata") or {}, dict):
        reasons.append(f"metadata holds a {type(config['metadata']).__name__}, wanted an object")
    if kind in WITH_K:
        reasons += _k_reasons(kind, trainer, state)
    return reasons


def _k_reasons(kind: str, trainer: Mapping[str, Any], state: Mapping[str, Any]) -> list[str]:
    said, bias = trainer.get("k"), state.get("b_enc" if kind == MATRYOSHKA else "encoder.bias")
    k = _number(state["k"]) if "k" in state else said  # old files have it in the configuration only
    latents = bias.numel() if isinstance(bias, Tensor) else 0
    reasons = []
    if type(k) is not int:
        reasons.append(f"k = {state.get('k', said)!r}; wanted a whole number")
    elif type(said) is int and said != k:
        reasons.append(f"k is {k} in the file and {said} in {CONFIG}")
    elif latents:
        reasons += TopK(k).refuse_for(latents)
    if "threshold" in state and type(_number(state["threshold"])) is not float:
        reasons.append(f"threshold = {state['threshold']!r}; wanted one real number")
    return reasons + (_group_reasons(state.get(GROUPS), latents) if kind == MATRYOSHKA else [])


def _group_reasons(groups: Any, latents: int) -> list[str]:
    found = groups.tolist() if _is_plain(groups) else groups
    sizes = found if _is_plain(groups) and groups.ndim == 1 else []
    if sizes and all(type(size) is int and size > 0 for size in sizes) and sum(sizes) == latents:
        return []
    return [f"group_sizes = {found}; wanted whole numbers above zero that sum to {latents:,}"]


def type_reasons(tensors: Mapping[str, Any]) -> list[str]:
    """Why tensors of these types cannot be multiplied with each other."""
    found = sorted({str(value.dtype) for value in tensors.values() if isinstance(value, Tensor)})
    return [f"tensors of several types: {', '.join(found)}"] if len(found) > 1 else []


def _is_plain(value: Any) -> TypeGuard[Tensor]:
    """Whether `value` is a tensor whose numbers lie in memory as they are."""
    dense = isinstance(value, Tensor) and value.layout is torch.strided
    return dense and value.device.type == "cpu" and not value.is_quantized


def _number(value: Any) -> int | float | None:
    """The one finite number that the tensor `value` holds."""
    if not _is_plain(value) or value.ndim:
        return None
    number = value.item()
    return number if type(number) in (int, float) and abs(number) < float("inf") else None


def _scaled(state: Mapping[str, Tensor], factor: float | None) -> dict[str, Tensor]:
    """Everything in units of activations times `factor`; directions and matrices stay."""
    scaled = dict(state)
    for name, value in state.items():
        unset = name == "threshold" and value.ndim == 0 and value < 0
        bias = name.endswith("bias") or name in ("b_enc", "b_dec", "threshold")
        if factor is not None and bias and not unset:
            scaled[name] = value * factor
    return scaled


def _built(kind: str, config: dict[str, Any], state: dict[str, Tensor]) -> Dictionary:
    if kind in (JUMPRELU, MATRYOSHKA):
        W_enc, b_enc = state["W_enc"].T.contiguous(), state["b_enc"]
        W_dec, b_dec = state["W_dec"], state["b_dec"]
    else:
        W_enc, W_dec = state["encoder.weight"], state["decoder.weight"].T.contiguous()
        b_dec = state[next(name for name, shape in SHAPES[kind].items() if shape == ("d",))]
        b_enc = state["gate_bias" if kind == GATED else "encoder.bias"]
    if kind == GATED:
        return GatedDictionary(W_enc, b_enc, state["r_mag"], state["mag_bias"], W_dec, b_dec)
    selection = _selection(kind, config, state)
    dictionary = FlatDictionary(
        W_enc, b_enc, W_dec, b_dec, selection, centred=kind not in _UNCENTRED
    )
    if kind == MATRYOSHKA:
        dictionary.prefixes = tuple(accumulate(state[GROUPS].tolist()))
    return dictionary


def _selection(kind: str, config: dict[str, Any], state: dict[str, Tensor]) -> Selection:
    if kind in (RELU, UNCENTRED):
        return ReLU()
    if kind == JUMPRELU:
        return JumpReLU(state["threshold"])
    k = int(state["k"]) if "k" in state else config["trainer"]["k"]
    if kind == TOPK:
        return TopK(k)
    selection = BatchTopK(k)
    # Every entry that is above a negative threshold and survives the ReLU is above zero.
    selection.threshold.fill_(max(float(state.get("threshold", -1)), 0.0))
    return selection


def _provenance(config: dict[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    trainer = config.get("trainer") or {}
    said = {"model_name": trainer.get("lm_name"), "hook_name": trainer.get("submodule_name")}
    kept: dict[str, Any] = {name: _plain(dict(config[name])) for name in ("trainer", "buffer")
            if isinstance(config.get(name), Mapping)}  # fmt: skip
    if trainer.get("dict_class") == TOPK and "threshold" in state:
        kept["threshold"] = float(state["threshold"])
    named = {name: value for name, value in said.items() if isinstance(value, str)}
    return {**named, **(config.get("metadata") or {}), LIBRARY: kept}


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that JSON can hold; a backup's may be tensors."""
    return {key: value for key, value in settings.items() if _is_json(key) and _is_json(value)}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
