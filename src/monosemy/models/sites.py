"""Names of places inside a model: parse, print, match patterns, map per family.

Names are those of TransformerLens (Nanda and Bloom 2022), with its identities: within a block
``resid_mid = resid_pre + attn_out`` and ``resid_post = resid_mid + mlp_out``, where ``attn_out``
and ``mlp_out`` are what is added to the residual stream (Gemma 2 and 3 normalise them first).
Where attention and MLP run side by side (GPT-NeoX) there is no ``resid_mid`` and
``resid_post = resid_pre + attn_out + mlp_out``. Where the norm comes after the addition (BERT,
OPT-350m) ``resid_mid`` and ``resid_post`` are the sums before it,
``resid_post = norm(resid_mid) + mlp_out``, and ``hook_normalized_resid_post`` is what the next
block reads. ``attn.hook_z`` lays the heads side by side; ``mlp.hook_in`` is what enters the MLP,
after its norm, ``mlp.hook_pre`` what enters the activation function, ``mlp.hook_pre_linear`` the
other factor of a gated MLP, ``mlp.hook_post`` what enters the down projection. ``ln_final`` is the
output of the last norm, with its weights.

Any module path names a site too: its output, or with ``:input`` what enters it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import torch

from monosemy.foundation.errors import UserError, nearest
from monosemy.models import tap
from monosemy.models.families import FAMILIES, Family
from monosemy.models.loading import PreTrainedModel
from monosemy.models.tap import Site

__all__ = ["Site", "listing", "match", "resolve"]


def listing(model: PreTrainedModel) -> list[Site]:
    """Every named site of `model`, in the order in which a forward pass computes them.

    Errors
    ------
    `UserError` for a family without a table; module paths still name its sites.
    """
    family = _family(model)
    if family is None:
        known = sorted({name.split(",")[0] for name in FAMILIES})
        raise UserError(
            f"no site names are known for models of type {model.config.model_type!r} (known: "
            f"{', '.join(known)}); name a module path instead, with ':input' for what enters it"
        )
    body, modules = _body(model), dict(model.named_modules())
    sites = [_named(model, name, body + place, None) for name, place in family.before.items()]
    for layer in range(model.config.num_hidden_layers):
        block = f"{body}{family.blocks}.{layer}"
        sites += [
            _named(model, f"blocks.{layer}.{name}", _join(block, place), layer)
            for name, place in family.block.items()
        ]
    # Some OPT models were saved without their last norm.
    after = {name: body + place for name, place in family.after.items() if body + place in modules}
    return sites + [_named(model, name, place, None) for name, place in after.items()]


def resolve(model: PreTrainedModel, name: str) -> Site:
    """The site that `name` means in `model`: one of `listing`, or a module path.

    The width of a module path is found by one forward pass over six tokens.
    ``ln_final.hook_normalized`` is understood where the last norm is a LayerNorm.

    Errors
    ------
    `UserError` with the nearest name where there is no such place.
    """
    named = _table(model)
    if name in named:
        return named[name]
    last = named.get("ln_final")
    if name == "ln_final.hook_normalized" and last and _is_layer_norm(model, last):
        return replace(last, name=name)
    path, _, side = name.partition(":")
    paths = [path for path, _ in model.named_modules() if path]
    if path in paths and side in ("", "input", "output"):
        return _probed(model, Site(name, path, side or "output", _layer_of(model, path), 0))
    raise UserError(
        f"unknown site {name!r} in {type(model).__name__}{nearest(name, [*named, *paths])}; "
        "'monosemy sites MODEL' lists the names, and any module path is one too"
    )


def match(model: PreTrainedModel, patterns: str | Sequence[str]) -> list[Site]:
    """Every site that one of `patterns` means, each once, named sites in order of computation.

    A pattern is a name or holds wildcards (``blocks.*.hook_resid_post``, ``blocks.[0-3].*``), which
    are matched against the names of `listing`, else against module paths.

    Errors
    ------
    `UserError` for a pattern that means nothing here.
    """
    named = _table(model)
    found: dict[str, Site] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        found |= {site.name: site for site in _meant(model, named, pattern)}
    order = {name: place for place, name in enumerate(named)}
    return sorted(found.values(), key=lambda site: order.get(site.name, len(order)))


def _meant(model: PreTrainedModel, named: Mapping[str, Site], pattern: str) -> list[Site]:
    if not set(pattern) & set("*?["):
        return [resolve(model, pattern)]
    if names := [name for name in named if fnmatchcase(name, pattern)]:
        return [named[name] for name in names]
    path, colon, side = pattern.partition(":")
    paths = [found for found, _ in model.named_modules() if found and fnmatchcase(found, path)]
    if not paths:
        raise UserError(
            f"no site of {type(model).__name__} matches {pattern!r}{nearest(pattern, named)}; "
            "'monosemy sites MODEL' lists the names"
        )
    return [resolve(model, found + colon + side) for found in paths]


# --- where a name lies ---------------------------------------------------------------------------


def _table(model: PreTrainedModel) -> dict[str, Site]:
    return {site.name: site for site in listing(model)} if _family(model) else {}


def _family(model: PreTrainedModel) -> Family | None:
    config = model.config
    kind = config.model_type
    if kind == "gpt_neox" and not config.use_parallel_residual:
        kind = "gpt_neox, sequential"
    if kind == "opt" and not config.do_layer_norm_before:
        kind = "opt, post-norm"
    return FAMILIES.get(kind)


def _body(model: PreTrainedModel) -> str:
    """What leads to the modules below the head: ``transformer.``, or nothing without a head."""
    return "" if model.base_model is model else f"{model.base_model_prefix}."


def _join(block: str, place: str) -> str:
    return block + place if place.startswith(":") or not place else f"{block}.{place}"


def _named(model: PreTrainedModel, name: str, place: str, layer: int | None) -> Site:
    path, _, side = place.partition(":")
    shared = side == "residual"
    side = "input" if side else "output"
    width = _width(model.get_submodule(path), side, model.config.hidden_size)
    return Site(name, path, side, layer, width, shared)


def _width(module: torch.nn.Module, side: str, residual: int) -> int:
    """Numbers per token on one side of a layer; what has no weight carries the residual stream."""
    weight = getattr(module, "weight", None)
    if weight is None or weight.ndim == 1:
        return residual
    if isinstance(module, torch.nn.Embedding):
        return weight.shape[1]
    # GPT-2's Conv1D keeps its weight as [input, output], a Linear as [output, input].
    inward = side == "input"
    return weight.shape[1 if inward == isinstance(module, torch.nn.Linear) else 0]


def _probed(model: PreTrainedModel, site: Site) -> Site:
    ids = torch.arange(6).view(2, 3) % model.config.vocab_size
    return replace(site, width=tap.read(model, [site], ids)[site.name].shape[-1])


def _layer_of(model: PreTrainedModel, path: str) -> int | None:
    family = _family(model)
    blocks = _body(model) + family.blocks + "." if family else None
    if blocks is None or not path.startswith(blocks):
        return None
    return int(path.removeprefix(blocks).split(".")[0])


def _is_layer_norm(model: PreTrainedModel, site: Site) -> bool:
    return isinstance(model.get_submodule(site.module), torch.nn.LayerNorm)
