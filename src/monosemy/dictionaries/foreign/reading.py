"""Files of tensors that others wrote, read without running anything that is in them."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors

from monosemy.foundation.errors import UserError
from monosemy.tensors.axes import Tensor


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of the file at `path`; `UserError` where it is missing or not whole."""
    data = _bytes(path)
    try:
        return parse_safetensors(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({error}); copy it again from its source"
        ) from None


def read_npz(path: Path) -> dict[str, Tensor]:
    """Every array of the file at `path`; arrays of Python objects are refused unread."""
    data = _bytes(path)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in arrays}
    except (ValueError, OSError, KeyError, EOFError, TypeError, zipfile.BadZipFile, SyntaxError,
            NotImplementedError, AttributeError, MemoryError, OverflowError) as error:  # fmt: skip
        raise UserError(f"{path} is not a whole npz file of numbers ({error})") from None


def read_pickle(path: Path) -> Any:
    """What the ``.pt`` file at `path` holds: tensors, numbers, texts, lists and dicts, never code."""
    data = _bytes(path)
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        first = str(error).splitlines()[0] if str(error) else "no reason was given"
        raise UserError(
            f"{path} holds more than tensors and plain values, and to read it would run code from "
            f"it, so it was not read ({first}); ask its author for a safetensors file"
        ) from None
    except Exception as error:
        # torch's reader raises a dozen kinds for a file that is cut off or changed.
        raise UserError(f"{path} is not a whole torch file ({type(error).__name__})") from None


def read_yaml(path: Path) -> Any:
    """The plain values of the YAML file at `path`."""
    try:
        return yaml.safe_load(_bytes(path).decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not YAML: {error}") from None


def _bytes(path: Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


_REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
Shape = tuple[int | str, ...]
"""Sizes, or names of sizes (``"m"``, ``"d"``): equal names have to be equal sizes."""


def tensor_reasons(
    tensors: Mapping[str, Any], wanted: Mapping[str, Shape], optional: Iterable[str] = ()
) -> list[str]:
    """A reason for each tensor that is missing, of another shape, not real or not finite.

    Sizes called by a name are what the first tensor that has them says; list the tensor that is
    trusted most first. Tensors beyond those `wanted` are reasons too.
    """
    optional, sizes, reasons = set(optional), dict[str, int](), list[str]()
    for name, shape in wanted.items():
        value = tensors.get(name)
        if value is None:
            if name not in optional:
                reasons.append(f"tensor {name} {_say(shape)} is missing")
        elif not isinstance(value, Tensor):
            reasons.append(f"{name} holds {type(value).__name__}, wanted a tensor {_say(shape)}")
        else:
            reasons += _unfit(name, value, shape, sizes)
    extra = sorted(str(name) for name in tensors if name not in wanted)
    if extra:
        reasons.append(f"unknown tensors: {', '.join(extra)}; wanted only {', '.join(wanted)}")
    return reasons


def _unfit(name: str, value: Tensor, shape: Shape, sizes: dict[str, int]) -> list[str]:
    found = tuple(value.shape)
    expected = tuple(sizes.get(size, size) if isinstance(size, str) else size for size in shape)
    fits = len(found) == len(expected) and all(
        have == want or isinstance(want, str) for have, want in zip(found, expected, strict=True)
    )
    if not fits:
        turned = found == expected[::-1] and len(found) == 2
        hint = "; it looks transposed" if turned else ""
        return [f"tensor {name} has shape {found}, wanted {_say(expected)}{hint}"]
    sizes.update({s: have for s, have in zip(shape, found, strict=True) if isinstance(s, str)})
    if 0 in found:
        return [f"tensor {name} is empty: its shape is {found}"]
    plain = value.layout is torch.strided and value.device.type != "meta"
    if not plain or value.dtype not in _REAL:
        kind = f"{value.layout} {value.dtype}".removeprefix("torch.strided ")
        return [f"tensor {name} holds {kind}, wanted real numbers"]
    if not torch.isfinite(value).all():
        return [f"tensor {name} holds values that are not finite"]
    return []


def _say(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
