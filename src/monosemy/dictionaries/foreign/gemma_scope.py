"""Gemma Scope 1 (npz, read and written) and Gemma Scope 2 (safetensors, read).

**1** (Lieberum et al. 2024, arXiv:2408.05147): ``params.npz`` with ``W_enc`` (d, m), ``W_dec``
(m, d), ``b_enc``, ``b_dec`` and ``threshold`` (m): ``f = pre · [pre > threshold]`` for positive
``pre = x W_enc + b_enc``; `b_dec` is not subtracted. Whether it is a transcoder only the folder's
name says (``gemma-scope-2b-pt-transcoders``). Below a folder ``embedding`` the file reads the
embedding before Gemma multiplies it by ``sqrt(d)``; as in SAELens it is given for what comes after:
``W_enc / sqrt(d)``, ``W_dec · sqrt(d)``, `b_dec` as it is.

**2**: ``config.json`` (may be missing) and ``params.safetensors``, the same in small letters, with
``affine_skip_connection`` (d_in, d_out) where there is a skip; across layers see `gemma_layers`.

A folder of such folders is read part by part, each named by its path.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign import gemma_names, parts
from monosemy.dictionaries.foreign.format import Collection, Format
from monosemy.dictionaries.foreign.gemma_layers import SKIP, layer_files, read_layers
from monosemy.dictionaries.foreign.plain import in_one_type, thresholds, unsayable
from monosemy.dictionaries.foreign.reading import (
    Shape,
    read_npz,
    read_safetensors,
    tensor_reasons,
)
from monosemy.dictionaries.selection import JumpReLU
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation import storage
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors.axes import Tensor

NPZ, SAFETENSORS, CONFIG = "params.npz", "params.safetensors", "config.json"
_DEPTH = 3  # layer_{i}/width_{w}/average_l0_{x}
_FORM = "Gemma Scope's npz"
_SHAPES: dict[str, Shape] = {
    "b_enc": ("m",),
    "b_dec": ("d_out",),
    "w_enc": ("d_in", "m"),
    "w_dec": ("m", "d_out"),
    "threshold": ("m",),
}
_NAMES = {
    "wenc": "w_enc", "we": "w_enc", "wdec": "w_dec", "wd": "w_dec",
    "benc": "b_enc", "be": "b_enc", "bdec": "b_dec", "bd": "b_dec",
}  # fmt: skip
"""What others call the tensors, in small letters without underscores."""


def recognises(path: Path) -> bool:
    """Whether there is a ``params.npz``, a ``params.safetensors`` or a file for each layer."""
    path = Path(path)
    if path.is_file():
        return path.suffix == ".npz" or path.name == SAFETENSORS
    return bool(_files(path)) or bool(layer_files(path))


def read(path: Path) -> dict[str, Dictionary]:
    """Every dictionary at `path`: a file, a folder with one, or folders of them.

    Errors
    ------
    `UserError` with every reason: nothing there, files that are not whole, tensors that do not fit.
    """
    path = Path(path)
    if path.is_file():
        return {"": _read_one(path)}
    layers = layer_files(path)
    if layers:
        return {"": read_layers(path, layers, _config(path))}
    files = _files(path)
    if not files:
        raise UserError(f"nothing of Gemma Scope at {path}: wanted {NPZ} or {SAFETENSORS}")
    return {_part(path, file): _read_one(file) for file in files}


def cannot_say(collection: Collection) -> list[str]:
    """Why Gemma Scope's npz has no place for `collection`."""
    reasons = parts.name_reasons(collection)
    for part, dictionary in collection.items():
        against = unsayable(dictionary, _FORM)
        if isinstance(dictionary, Transcoder) and dictionary.W_skip is not None:
            against.append(f"{_FORM} has no skip; circuit_tracer has one")
        reasons += [f"{part}: {why}" if part else why for why in against]
    return reasons


def write(collection: Collection, folder: Path) -> None:
    """``params.npz`` of each part in ``folder/<part>``.

    Every positive latent being active is written as thresholds of zero, which select the same. The
    names of folders decide how a file is read, so one that says something else is refused.

    Errors
    ------
    `UserError` with what `cannot_say` finds, or why the folder has the wrong name.
    """
    refuse(cannot_say(collection), f"what is to be written as {_FORM}")
    places = {part: Path(folder) / part / NPZ for part in collection}
    refuse([why for part, at in places.items() for why in _place_reasons(collection[part], at)],
           f"writing to {folder}")  # fmt: skip
    for part, at in places.items():
        storage.write_bytes(at, _npz(collection[part]))


FORMAT = Format("gemma_scope", "Gemma Scope", recognises, read, cannot_say, write)


# --- reading --------------------------------------------------------------------------------------


def _files(folder: Path) -> list[Path]:
    return [
        at / name
        for name in (NPZ, SAFETENSORS)
        for at in parts.folders_with(folder, name, _DEPTH)
    ]  # fmt: skip


def _part(root: Path, file: Path) -> str:
    name = file.parent.relative_to(root).as_posix()
    return "" if name == "." else name


def _read_one(path: Path) -> Dictionary:
    first = path.suffix == ".npz"
    given = _renamed(read_npz(path), path) if first else read_safetensors(path)
    config = {} if first else _config(path.parent)
    shapes = _SHAPES if first else _SHAPES | {SKIP: ("d_in", "d_out")}
    refuse(tensor_reasons(given, shapes, optional=[SKIP]), f"the Gemma Scope file {path}")
    tensors = in_one_type(given)
    dictionary = _built(tensors, path, config)
    if first and gemma_names.is_embedding(path):
        _scale_embedding_(dictionary)
    dictionary.metadata = gemma_names.metadata(path, config)
    return dictionary.eval()


def _built(tensors: dict[str, Tensor], path: Path, config: dict[str, Any]) -> Dictionary:
    W_enc, W_dec, skip = tensors["w_enc"], tensors["w_dec"], tensors.get(SKIP)
    matrices = W_enc.T.contiguous(), tensors["b_enc"], W_dec, tensors["b_dec"]
    selection = JumpReLU(tensors["threshold"])
    if skip is None and not gemma_names.is_transcoder(path, config, W_enc, W_dec):
        return FlatDictionary(*matrices, selection, centred=False)
    return Transcoder(*matrices, selection, W_skip=None if skip is None else skip.T.contiguous())


def _renamed(given: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The names of Gemma Scope 2, whatever others called the tensors."""
    tensors = dict[str, Tensor]()
    for name, tensor in given.items():
        small = name.lower()
        small = _NAMES.get(small.replace("_", ""), small)
        if small in tensors:
            raise UserError(f"{path} holds {small} twice, once as {name}; keep one")
        tensors[small] = tensor
    factor = tensors.get("scaling_factor")
    if factor is not None and factor.is_floating_point() and bool((factor == 1).all()):
        del tensors["scaling_factor"]
    return tensors


def _config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).is_file():
        return {}
    config = storage.read_json(folder / CONFIG, "the dictionary's configuration")
    if not isinstance(config, dict):
        raise UserError(f"{folder / CONFIG} holds a {type(config).__name__}, wanted an object")
    if config.get("architecture", "jump_relu") != "jump_relu":
        raise UserError(
            f"{folder / CONFIG} names the architecture {config['architecture']!r}; Gemma Scope has "
            "only 'jump_relu'"
        )
    return config


@torch.no_grad()
def _scale_embedding_(dictionary: Dictionary) -> None:
    root = dictionary.width**0.5
    dictionary.W_enc.div_(root)
    dictionary.W_dec.mul_(root)


# --- writing --------------------------------------------------------------------------------------


def _npz(dictionary: Dictionary) -> bytes:
    least = thresholds(dictionary.selection, dictionary.b_enc)
    tensors = {
        "W_enc": dictionary.W_enc.T,
        "W_dec": dictionary.W_dec,
        "b_enc": dictionary.b_enc,
        "b_dec": dictionary.b_dec,
        "threshold": torch.zeros_like(dictionary.b_enc) if least is None else least,
    }
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: _array(tensor) for name, tensor in tensors.items()}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _array(tensor: Tensor) -> np.ndarray:
    # npz has no bfloat16; float32 holds the same numbers.
    tensor = tensor.detach().cpu().contiguous()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _place_reasons(dictionary: Dictionary, at: Path) -> list[str]:
    reasons = []
    if gemma_names.is_embedding(at):
        reasons.append(
            f"{at} is below a folder 'embedding', whose files are rescaled when they are read; "
            "choose another folder"
        )
    told = gemma_names.is_transcoder(at, {}, dictionary.W_enc.T, dictionary.W_dec)
    if told == dictionary.autoencodes:
        kind, name = ("an autoencoder", "gemma-scope-res") if dictionary.autoencodes else (
            "a transcoder", "gemma-scope-transcoders")  # fmt: skip
        reasons.append(
            f"only a folder's name says that this is {kind}, and {at.parent} does not; write it "
            f"below a folder called {name}"
        )
    return reasons
