"""circuit-tracer's files: from folders to the dictionaries that they mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.foreign.names import header_names
from monosemy.dictionaries.foreign.plain import in_one_type
from monosemy.dictionaries.foreign.reading import (
    Shape,
    read_safetensors,
    read_yaml,
    tensor_reasons,
)
from monosemy.dictionaries.selection import JumpReLU, ReLU, Selection
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors.axes import Tensor

CONFIG = "config.yaml"
SET, ACROSS = "transcoder_set", "cross_layer_transcoder"
THRESHOLD, SKIP = "activation_function.threshold", "W_skip"
_LAYER, _ENCODER = re.compile(r"layer_(\d+)\.safetensors"), re.compile(r"W_enc_(\d+)\.safetensors")
_SHAPES: dict[str, Shape] = {
    "b_enc": ("m",), "b_dec": ("d",), "W_enc": ("m", "d"), "W_dec": ("m", "d"),
    THRESHOLD: ("m",), SKIP: ("d", "d"),
}  # fmt: skip
HOOKS = {"hook_name": "feature_input_hook", "hook_name_out": "feature_output_hook"}
"""Where the sites of a dictionary's metadata stand in ``config.yaml``."""


def recognises(path: Path) -> bool:
    """Whether a ``config.yaml`` says so, or files are called and made as above."""
    path = Path(path)
    try:
        if _config(path).get("model_kind") in (SET, ACROSS):
            return True
    except UserError:
        return False
    files = _numbered(path, _LAYER)
    return bool(_numbered(path, _ENCODER)) or any(
        "W_enc" in header_names(f) for f in files.values()
    )


def read(path: Path) -> dict[str, Dictionary]:
    """A transcoder set as ``layer_{i}``, or the one transcoder across layers.

    Errors
    ------
    `UserError` with every reason: files missing or not whole, tensors that do not fit, layers left
    out, a kind that is not known, files that lie elsewhere (``hf://``).
    """
    path = Path(path)
    config = _config(path)
    kind = config.get("model_kind", ACROSS if _numbered(path, _ENCODER) else SET)
    if kind == SET:
        return _read_set(path, config)
    if kind == ACROSS:
        return {"": _read_across(path, config)}
    raise UserError(f"{path / CONFIG} names the model_kind {kind!r}; known: {SET}, {ACROSS}")


def _config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).is_file():
        return {}
    config = read_yaml(folder / CONFIG)
    if not isinstance(config, dict):
        raise UserError(
            f"{folder / CONFIG} holds a {type(config).__name__}, wanted settings by name"
        )
    return config


def _numbered(folder: Path, pattern: re.Pattern[str]) -> dict[int, Path]:
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return {}
    matches = [(pattern.fullmatch(path.name), path) for path in paths]
    return {int(match[1]): path for match, path in matches if match}


def _gaps(folder: Path, files: Mapping[int, Path], what: str) -> list[str]:
    if not files:
        return [f"{folder} has no {what}"]
    missing = sorted(set(range(max(files))) - set(files))
    return [f"{folder} has no {what} for the layers {missing}"] if missing else []


def _read_set(folder: Path, config: dict[str, Any]) -> dict[str, Dictionary]:
    files = _listed(folder, config) if "transcoders" in config else _numbered(folder, _LAYER)
    refuse(_gaps(folder, files, "layer_{i}.safetensors"), f"the transcoder set at {folder}")
    found = {f"layer_{layer}": _read_layer(files[layer]) for layer in sorted(files)}
    for layer, dictionary in enumerate(found.values()):
        dictionary.metadata = _metadata(config) | {
            ours: f"blocks.{layer}.{config[theirs]}"
            for ours, theirs in HOOKS.items()
            if config.get(theirs)
        }
    return found


def _listed(folder: Path, config: dict[str, Any]) -> dict[int, Path]:
    """Files that the configuration lists, layer by layer."""
    names = config["transcoders"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{folder / CONFIG}: transcoders = {names!r}; wanted a list of files")
    refuse(
        [f"layer {layer} is {name}, which does not lie here; download it and list its file"
         for layer, name in enumerate(names) if name.startswith("hf://")],
        f"the transcoder set at {folder}",
    )  # fmt: skip
    return {layer: folder / name for layer, name in enumerate(names)}


def _read_layer(path: Path) -> Dictionary:
    given = read_safetensors(path)
    reasons = tensor_reasons(given, _SHAPES, optional=(THRESHOLD, SKIP))
    refuse(reasons + _negative(given.get(THRESHOLD), THRESHOLD), f"the transcoder at {path}")
    tensors = in_one_type(given)
    return Transcoder(
        tensors["W_enc"],
        tensors["b_enc"],
        tensors["W_dec"],
        tensors["b_dec"],
        _selection(tensors.get(THRESHOLD)),
        W_skip=tensors.get(SKIP),
    ).eval()


def _read_across(folder: Path, config: dict[str, Any]) -> CrossLayerTranscoder:
    files = _numbered(folder, _ENCODER)
    refuse(_gaps(folder, files, "W_enc_{i}.safetensors"), f"the transcoder at {folder}")
    layers, reasons, given = range(len(files)), list[str](), dict[str, Tensor]()
    for layer in layers:
        tensors = read_safetensors(files[layer])
        tensors |= read_safetensors(folder / f"W_dec_{layer}.safetensors")
        shapes = _across_shapes(layer, len(files))
        reasons += tensor_reasons(tensors, shapes, optional=[f"threshold_{layer}"])
        reasons += _negative(tensors.get(f"threshold_{layer}"), f"threshold_{layer}")
        given |= tensors
    with_threshold = [layer for layer in layers if f"threshold_{layer}" in given]
    if with_threshold and len(with_threshold) < len(files):
        reasons.append(f"only the layers {with_threshold} have thresholds; wanted all or none")
    refuse(reasons, f"the transcoder at {folder}")
    one = in_one_type(given)
    clt = CrossLayerTranscoder(
        [one[f"W_enc_{layer}"] for layer in layers],
        [one[f"b_enc_{layer}"] for layer in layers],
        [one[f"W_dec_{layer}"] for layer in layers],
        torch.stack([one[f"b_dec_{layer}"] for layer in layers]),
        [_selection(one.get(f"threshold_{layer}")) for layer in layers],
    )
    clt.metadata = _metadata(config) | {
        ours: [f"blocks.{layer}.{config[theirs]}" for layer in layers]
        for ours, theirs in HOOKS.items()
        if config.get(theirs)
    }
    return clt.eval()


def _across_shapes(layer: int, layers: int) -> dict[str, Shape]:
    return {
        f"b_enc_{layer}": ("m",),
        f"b_dec_{layer}": ("d",),
        f"W_enc_{layer}": ("m", "d"),
        f"W_dec_{layer}": ("m", layers - layer, "d"),
        f"threshold_{layer}": ("m",),
    }


def _selection(threshold: Tensor | None) -> Selection:
    return ReLU() if threshold is None else JumpReLU(threshold)


def _negative(threshold: Tensor | None, name: str) -> list[str]:
    # What holds no real numbers has a reason against it already.
    if threshold is None or not threshold.is_floating_point() or not bool((threshold < 0).any()):
        return []
    return [
        f"{name} is below zero for {int((threshold < 0).sum())} latents, which circuit-tracer lets "
        "have negative activations; here none has"
    ]


def _metadata(config: dict[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in ("model_name", "scan") if config.get(key)}
