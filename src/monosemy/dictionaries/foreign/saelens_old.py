"""SAELens before 6.0: one flat ``cfg.json`` without ``metadata``, and the tensors of today.

Read as SAELens itself reads them (6.54), with two differences. A ``scaling_factor`` of finetuning,
which it no longer runs, multiplies activations where they decode, ``x̂ = (f · s) W_dec + b_dec``, so
it is folded into the rows of ``W_dec``. And an activation function that it would silently take for
ReLU is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.foreign import parts, saelens
from monosemy.dictionaries.foreign.format import Format
from monosemy.dictionaries.foreign.saelens_reading import Config, Tensors, short
from monosemy.foundation.errors import UserError, refuse

_RENAMED = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}
_ABOUT = (
    "model_name", "hook_name", "hook_layer", "model_class_name", "hook_head_index",
    "model_from_pretrained_kwargs", "prepend_bos", "exclude_special_tokens", "neuronpedia_id",
    "context_size", "seqpos_slice", "dataset_path", "sae_lens_training_version", "hook_name_out",
    "hook_head_index_out", "hf_hook_name", "hf_hook_name_out",
)  # fmt: skip
_RULES = (
    "architecture", "d_in", "d_sae", "d_out", "dtype", "k", "apply_b_dec_to_input",
    "normalize_activations", "reshape_activations", "rescale_acts_by_decoder_norm",
    "residual_threshold", "max_iterations", "stop_on_duplicate_support",
)  # fmt: skip


def recognises(path: Path) -> bool:
    """Whether the first configuration below `path` is of that age."""
    config = saelens.first_config(path)
    return config is not None and saelens.is_older(config)


def read(path: Path) -> dict[str, Dictionary]:
    """Every dictionary below the folder `path`, in evaluation mode; `UserError` with all reasons."""
    folders = parts.folders_with(Path(path), saelens.CONFIG, 4) or [Path(path)]
    names = (folder.relative_to(path).as_posix() for folder in folders)
    return {"" if name == "." else name: _read(at) for name, at in zip(names, folders, strict=True)}


def _read(folder: Path) -> Dictionary:
    old = saelens.read_config(folder / saelens.CONFIG)
    if not saelens.is_older(old):
        raise UserError(
            f"{folder / saelens.CONFIG} is in SAELens' form of today; read it as saelens"
        )
    config = upgraded(old)
    tensors = saelens.weights(folder)
    factor = tensors.pop("scaling_factor", None)
    reasons = _function_reasons(old)
    if factor is not None and not torch.equal(factor, torch.ones_like(factor)):
        reasons += _factor_reasons(factor, tensors)
        tensors = tensors if reasons else _folded(tensors, factor)
    refuse(reasons, f"the dictionary in {folder}")
    return saelens.from_parts(config, tensors, folder)


def upgraded(old: Config) -> Config:
    """The same configuration in the form of today; `old` is left as it is."""
    flat = {_RENAMED.get(key, key): value for key, value in old.items()}
    config = {key: flat[key] for key in _RULES if key in flat}
    config.setdefault("architecture", "standard")
    k = _top_k(flat)
    if k is not None:
        config |= {"architecture": "topk", "k": k}
    config["normalize_activations"] = _norm(flat.get("normalize_activations"))
    hook = "hook_z" if "hook_z" in str(flat.get("hook_name", "")) else "none"
    config.setdefault("reshape_activations", hook)
    config["metadata"] = {key: flat[key] for key in _ABOUT if key in flat}
    return config


def _top_k(flat: Config) -> Any:
    arguments = flat.get("activation_fn_kwargs")
    if flat.get("activation_fn") != "topk" or not isinstance(arguments, dict):
        return None
    return arguments.get("k")


def _norm(value: Any) -> Any:
    if isinstance(value, bool):
        return "expected_average_only_in" if value else "none"
    return "none" if value is None else value


def _function_reasons(old: Config) -> list[str]:
    flat = {_RENAMED.get(key, key): value for key, value in old.items()}
    function = flat.get("activation_fn", "relu")
    if function == "relu" or _top_k(flat) is not None:
        return []
    if function == "topk" and flat.get("architecture") == "topk":
        return []
    wanted = "a whole number under activation_fn_kwargs.k" if function == "topk" else "relu or topk"
    return [f"activation_fn = {short(function)}; wanted {wanted}"]


def _factor_reasons(factor: torch.Tensor, tensors: Tensors) -> list[str]:
    W_dec = tensors.get("W_dec")
    if W_dec is None or W_dec.ndim != 2 or factor.shape != W_dec.shape[:1]:
        return [f"scaling_factor has shape {tuple(factor.shape)}, wanted one number a latent"]
    if not factor.is_floating_point() or not torch.isfinite(factor).all():
        return ["scaling_factor holds values that are not finite real numbers"]
    return []


def _folded(tensors: Tensors, factor: torch.Tensor) -> Tensors:
    return tensors | {"W_dec": tensors["W_dec"] * factor[:, None]}


FORMAT = Format("saelens_old", "SAELens before 6.0", recognises, read)
