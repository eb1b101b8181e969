"""The native form, which is SAELens' current one, and our own architectures in the same files.

A folder with ``cfg.json`` and ``sae_weights.safetensors``; a folder of such folders holds one
dictionary a part. Whatever else lies beside (sparsity, a trainer's state) is left alone, but for
``activation_scaler.json``, whose factor a checkpoint of training needs.

`SAELENS` writes only what SAELens opens and runs as we do; `MONOSEMY` writes every dictionary. Read
they are the same. Facts of SAELens 6.54.
"""

from __future__ import annotations

import json
import re
from importlib import metadata
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as format_safetensors

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.foreign import (
    own_reading,
    own_writing,
    parts,
    saelens_writing,
    trained_k,
)
from monosemy.dictionaries.foreign.format import Collection, Format
from monosemy.dictionaries.foreign.reading import read_safetensors, tensor_reasons
from monosemy.dictionaries.foreign.saelens_reading import (
    WIDTHS,
    Config,
    Tensors,
    short,
)
from monosemy.foundation import storage
from monosemy.foundation.errors import UserError, refuse

CONFIG, WEIGHTS, SCALER = "cfg.json", "sae_weights.safetensors", "activation_scaler.json"
VERSION = "sae_lens_version"
WRITTEN_VERSION = "6.0.0"
"""What SAELens knows this form by; without it, a file counts as older and loses its metadata."""
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32,
           "float64": torch.float64}  # fmt: skip
_DEPTH = 4
_KNOWN = ("architecture", "d_in", "d_sae", "d_out", "dtype", "device", "apply_b_dec_to_input",
          "normalize_activations", "reshape_activations", "rescale_acts_by_decoder_norm", "k",
          "residual_threshold", "max_iterations", "stop_on_duplicate_support", "metadata",
          "sae_lens_version", "sae_lens_training_version", "scaling_factor", WIDTHS)  # fmt: skip


# --- reading --------------------------------------------------------------------------------------


def read(path: Path) -> dict[str, Dictionary]:
    """Every dictionary below the folder `path`, in evaluation mode.

    Errors
    ------
    `UserError` naming the file and every reason: missing or cut-off files, missing tensors, shapes
    that disagree, an architecture or a setting this reader does not know.
    """
    path = Path(path)
    folders = parts.folders_with(path, CONFIG, _DEPTH) or [path]
    return {_part(path, folder): read_folder(folder) for folder in folders}


def read_folder(folder: Path) -> Dictionary:
    """The dictionary whose two files lie in `folder`."""
    if not folder.is_dir():
        raise UserError(f"no dictionary at {folder}: no such folder")
    config = read_config(folder / CONFIG)
    if is_older(config):
        raise UserError(
            f"{folder / CONFIG} was written before SAELens 6.0, in another form; read it as "
            "saelens_old"
        )
    return from_parts(config, weights(folder), folder)


def from_parts(config: Config, tensors: Tensors, folder: Path) -> Dictionary:
    """The dictionary that a configuration in the current form and tensors mean."""
    if config.get("normalize_activations") == "expected_average_only_in":
        config = _scaler(folder) | config
    tensors = _positive_threshold(tensors)
    refuse(_reasons(config, tensors), f"the dictionary in {folder}")
    dictionary = own_reading.build(config, _widest(config, tensors))
    trained_k.recall(dictionary, config)
    dictionary.metadata = _metadata(config)
    return dictionary.eval()


def read_config(path: Path) -> Config:
    """The object in the JSON file at `path`; numbers that are none (NaN) count as absent."""
    if not path.exists():
        raise UserError(f"the dictionary's configuration is missing: {path} does not exist")
    try:
        config = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None,
                            parse_float=_finite)  # fmt: skip
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} holds a {type(config).__name__}, wanted an object")
    return config


def is_older(config: Config) -> bool:
    """Whether the configuration is in SAELens' form from before 6.0, as SAELens decides it."""
    about = config.get("metadata")
    about = about if isinstance(about, dict) else {}
    if "monosemy_version" in about or config.get("architecture") in own_reading.OWN:
        return False
    version = config.get(VERSION) or about.get(VERSION)
    major = re.match(r"\d+", version) if isinstance(version, str) else None
    return major is None or int(major[0][:9]) < 6


def _finite(text: str) -> float | None:
    value = float(text)
    return value if isfinite(value) else None


def weights(folder: Path) -> Tensors:
    """The tensors in `folder`; `UserError` where the file is missing or not whole."""
    path = folder / WEIGHTS
    if not path.exists():
        raise UserError(f"the dictionary's weights are missing: {path} does not exist")
    return read_safetensors(path)


def _scaler(folder: Path) -> Config:
    if not (folder / SCALER).exists():
        return {}
    return {"scaling_factor": read_config(folder / SCALER).get("scaling_factor")}


def _positive_threshold(tensors: Tensors) -> Tensors:
    """Checkpoints of older training hold a threshold's logarithm."""
    log = tensors.get("log_threshold")
    if log is None or "threshold" in tensors or not log.is_floating_point():
        return tensors
    rest = {name: tensor for name, tensor in tensors.items() if name != "log_threshold"}
    return rest | {"threshold": log.exp()}


def _widest(config: Config, tensors: Tensors) -> Tensors:
    """All in one type, in which no digit is lost: as the configuration says, or wider."""
    dtype = _DTYPES[_dtype(config)]
    as_they_are = {name for name in tensors if name == "topk_threshold" or _counts(name)}
    for name, tensor in tensors.items():
        if name not in as_they_are:  # one number, always in float64; numbers of charts
            dtype = torch.promote_types(dtype, tensor.dtype)
    return {name: tensor if name in as_they_are else tensor.to(dtype)
            for name, tensor in tensors.items()}  # fmt: skip


def _counts(name: str) -> bool:
    """Whether the tensor of this name holds whole numbers."""
    return name.startswith("routes_")


def _dtype(config: Config) -> str:
    # Without one, what the tensors say counts.
    return str(config.get("dtype", "float16")).removeprefix("torch.")


def _reasons(config: Config, tensors: Tensors) -> list[str]:
    reasons = own_reading.config_reasons(config)
    if _dtype(config) not in _DTYPES:
        reasons.append(f"dtype = {short(config['dtype'])}; known: {', '.join(_DTYPES)}")
    if not isinstance(config.get("metadata", {}), dict | None):
        reasons.append(f"metadata = {short(config['metadata'])}; wanted an object")
    architecture = config.get("architecture")
    if not own_reading.known(architecture) or (reasons and architecture in own_reading.OWN):
        return reasons
    checked = {name: tensor.double() if _counts(name) and tensor.dtype is torch.int64 else tensor
               for name, tensor in tensors.items()}  # fmt: skip
    return [*reasons, *tensor_reasons(checked, own_reading.shapes(config))]


def _metadata(config: Config) -> dict[str, Any]:
    """Where it comes from; a rule of reshaping, and settings of training, are kept with it."""
    about = {k: v for k, v in (config.get("metadata") or {}).items() if k != trained_k.KEY}
    reshape = config.get("reshape_activations", "none")
    if reshape != _reshape({k: v for k, v in about.items() if k != "reshape_activations"}):
        about["reshape_activations"] = reshape
    settings = {key: value for key, value in config.items() if key not in _KNOWN}
    if settings and config.get("architecture") not in own_reading.OWN:
        about.setdefault("training_architecture_details", settings)
    return about


def _part(root: Path, folder: Path) -> str:
    name = folder.relative_to(root).as_posix()
    return "" if name == "." else name


# --- writing --------------------------------------------------------------------------------------


def write(collection: Collection, folder: Path) -> None:
    """Each part into a folder of its own, a single nameless one into `folder` itself."""
    refuse(parts.name_reasons(collection), "what is to be written")
    for part, dictionary in collection.items():
        write_folder(dictionary, Path(folder) / part)


def write_folder(dictionary: Dictionary, folder: Path) -> None:
    """Write `dictionary` into `folder`, weights first, so that a folder with a config is whole."""
    config, tensors = own_writing.describe(dictionary)
    plain = {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}
    storage.write_bytes(folder / WEIGHTS, format_safetensors(plain))
    storage.write_json(folder / CONFIG, _config(dictionary, config))


def _config(dictionary: Dictionary, config: Config) -> Config:
    about = _about(dictionary, config["architecture"])
    reshape = about.pop("reshape_activations", None) or _reshape(about)
    return {
        **config,
        "dtype": str(dictionary.b_dec.dtype).removeprefix("torch."),
        "device": "cpu",
        "reshape_activations": reshape,
        "metadata": about,
    }


def _about(dictionary: Dictionary, architecture: str) -> dict[str, Any]:
    kept = dictionary.metadata | {WIDTHS: list(dictionary.prefixes)}
    if not dictionary.prefixes:
        del kept[WIDTHS]
    return {
        # What was loaded as JumpReLU may have been trained as something else.
        "training_architecture": _trained_as(dictionary, architecture),
        VERSION: WRITTEN_VERSION,
        **trained_k.kept(dictionary),
        **kept,
        "monosemy_version": metadata.version("monosemy"),
    }


def _trained_as(dictionary: Dictionary, architecture: str) -> str:
    if architecture == "jumprelu" and dictionary.selection.kind == "batchtopk":
        return "matryoshka_batchtopk" if dictionary.prefixes else "batchtopk"
    return architecture


def _reshape(about: dict[str, Any]) -> str:
    """SAELens has heads and their numbers in two axes at ``hook_z``; here they lie flat."""
    return "hook_z" if str(about.get("hook_name", "")).endswith("hook_z") else "none"


def cannot_say(collection: Collection) -> list[str]:
    """Why SAELens cannot express `collection`."""
    reasons = parts.name_reasons(collection)
    for part, dictionary in collection.items():
        reasons += [f"{part}: {why}" if part else why for why in saelens_writing.refuse(dictionary)]
    return reasons


# --- formats --------------------------------------------------------------------------------------


def architecture_at(path: Path) -> object:
    """The architecture of the first configuration below `path`; `None` where there is none."""
    config = first_config(path)
    return None if config is None else config.get("architecture")


def first_config(path: Path) -> Config | None:
    """The first configuration beside weights below `path`, or `None`."""
    for folder in parts.folders_with(Path(path), WEIGHTS, _DEPTH)[:1]:
        try:
            return read_config(folder / CONFIG)
        except UserError:
            return None
    return None


def _is_saelens(path: Path) -> bool:
    config = first_config(path)
    return config is not None and not is_older(config) and not _is_ours(path)


def _is_ours(path: Path) -> bool:
    return architecture_at(path) in own_reading.OWN


SAELENS = Format("saelens", "SAELens 6", _is_saelens, read, cannot_say, write)
MONOSEMY = Format("monosemy", "monosemy", _is_ours, read, parts.name_reasons, write)
