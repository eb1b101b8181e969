"""Gemma Scope 2's cross-layer transcoders: a folder with one file a layer.

``[params_]layer_{i}.safetensors``: ``w_enc`` (d, m), ``b_enc``, ``threshold`` (m), ``b_dec`` (d) of
layer `i`, and ``w_dec`` (m, layers, d), indexed by target. Rows for targets before layer `i` are
never written by it and are left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.foreign.gemma_names import layer_hooks
from monosemy.dictionaries.foreign.names import header_names
from monosemy.dictionaries.foreign.plain import in_one_type
from monosemy.dictionaries.foreign.reading import Shape, read_safetensors, tensor_reasons
from monosemy.dictionaries.selection import JumpReLU
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors.axes import Tensor

SKIP = "affine_skip_connection"
_FILE = re.compile(r"(?:params_)?layer_(\d+)\.safetensors")


def layer_files(folder: Path) -> dict[int, Path]:
    """The files of a cross-layer transcoder by their layer; empty where there is none."""
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return {}
    matches = [(_FILE.fullmatch(path.name), path) for path in paths]
    files = {int(match[1]): path for match, path in matches if match}
    # circuit-tracer's files of single layers have such names too, but capitals inside.
    return files if any("w_enc" in header_names(path) for path in files.values()) else {}


def read_layers(
    folder: Path, files: dict[int, Path], config: dict[str, Any]
) -> CrossLayerTranscoder:
    """The transcoder across the layers of `files`; `UserError` with every reason."""
    missing = sorted(set(range(max(files))) - set(files))
    if missing:
        raise UserError(f"{folder} has no file for the layers {missing}; wanted each from 0 on")
    layers = range(len(files))
    given = [read_safetensors(files[layer]) for layer in layers]
    reasons = [
        f"layer {layer}: {reason}"
        for layer in layers
        for reason in _layer_reasons(given[layer], len(files))
    ]
    refuse(reasons, f"the cross-layer transcoder at {folder}")
    one = in_one_type({f"{layer}.{name}": given[layer][name]
                       for layer in layers for name in given[layer]})  # fmt: skip
    clt = CrossLayerTranscoder(
        [one[f"{layer}.w_enc"].T.contiguous() for layer in layers],
        [one[f"{layer}.b_enc"] for layer in layers],
        [one[f"{layer}.w_dec"][:, layer:].contiguous() for layer in layers],
        torch.stack([one[f"{layer}.b_dec"] for layer in layers]),
        [JumpReLU(one[f"{layer}.threshold"]) for layer in layers],
    )
    model = {"model_name": str(config["model_name"])} if config.get("model_name") else {}
    clt.metadata = model | layer_hooks(len(files))
    return clt.eval()


def _layer_reasons(tensors: dict[str, Tensor], layers: int) -> list[str]:
    wanted: dict[str, Shape] = {
        "b_enc": ("m",), "b_dec": ("d",), "w_enc": ("d", "m"), "w_dec": ("m", layers, "d"),
        "threshold": ("m",),
    }  # fmt: skip
    reasons = tensor_reasons({k: v for k, v in tensors.items() if k != SKIP}, wanted)
    if SKIP in tensors:
        reasons.append(f"has a skip ({SKIP}), and a transcoder across layers has none here")
    return reasons
