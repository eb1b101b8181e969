"""OpenAI's sparse_autoencoder: one ``.pt`` for each place (Gao et al. 2024, arXiv:2406.04093).

A state dict of ``pre_bias`` (d,), ``latent_bias`` (m,), ``encoder.weight`` (m, d),
``decoder.weight`` (d, m), counts of use that no code depends on, ``activation`` and
``activation_state_dict``:

``f = activation(encoder.weight (N(x) - pre_bias) + latent_bias)``,
``x̂ = N⁻¹(decoder.weight f + pre_bias)``

with the activation ``ReLU`` (also where none is named), ``Identity``, or ``TopK`` of the raw
pre-activations followed by ``postact_fn`` (``ReLU`` or ``Identity``). `N` is a layer norm or nothing,
and no file says which: the library's own rule, followed here, is that TopK files are normalised
(its v5) and others are not (its v1 and v4). A tied decoder is stored as ``decoder.linear.weight``
(m, d). Read only; facts of commit 764586a.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign import parts
from monosemy.dictionaries.foreign.format import Format
from monosemy.dictionaries.foreign.reading import Shape, read_pickle, tensor_reasons
from monosemy.dictionaries.normalised import LAYER_NORM, NormalisedDictionary
from monosemy.dictionaries.selection import Identity, RawTopK, ReLU, Selection, TopK
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors.axes import Tensor

EPS = 1e-5
"""Added to the standard deviation by the library's layer norm."""
SITES = {
    "mlp_post_act": "blocks.{}.mlp.hook_post",
    "resid_delta_attn": "blocks.{}.hook_attn_out",
    "resid_post_attn": "blocks.{}.hook_resid_mid",
    "resid_delta_mlp": "blocks.{}.hook_mlp_out",
    "resid_post_mlp": "blocks.{}.hook_resid_post",
}
"""The published locations in GPT-2 small, in TransformerLens' names."""
_SIGNS = {"pre_bias", "latent_bias", "encoder.weight"}
_STATISTICS = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square")
_TIED = "decoder.linear.weight"
_NAME = "activation"
_STATE = "activation_state_dict"
_PLACE = re.compile(r"(?P<location>\w+?)(_v4|_v5_32k|_v5_128k)?")


def recognises(path: Path) -> bool:
    """Whether `path` is such a file, or a folder of them; reads the names of tensors only."""
    path = Path(path)
    return any(_names(file) >= _SIGNS for file in _files(path)[:1])


def read(path: Path, normalised: bool | None = None) -> dict[str, Dictionary]:
    """The dictionary in the file at `path`, or those in a folder of layers, by file name.

    Parameters
    ----------
    normalised : whether tokens are layer-normed; `None` follows the library's rule.

    Errors
    ------
    `UserError` with every reason: a file that is not whole or holds code, tensors that do not fit,
    an unknown activation.
    """
    path = Path(path)
    files = _files(path)
    if not files:
        raise UserError(f"no OpenAI dictionary at {path}: wanted a .pt file")
    return {"" if file == path else file.stem: _read_one(file, normalised) for file in files}


FORMAT = Format("openai", "OpenAI sparse_autoencoder", recognises, read)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path] if path.suffix == ".pt" and path.is_file() else []
    found = [file for file in path.glob("*.pt") if file.is_file()]
    return sorted(found, key=lambda file: parts.natural(file.name))


def _names(file: Path) -> set[str]:
    """Texts in the pickle of a torch file, which is taken apart and not run."""
    try:
        with zipfile.ZipFile(file) as archive:
            inner = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            opcodes = list(pickletools.genops(archive.read(inner)))
        return {given for _, given, _ in opcodes if isinstance(given, str)}
    except Exception:
        return set()  # whatever it is, it is not one of these


def _read_one(file: Path, normalised: bool | None) -> Dictionary:
    state = read_pickle(file)
    if not isinstance(state, Mapping):
        raise UserError(f"{file} holds a {type(state).__name__}, wanted tensors by name")
    tensors = {
        name: value for name, value in state.items()
        if name not in (_NAME, _STATE, *_STATISTICS) and not str(name).startswith(f"{_NAME}.")
    }  # fmt: skip
    settings = _settings(state)
    refuse(_reasons(tensors, settings), f"the dictionary in {file}")
    inner = _built(tensors, settings)
    layer_normed = settings[_NAME] == "TopK" if normalised is None else normalised
    dictionary = NormalisedDictionary(inner, LAYER_NORM, EPS) if layer_normed else inner
    dictionary.metadata |= _provenance(file)
    return dictionary.eval()


def _settings(state: Mapping[str, Any]) -> dict[str, Any]:
    """The activation's name and settings; a live module's state dict holds the latter twice."""
    said = state.get(_STATE)
    settings = dict(said) if isinstance(said, Mapping) else {}
    for name, value in state.items():
        key = str(name).removeprefix(f"{_NAME}.")
        if key != str(name) and repr(settings.setdefault(key, value)) != repr(value):
            settings[key] = f"{settings[key]} and {value}"
    return settings | {_NAME: state.get(_NAME, "ReLU")}


def _reasons(tensors: Mapping[str, Any], settings: dict[str, Any]) -> list[str]:
    wanted: dict[str, Shape] = {
        "latent_bias": ("m",), "pre_bias": ("d",), "encoder.weight": ("m", "d"),
    }  # fmt: skip
    wanted |= {_TIED: ("m", "d")} if _TIED in tensors else {"decoder.weight": ("d", "m")}
    reasons = tensor_reasons(tensors, wanted)
    found = sorted({str(value.dtype) for value in tensors.values() if isinstance(value, Tensor)})
    if len(found) > 1:
        reasons.append(f"tensors of several types: {', '.join(found)}")
    if settings[_NAME] not in ("ReLU", "Identity", "TopK"):
        reasons.append(f"unknown activation {settings[_NAME]!r}; known: ReLU, TopK, Identity")
    elif settings[_NAME] == "TopK":
        reasons += _topk_reasons(settings, tensors.get("latent_bias"))
    return reasons


def _topk_reasons(settings: dict[str, Any], bias: Any) -> list[str]:
    k, after, reasons = settings.get("k"), settings.get("postact_fn"), []
    if type(k) is not int:
        reasons.append(f"activation TopK has k = {k!r}; wanted a whole number")
    elif isinstance(bias, Tensor) and bias.ndim == 1:
        reasons += TopK(k).refuse_for(len(bias))
    if after not in ("ReLU", "Identity"):
        reasons.append(f"activation TopK has postact_fn = {after!r}; known: ReLU, Identity")
    return reasons


def _built(tensors: Mapping[str, Tensor], settings: dict[str, Any]) -> FlatDictionary:
    tied = tensors.get(_TIED)
    W_dec = tensors["decoder.weight"].T.contiguous() if tied is None else tied.clone()
    encoder = tensors["encoder.weight"], tensors["latent_bias"]
    return FlatDictionary(*encoder, W_dec, tensors["pre_bias"], _selection(settings))


def _selection(settings: dict[str, Any]) -> Selection:
    if settings[_NAME] == "TopK":
        # The positive of the k largest are the k largest positive.
        return (TopK if settings["postact_fn"] == "ReLU" else RawTopK)(settings["k"])
    return ReLU() if settings[_NAME] == "ReLU" else Identity()


def _provenance(file: Path) -> dict[str, Any]:
    """What the published layout ``<location>/autoencoders/<layer>.pt`` says."""
    if file.parent.name != "autoencoders" or not file.stem.isdecimal():
        return {}
    place = _PLACE.fullmatch(file.parent.parent.name)
    if place is None or place["location"] not in SITES:
        return {}
    layer = int(file.stem)
    return {"model_name": "gpt2", "hook_name": SITES[place["location"]].format(layer)}
