"""Qwen Scope: TopK autoencoders of the residual stream, one ``layer{N}.sae.pt`` a layer.

A torch file with ``W_enc`` (m, d), ``W_dec`` (d, m), ``b_enc`` (m) and ``b_dec`` (d):
``f = topk(W_enc x + b_enc)``, ``x̂ = f W_decᵀ + b_dec``; `b_dec` is not subtracted. How many latents
stay active stands in the repository's name only (``SAE-Res-Qwen3-1.7B-Base-W32K-L0_50``: 50), so it
is looked for in the file's name and in those of its folders, nearest first.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign import parts
from monosemy.dictionaries.foreign.format import Format
from monosemy.dictionaries.foreign.names import found_in_names
from monosemy.dictionaries.foreign.plain import in_one_type
from monosemy.dictionaries.foreign.reading import Shape, read_pickle, tensor_reasons
from monosemy.dictionaries.selection import TopK
from monosemy.foundation.errors import UserError, refuse

_FILE = re.compile(r"layer(\d+)\.sae\.pt")
_SHAPES: dict[str, Shape] = {
    "b_enc": ("m",), "b_dec": ("d",), "W_enc": ("m", "d"), "W_dec": ("d", "m"),
}  # fmt: skip


def recognises(path: Path) -> bool:
    """Whether it is called ``layer{N}.sae.pt`` or holds a file that is."""
    return bool(_files(Path(path)))


def read(path: Path) -> dict[str, Dictionary]:
    """The dictionary in a file, or those of a folder under ``layer{N}``.

    Errors
    ------
    `UserError` with every reason: no such file, a file with code in it, tensors that do not fit, no
    name that says how many latents stay active.
    """
    path = Path(path)
    files = _files(path)
    if not files:
        raise UserError(f"no layer{{N}}.sae.pt at {path}")
    if path.is_file():
        return {"": _read_one(path)}
    return {file.name.removesuffix(".sae.pt"): _read_one(file) for file in files}


FORMAT = Format("qwen_scope", "Qwen Scope", recognises, read)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if _FILE.fullmatch(path.name) else []
    try:
        found = [file for file in path.iterdir() if _FILE.fullmatch(file.name)]
    except OSError:
        return []
    return sorted(found, key=lambda file: parts.natural(file.name))


def _read_one(path: Path) -> Dictionary:
    given = read_pickle(path)
    if not isinstance(given, dict):
        raise UserError(f"{path} holds a {type(given).__name__}, wanted tensors by name")
    reasons = tensor_reasons(given, _SHAPES)
    latents = len(given["b_enc"]) if not reasons else 0
    refuse(reasons + _name_reasons(path, latents), f"the Qwen Scope file {path}")
    tensors = in_one_type(given)
    dictionary = FlatDictionary(
        tensors["W_enc"],
        tensors["b_enc"],
        tensors["W_dec"].T.contiguous(),
        tensors["b_dec"],
        TopK(_active(path)),
        centred=False,
    )
    dictionary.metadata = _metadata(path)
    return dictionary.eval()


def _active(path: Path) -> int:
    """How many latents stay active, as the names say; 0 where none does."""
    match = found_in_names(path, r"L0_(\d+)")
    return int(match[1]) if match else 0


def _name_reasons(path: Path, latents: int) -> list[str]:
    reasons, active = [], _active(path)
    if not active:
        reasons.append(
            "how many latents stay active stands in the repository's name only, and no folder of "
            f"{path} says it; put the file into a folder called L0_50, if it is 50"
        )
    elif latents and active > latents:
        reasons.append(f"the folder's name says L0_{active} for {latents:,} latents")
    width = found_in_names(path, r"-W(\d+)K-L0_")
    if width and latents and latents != int(width[1]) * 1024:
        reasons.append(
            f"the folder's name says {int(width[1]) * 1024:,} latents, the tensors {latents:,}"
        )
    return reasons


def _metadata(path: Path) -> dict[str, Any]:
    layer = _FILE.fullmatch(path.name)
    known = {"hook_name": f"blocks.{layer[1]}.hook_resid_post"} if layer else {}
    model = found_in_names(path, r"SAE-Res-(.+)-W\d+K-L0_")
    return known | ({"model_name": f"Qwen/{model[1]}"} if model else {})
