"""EleutherAI's sparsify: k-sparse autoencoders and transcoders, a folder for each place.

``cfg.json`` and ``sae.safetensors`` with ``encoder.weight`` (m, d), ``encoder.bias`` (m,), ``W_dec``
(m, d), in the encoder's layout, ``b_dec`` (d,) and perhaps ``W_skip`` (d, d):

``ŷ = topk(ReLU(encoder.weight (x - b_dec) + encoder.bias)) W_dec + b_dec [+ W_skip x]``

where ``transcode`` leaves `b_dec` unsubtracted. ``groupmax`` keeps the largest of each of k groups;
``signed`` (before the first release) means the k largest by magnitude, without a ReLU. A run is a
folder of folders ``<hookpoint>``, or ``<hookpoint>/seed<n>``; its best dictionaries lie in
``best/<hookpoint>/<hookpoint>``. Read and written; facts of version 1.3.3.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from safetensors.torch import save as format_safetensors

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign import parts
from monosemy.dictionaries.foreign.format import Collection, Format
from monosemy.dictionaries.foreign.reading import Shape, read_safetensors, tensor_reasons
from monosemy.dictionaries.selection import GroupMax, Selection, SignedTopK, TopK
from monosemy.dictionaries.semantics import a_structure
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation import storage
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors.axes import Tensor

CONFIG, WEIGHTS, RUN = "cfg.json", "sae.safetensors", "config.json"
KINDS = {"topk": TopK, "groupmax": GroupMax}
DEFAULTS = {
    "activation": "topk", "expansion_factor": 32, "num_latents": 0, "k": 32,
    "skip_connection": False, "transcode": False, "signed": False,
}  # fmt: skip
"""What the library takes where a configuration is silent."""
_FORM = "sparsify's form"
_DEPTH = 5  # best/<hookpoint>/seed<n>/<hookpoint>/seed<n>
_OWN = ("d_in", "num_latents", "k", "activation", "skip_connection", "transcode", "signed")
"""Settings that the dictionary itself says; others are kept as metadata."""


def recognises(path: Path) -> bool:
    """Whether there is a ``sae.safetensors`` at `path` or in a folder below."""
    path = Path(path)
    return path.name == WEIGHTS or bool(parts.folders_with(path, WEIGHTS, _DEPTH))


def read(path: Path) -> dict[str, Dictionary]:
    """Every dictionary at `path`: one folder, or a run.

    Errors
    ------
    `UserError` with every reason: files missing or not whole, settings or tensors that do not fit,
    a file saved without its decoder.
    """
    path = Path(path)
    root = path.parent if path.name == WEIGHTS else path
    folders = parts.folders_with(root, WEIGHTS, _DEPTH)
    if not folders:
        raise UserError(f"no sparsify dictionary at {root}: wanted {WEIGHTS} beside {CONFIG}")
    named = {_part(root, folder): folder for folder in folders}
    if len(named) < len(folders):
        raise UserError(f"two dictionaries at {root} have the same name; name the folder of one")
    return {part: _read_one(folder, part) for part, folder in named.items()}


def cannot_say(collection: Collection) -> list[str]:
    """Why sparsify has no form for `collection`."""
    reasons = parts.name_reasons(collection)
    # What is read under another name than it was written would be another part.
    reasons += [f"the part {part!r} would be read back as {_unnested(part)!r}"
                for part in collection if _unnested(part) != part]  # fmt: skip
    for part, dictionary in collection.items():
        reasons += [f"{part}: {why}" if part else why for why in _against(dictionary)]
    return reasons


def write(collection: Collection, folder: Path) -> None:
    """Each part into ``folder/<part>``, weights first; `UserError` with what `cannot_say` finds."""
    refuse(cannot_say(collection), "what is to be written as sparsify")
    for part, dictionary in collection.items():
        at = Path(folder) / part
        storage.write_bytes(at / WEIGHTS, format_safetensors(_tensors(dictionary)))
        storage.write_json(at / CONFIG, _config(dictionary))


FORMAT = Format("sparsify", "EleutherAI sparsify", recognises, read, cannot_say, write)


# --- reading --------------------------------------------------------------------------------------


def _part(root: Path, folder: Path) -> str:
    name = folder.relative_to(root).as_posix()
    return _unnested("" if name == "." else name, within=root.name)


def _unnested(name: str, within: str = "") -> str:
    """`name` without the second nesting of a run's best dictionaries."""
    pieces = name.split("/")
    top, rest = (pieces[:1], pieces[1:]) if pieces[0] == "best" else ([], pieces)
    half = len(rest) // 2
    if (top or within == "best") and half and rest[:half] == rest[half:]:
        return "/".join(top + rest[:half])
    return name


def _read_one(folder: Path, part: str) -> Dictionary:
    config = storage.read_json(folder / CONFIG, "sparsify's configuration")
    if not isinstance(config, dict):
        raise UserError(f"{folder / CONFIG} holds a {type(config).__name__}, wanted an object")
    tensors = read_safetensors(folder / WEIGHTS)
    full = DEFAULTS | config
    reasons = _config_reasons(full)
    refuse(reasons + _tensor_reasons(full, tensors, bool(reasons)), f"the dictionary in {folder}")
    dictionary = _built(full, tensors)
    dictionary.metadata = {
        **_provenance(folder, part), **(config.get("metadata") or {}), "sparsify": _rest(config)
    }  # fmt: skip
    return dictionary.eval()


def _config_reasons(config: dict[str, Any]) -> list[str]:
    reasons = [
        f"{key} = {config.get(key)!r}; wanted a whole number of at least {least}"
        for key, least in (("d_in", 1), ("k", 1), ("num_latents", 0), ("expansion_factor", 1))
        if type(config.get(key)) is not int or config[key] < least
    ]
    reasons += [
        f"{key} = {config[key]!r}; wanted true or false"
        for key in ("skip_connection", "transcode", "signed")
        if type(config[key]) is not bool
    ]
    kind = config["activation"]
    if kind not in tuple(KINDS):
        reasons.append(f"unknown activation {kind!r}; known: {', '.join(KINDS)}")
    elif config["signed"] and kind != "topk":
        reasons.append(f"signed = True with activation {kind!r}; no version has both")
    if not isinstance(config.get("metadata") or {}, dict):
        reasons.append(f"metadata holds a {type(config['metadata']).__name__}, wanted an object")
    return reasons or _selection(config).refuse_for(_latents(config))


def _latents(config: dict[str, Any]) -> int:
    return config["num_latents"] or config["d_in"] * config["expansion_factor"]


def _tensor_reasons(config: dict[str, Any], tensors: dict[str, Tensor], broken: bool) -> list[str]:
    m, d = ("m", "d") if broken else (_latents(config), config["d_in"])
    wanted: dict[str, Shape] = {
        "encoder.bias": (m,), "b_dec": (d,), "encoder.weight": (m, d), "W_dec": (m, d),
    }  # fmt: skip
    if config["skip_connection"] is True:
        wanted["W_skip"] = (d, d)
    reasons = tensor_reasons(tensors, wanted, optional=["W_dec"])
    if "W_dec" not in tensors:
        reasons.append(
            "W_dec is missing: the file was saved without its decoder and cannot reconstruct; "
            "ask for the whole one"
        )
    return reasons + _dtype_reasons(tensors)


def _dtype_reasons(tensors: dict[str, Tensor]) -> list[str]:
    found = sorted({str(tensor.dtype) for tensor in tensors.values()})
    if len(found) < 2:
        return []
    return [f"tensors of several types ({', '.join(found)}); sparsify reads all as one"]


def _selection(config: dict[str, Any]) -> Selection:
    return (SignedTopK if config["signed"] else KINDS[config["activation"]])(config["k"])


def _built(config: dict[str, Any], tensors: dict[str, Tensor]) -> Dictionary:
    encoder = tensors["encoder.weight"], tensors["encoder.bias"]
    decoder = tensors["W_dec"], tensors["b_dec"]
    selection, skip = _selection(config), tensors.get("W_skip")
    if not config["transcode"] and skip is None:
        return FlatDictionary(*encoder, *decoder, selection)
    centred = not config["transcode"]
    dictionary = Transcoder(*encoder, *decoder, selection, skip, centred)
    # An autoencoder with a skip: it subtracts b_dec and writes the place that it reads.
    dictionary.autoencodes = centred
    return dictionary


def _rest(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in (*_OWN, "metadata")}


def _provenance(folder: Path, part: str) -> dict[str, Any]:
    """What the run that `folder` lies in says of it."""
    run, config = _run(folder)
    name = folder.relative_to(run).as_posix() if run else part.removeprefix("best/")
    matched = re.fullmatch(r"(.*?)(?:/seed(\d+))?", name)
    found: dict[str, Any] = {}
    if matched and matched[1]:
        found["hookpoint"] = matched[1]
        found |= {"seed": int(matched[2])} if matched[2] else {}
    known = {"model": "model_name", "dataset": "dataset_path"}
    return found | {ours: config[key] for key, ours in known.items() if config.get(key)}


def _run(folder: Path) -> tuple[Path | None, dict[str, Any]]:
    for above in list(folder.parents)[:_DEPTH]:
        if not (above / RUN).is_file():
            continue
        try:
            config = storage.read_json(above / RUN, "the run's configuration")
        except UserError:
            continue  # another program's file; what the dictionary computes does not hang on it
        if isinstance(config, dict) and "sae" in config:
            return above, config
    return None, {}


# --- writing --------------------------------------------------------------------------------------


def _against(dictionary: Dictionary) -> list[str]:
    if type(dictionary) not in (FlatDictionary, Transcoder):
        what = a_structure(dictionary)
        return [f"it is {what}, and {_FORM} has only plain autoencoders and transcoders"]
    kind, reasons = dictionary.selection.kind, []
    if kind not in KINDS:
        reasons.append(_no_selection(kind))
    if dictionary.weighing != "none":
        reasons.append(
            f"each latent is weighed by the length of its decoder row ({dictionary.weighing}), "
            f"which {_FORM} ignores"
        )
    if dictionary.prefixes:
        reasons.append(
            f"it is nested, and {_FORM} has no place for the prefixes {list(dictionary.prefixes)}; "
            "to write it without them, load it in Python and set prefixes to ()"
        )
    if dictionary.autoencodes and not dictionary.centred:
        reasons.append(
            f"it does not subtract b_dec before encoding, and autoencoders in {_FORM} always do"
        )
    if dictionary.centred and not dictionary.autoencodes:
        reasons.append(f"it subtracts b_dec before encoding, and transcoders in {_FORM} never do")
    if dictionary.width != dictionary.written:
        reasons.append(
            f"it reads {dictionary.width:,} numbers and writes {dictionary.written:,}, and in "
            f"{_FORM} both are equally many"
        )
    return reasons + _dtype_reasons(_tensors(dictionary))


def _no_selection(kind: str) -> str:
    lacks = {"relu": "no ReLU alone", "jumprelu": "no thresholds", "batchtopk": "no thresholds"}
    return (
        f"its latents are selected by {kind}, and {_FORM} has {lacks.get(kind, 'nothing like it')}: "
        "only the k largest (topk), or the largest of each of k groups (groupmax)"
    )


def _tensors(dictionary: Dictionary) -> dict[str, Tensor]:
    tensors = {
        "encoder.weight": dictionary.W_enc, "encoder.bias": dictionary.b_enc,
        "W_dec": dictionary.W_dec, "b_dec": dictionary.b_dec,
    }  # fmt: skip
    skip = getattr(dictionary, "W_skip", None)
    if skip is not None:
        tensors["W_skip"] = skip
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def _config(dictionary: Dictionary) -> dict[str, Any]:
    metadata = dict(dictionary.metadata)
    rest = dict(metadata.pop("sparsify", None) or {})
    return rest | {
        "activation": dictionary.selection.kind,
        "num_latents": dictionary.latents,
        "k": dictionary.selection.k,
        "skip_connection": getattr(dictionary, "W_skip", None) is not None,
        "transcode": not dictionary.autoencodes,
        "d_in": dictionary.width,
        "metadata": metadata,
    }
