"""Save and load. The native form is the one that SAELens and what is built on it already read.

A folder with ``cfg.json`` and ``sae_weights.safetensors`` (``W_enc`` (width, latent), ``W_dec``
(latent, width), ``b_enc``, ``b_dec``, ``threshold`` for JumpReLU; gated dictionaries have
``b_gate``, ``r_mag`` and ``b_mag`` in the place of ``b_enc``). BatchTopK is written in its
inference form, JumpReLU with one threshold for all latents.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as format_safetensors

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, ReLU, Selection, TopK
from monosemy.foundation import storage
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors.axes import Tensor

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
GATED = "gated"
ARCHITECTURES = {
    "relu": "standard",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "batchtopk": "jumprelu",
    "gated": GATED,
}


def save(dictionary: Dictionary, folder: Path) -> None:
    """Write `dictionary` into `folder`, weights first, so that a folder with a config is whole."""
    folder = Path(folder)
    kind = _kind(dictionary)
    if kind not in ARCHITECTURES:
        raise UserError(
            f"a dictionary with the selection {kind!r} has no form in this file format; "
            f"known: {', '.join(sorted(ARCHITECTURES))}"
        )
    storage.write_bytes(folder / WEIGHTS, format_safetensors(_tensors(dictionary)))
    storage.write_json(folder / CONFIG, _config(dictionary))


def load(folder: str | Path) -> Dictionary:
    """The dictionary in `folder`, in evaluation mode.

    Errors
    ------
    `UserError` naming the file and every reason: missing or cut-off files, missing tensors, shapes
    that disagree, an architecture or a setting this reader does not know.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"no dictionary at {folder}: no such folder")
    config = storage.read_json(folder / CONFIG, "the dictionary's configuration")
    if not isinstance(config, dict):
        raise UserError(f"{folder / CONFIG} holds a {type(config).__name__}, wanted an object")
    tensors = _read_tensors(folder / WEIGHTS)
    refuse(_reasons(config, tensors), f"the dictionary in {folder}")
    dictionary = _built(config, tensors)
    dictionary.metadata = dict(config.get("metadata") or {})
    return dictionary.eval()


def _kind(dictionary: Dictionary) -> str:
    return GATED if isinstance(dictionary, GatedDictionary) else dictionary.selection.kind


def _built(config: dict[str, Any], tensors: dict[str, Tensor]) -> Dictionary:
    W_enc = tensors["W_enc"].T.contiguous()
    decoder = tensors["W_dec"], tensors["b_dec"]
    if config["architecture"] == GATED:
        biases = tensors["b_gate"], tensors["r_mag"], tensors["b_mag"]
        return GatedDictionary(W_enc, *biases, *decoder)
    return FlatDictionary(W_enc, tensors["b_enc"], *decoder, _selection(config, tensors))


def _tensors(dictionary: Dictionary) -> dict[str, Tensor]:
    tensors = {name: value.detach() for name, value in dictionary.named_parameters(recurse=False)}
    tensors["W_enc"] = tensors["W_enc"].T
    if isinstance(dictionary, GatedDictionary):
        tensors["b_gate"] = tensors.pop("b_enc")
    selection = dictionary.selection
    if isinstance(selection, BatchTopK):
        tensors["threshold"] = selection.threshold.to(dictionary.W_dec).expand(dictionary.latents)
    if isinstance(selection, JumpReLU):
        tensors["threshold"] = selection.threshold.detach()
    return {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}


def _config(dictionary: Dictionary) -> dict[str, Any]:
    selection = dictionary.selection
    config: dict[str, Any] = {
        "architecture": ARCHITECTURES[_kind(dictionary)],
        "d_in": dictionary.width,
        "d_sae": dictionary.latents,
        "dtype": str(dictionary.W_dec.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            # What was loaded as JumpReLU may have been trained as something else.
            "training_architecture": _kind(dictionary),
            **dictionary.metadata,
            "monosemy_version": metadata.version("monosemy"),
        },
    }
    if isinstance(selection, TopK):
        config |= {"k": selection.k, "rescale_acts_by_decoder_norm": False}
    return config


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise UserError(f"the dictionary's weights are missing: {path} does not exist")
    try:
        return parse_safetensors(path.read_bytes())
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({error}); copy it again from its source"
        ) from None


def _reasons(config: dict[str, Any], tensors: dict[str, Tensor]) -> list[str]:
    return [*_config_reasons(config), *_tensor_reasons(_wanted_shapes(config), tensors)]


def _config_reasons(config: dict[str, Any]) -> list[str]:
    reasons = [
        f"{key} = {config[key]!r}, and only {wanted!r} is read"
        for key, wanted in (
            ("apply_b_dec_to_input", True),
            ("normalize_activations", "none"),
            ("reshape_activations", "none"),
            ("rescale_acts_by_decoder_norm", False),
        )
        if config.get(key, wanted) != wanted
    ]
    architecture, latents = config.get("architecture"), config.get("d_sae")
    if architecture not in ARCHITECTURES.values():
        known = ", ".join(sorted(set(ARCHITECTURES.values())))
        reasons.insert(0, f"unknown architecture {architecture!r}; known: {known}")
    if not _is_count(config.get("d_in")) or not _is_count(latents):
        sizes = f"d_in = {config.get('d_in')!r} and d_sae = {latents!r}"
        reasons.append(f"{sizes}; wanted two whole numbers above zero")
    elif architecture == "topk" and not _is_count(config.get("k"), config["d_sae"]):
        reasons.append(f"k = {config.get('k')!r}; wanted a whole number from 1 to {latents:,}")
    return reasons


def _is_count(value: Any, most: float = float("inf")) -> bool:
    return type(value) is int and 1 <= value <= most


def _tensor_reasons(
    wanted: dict[str, tuple[int | None, ...]], tensors: dict[str, Tensor]
) -> list[str]:
    reasons = []
    for name, shape in wanted.items():
        known = not any(size is None for size in shape)
        if name not in tensors:
            reasons.append(f"tensor {name}{f' {shape}' if known else ''} is missing")
        elif known and tuple(tensors[name].shape) != shape:
            found = tuple(tensors[name].shape)
            reasons.append(f"tensor {name} has shape {found}, wanted {shape}")
        elif not tensors[name].is_floating_point():
            reasons.append(f"tensor {name} holds {tensors[name].dtype}, wanted real numbers")
        elif not torch.isfinite(tensors[name]).all():
            reasons.append(f"tensor {name} holds values that are not finite")
    return reasons


def _wanted_shapes(config: dict[str, Any]) -> dict[str, tuple[int | None, ...]]:
    """What each tensor's shape should be; sizes that the configuration does not say are `None`."""
    width, latents = (
        size if _is_count(size) else None for size in (config.get("d_in"), config.get("d_sae"))
    )
    shapes: dict[str, tuple[int | None, ...]] = {
        "W_enc": (width, latents),
        "b_enc": (latents,),
        "W_dec": (latents, width),
        "b_dec": (width,),
    }
    if config.get("architecture") == "jumprelu":
        shapes["threshold"] = (latents,)
    if config.get("architecture") == GATED:
        del shapes["b_enc"]
        shapes |= dict.fromkeys(("b_gate", "r_mag", "b_mag"), (latents,))
    return shapes


def _selection(config: dict[str, Any], tensors: dict[str, Tensor]) -> Selection:
    if config["architecture"] == "standard":
        return ReLU()
    if config["architecture"] == "topk":
        return TopK(config["k"])
    return JumpReLU(tensors["threshold"])
