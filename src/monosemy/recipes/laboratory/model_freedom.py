"""How many directions go through the norms of a model, and which keys of its heads can be chosen."""

from __future__ import annotations

from typing import Any

import torch

from monosemy.data.capture import Reader
from monosemy.data.text import open_corpus
from monosemy.data.tokens import Contexts, Packing, pack
from monosemy.foundation.errors import UserError, nearest
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.loading import LoadedModel, load
from monosemy.models.norms import LayerNorm, Norm, RMSNorm, is_norm, like, make
from monosemy.models.sites import resolve
from monosemy.models.tap import Site
from monosemy.superposition.freedom import (
    jacobian_rank,
    jacobian_values,
    participation_ratio,
    span,
    two_nn,
    unselectable,
)
from monosemy.tensors.axes import Activations
from monosemy.tensors.compute import Compute

POINTS = 3
"""Where Jacobians are asked."""
HEAD_KEYS = 64
"""Keys of a head among which one is to be chosen."""
# What projects onto keys: the last part of its path -> which of how many equal parts of its output.
_KEY_PROJECTIONS = {"k_proj": (0, 1), "key": (0, 1), "c_attn": (1, 3)}


def measure_model(
    name: str, site: str, text: str, tokens: int, compute: Compute, progress: Progress = SILENT
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Numbers of each norm (see `numbers_of`), and of the keys of each layer (see `head_keys`).

    Parameters
    ----------
    site : one norm by module path, or any site of the stream, which then goes through a norm of the
        model's kind; every norm of the stream where it is empty.

    Errors
    ------
    `UserError` for an unknown model or site, and fewer than twice as many tokens as axes.
    """
    loaded = load(name, compute, progress)
    places = _places(loaded.model, site)
    width = max(place.width for _, place, _ in places)
    if tokens < 2 * width:
        raise UserError(
            f"{tokens:,} tokens for a stream of {width:,} axes; wanted at least {2 * width:,}: "
            "--tokens"
        )
    packing = Packing(min(128, loaded.context), tokens)
    contexts = pack(open_corpus(text, "all"), loaded.tokenizer, packing, compute, progress)
    if contexts.tokens < 2 * width:
        raise UserError(
            f"the text {text!r} gives {contexts.tokens:,} tokens for a stream of {width:,} axes; "
            f"wanted at least {2 * width:,}: give more text"
        )
    sites = list(dict.fromkeys(place for _, place, _ in places))
    rows = Reader(loaded, sites, contexts).rows(0, contexts.tokens)
    found = []
    with progress.task("norms", len(places), "norms") as task:
        for path, place, norm in places:
            found.append({"norm": path, **numbers_of(norm, rows[place.name])})
            task.advance()
    return found, head_keys(loaded, contexts, progress)


def _places(model: Any, site: str) -> list[tuple[str, Site, Norm]]:
    """What is read, and the norm that it goes through."""
    paths = [path for path, module in model.named_modules() if is_norm(module)]
    if not paths:
        raise UserError(f"{type(model).__name__} has no LayerNorm or RMSNorm to measure")
    if not site or site in paths:
        chosen = [site] if site else paths
        norms = [(path, like(model.get_submodule(path))) for path in chosen]
        width = model.config.hidden_size
        # Norms of queries and keys are as wide as a head; they are not the stream's.
        return [(path, resolve(model, f"{path}:input"), norm) for path, norm in norms
                if norm.width == width]  # fmt: skip
    try:
        place = resolve(model, site)
    except UserError as error:
        raise UserError(f"{error}; norms are sites too{nearest(site, paths)}") from None
    kind = like(model.get_submodule(paths[0]))
    bare = make("layernorm" if isinstance(kind, LayerNorm) else "rmsnorm", place.width)
    return [(site, place, bare)]


def numbers_of(norm: Norm, rows: Activations) -> dict[str, Any]:
    """What goes through a model's norm, before and after.

    ``span`` and ``intrinsic`` are those of the norm without its gain, and without its eps;
    ``radial_value`` is what eps gives back, as a share of the largest singular value.
    ``along_ones`` is the share of energy along the vector of ones, which centring takes out; a random
    direction has ``1 / width``.
    """
    z = rows.double()
    norm = norm.double()
    pure = (LayerNorm if isinstance(norm, LayerNorm) else RMSNorm)(norm.width, 0.0).double()
    with torch.no_grad():
        bare, gained = pure.normalised(z), norm(z)
    points = z[torch.linspace(0, len(z) - 1, POINTS).long()]
    dimension = max(jacobian_rank(pure.normalised, point) for point in points)
    values = torch.stack([jacobian_values(norm.normalised, point) for point in points])
    radial = (
        (values[:, dimension] / values[:, 0]).max() if dimension < norm.width else torch.zeros(())
    )
    energy = z.square().sum()
    return {
        "kind": type(norm).__name__, "width": norm.width, "n": len(z),
        "raw": {"span": span(z), "participation": participation_ratio(z, centred=True)},
        "span": span(bare), "intrinsic": dimension, "radial_value": float(radial),
        "participation": participation_ratio(bare, centred=True),
        "participation_with_gain": participation_ratio(gained, centred=True),
        "two_nn": two_nn(bare), "two_nn_raw": two_nn(z),
        "along_ones": float(z.mean(1).square().sum() * norm.width / energy),
    }  # fmt: skip


def head_keys(
    loaded: LoadedModel, contexts: Contexts, progress: Progress = SILENT
) -> list[dict[str, Any]]:
    """Of each layer, the share of keys that no query of their head can prefer to the others.

    The first `HEAD_KEYS` tokens give the keys, before any rotation by position; of equal ones (the
    same token, in a layer that knows no positions yet) one is asked. What is free on the
    sphere of the stream may be hidden once it is projected onto a head's few axes. Families whose
    projections are not known here give nothing.
    """
    model, config = loaded.model, loaded.model.config
    paths = [path for path, _ in model.named_modules()
             if path.rsplit(".", 1)[-1] in _KEY_PROJECTIONS]  # fmt: skip
    sites = [resolve(model, path) for path in paths]
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    found = []
    many = min(HEAD_KEYS, contexts.tokens)
    with progress.task("keys of heads", len(sites), "layers") as task:
        for site in sites:
            rows = Reader(loaded, [site], contexts).rows(0, many)[site.name]
            part, parts = _KEY_PROJECTIONS[site.module.rsplit(".", 1)[-1]]
            # Rounding makes equal keys differ in their last bits.
            alone = rows.chunk(parts, dim=1)[part].double().round(decimals=5).unique(dim=0)
            keys = alone.unflatten(1, (heads, -1))
            hidden = torch.stack([unselectable(keys[:, head]) for head in range(heads)])
            found.append({
                "projection": site.module, "heads": heads, "head_width": keys.shape[2],
                "keys": len(keys), "unselectable": float(hidden.double().mean()),
            })  # fmt: skip
            task.advance()
    return found
