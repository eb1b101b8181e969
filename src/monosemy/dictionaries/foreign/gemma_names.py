"""What Gemma Scope says in the names of its folders only: model, layer, site, and of what kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monosemy.dictionaries.foreign.names import found_in_names
from monosemy.tensors.axes import Tensor

TRANSCODER, EMBEDDING = "transcoder", "embedding"
_SITE = r"gemma-scope[\w.-]*?-(transcoder|res|mlp|att)|(transcoder|resid_post|mlp_out|attn_out|clt)"
_SHORT = {"resid_post": "res", "mlp_out": "mlp", "attn_out": "att", "clt": TRANSCODER}
_HOOKS = {
    TRANSCODER: ("ln2.hook_normalized", "hook_mlp_out"),
    "res": ("hook_resid_post", None),
    "mlp": ("hook_mlp_out", None),
    "att": ("attn.hook_z", None),
}
_READ_IN_2 = "mlp.hook_in"
"""What Gemma Scope 2's transcoders read: after the norm and its weights, not before them."""


def site(path: Path) -> str:
    """``transcoder``, ``res``, ``mlp`` or ``att``, as the nearest name says; ``""`` if none does."""
    match = found_in_names(path, _SITE)
    named = "" if match is None else match[1] or match[2]
    return _SHORT.get(named, named)


def is_transcoder(path: Path, config: dict[str, Any], W_enc: Tensor, W_dec: Tensor) -> bool:
    """Whether the file at `path` reads another place than it writes: shapes, settings, then names."""
    if W_enc.shape[0] != W_dec.shape[1]:
        return True
    read, written = (config.get(f"hf_hook_point_{side}") for side in ("in", "out"))
    return written != read if read and written else site(path) == TRANSCODER


def is_embedding(path: Path) -> bool:
    """Whether the ``params.npz`` at `path` is of the embedding: ``embedding/width_w/average_l0_x``."""
    return EMBEDDING in path.absolute().parts[-4:-1]


def metadata(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Model and sites, as far as settings and names tell."""
    known = dict[str, Any]()
    repository = found_in_names(path, r"gemma-scope-(\d+b)-(pt|it)-")
    if config.get("model_name"):
        known["model_name"] = str(config["model_name"])
    elif repository:
        known["model_name"] = f"google/gemma-2-{repository[1]}{'-it' * (repository[2] == 'it')}"
    for ours, theirs in (("hf_hook_name", "in"), ("hf_hook_name_out", "out")):
        if config.get(f"hf_hook_point_{theirs}"):
            known[ours] = str(config[f"hf_hook_point_{theirs}"])
    return known | _hooks(path)


def _hooks(path: Path) -> dict[str, Any]:
    first = path.suffix == ".npz"
    if first and is_embedding(path):
        return {"hook_name": "hook_embed"}
    layer, named = found_in_names(path, r"layer_(\d+)"), site(path)
    if layer is None or not named:
        return {}
    read, written = _HOOKS[named]
    if named == TRANSCODER and not first:
        read = _READ_IN_2
    hooks = {"hook_name": f"blocks.{layer[1]}.{read}"}
    return hooks | ({"hook_name_out": f"blocks.{layer[1]}.{written}"} if written else {})


def layer_hooks(layers: int) -> dict[str, Any]:
    """The sites of a cross-layer transcoder."""
    return {
        "hook_name": [f"blocks.{layer}.{_READ_IN_2}" for layer in range(layers)],
        "hook_name_out": [f"blocks.{layer}.{_HOOKS[TRANSCODER][1]}" for layer in range(layers)],
    }
