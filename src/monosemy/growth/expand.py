"""A larger model that computes the same: check, plan, widen, build."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import torch

from monosemy.foundation.errors import UserError, nearest, refuse
from monosemy.growth import layout, rotary
from monosemy.growth.double import build
from monosemy.growth.families import FAMILIES, Family, family_of
from monosemy.growth.plan import Plan, plan
from monosemy.growth.shapes import Growth, Shape, grown, shape_of, written
from monosemy.growth.widening import Widening, factors
from monosemy.tensors.axes import Tensor
from monosemy.tensors.compute import Compute

_CPU = Compute()


@dataclass(frozen=True, eq=False)
class Expanded:
    """A model that grew, and where what is new lies."""

    model: Any
    plan: Plan


def expand(model: Any, growth: Growth, compute: Compute = _CPU, deviation: float = 1.0) -> Expanded:
    """A larger model with the same logits: all sizes of `growth` in one go.

    Parameters
    ----------
    model : a causal language model of transformers; it is left as it was.
    compute : its seed fixes the free entries.
    deviation : of free entries, as a multiple of the deviation of the old ones of the same matrix.

    Errors
    ------
    `UserError` with every reason at once for a family that is not known, for sizes that it cannot have,
    and for weights that cannot be widened.
    """
    refuse(problems(model, growth), f"growing this model by {growth}")
    family = _family(model)
    before = shape_of(model.config, family)
    after, _ = grown(before, growth, family)
    config, _ = written(model.config, family, before, after)
    planned = plan(growth, before, after, family)

    def draw(name: str, shape: tuple[int, ...]) -> Tensor:
        generator = compute.generator(f"growth/{after}/{name}")
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    tied = layout.is_tied(model)
    least = _least(model.config)
    widen = Widening(planned, family, factors(planned, family), tied, deviation, least, draw)
    old = layout.read(model, family, before)
    return Expanded(assemble(model, config, widen(_double(old)), family, after), planned)


def steps(model: Any, growth: Growth) -> list[Growth]:
    """`growth` as expansions that can be done one after another, each as small as it can be.

    Where the width of the stream, the number of heads and their width depend on each other, they grow
    together.
    """
    family = _family(model)
    if family.tied:
        return _parts(growth, together=True)
    one_by_one = _parts(growth, together=False)
    shape, config = shape_of(model.config, family), model.config
    for step in one_by_one:
        after, reasons = grown(shape, step, family)
        config, more = written(config, family, shape, after)
        if reasons or more:
            return _parts(growth, together=True)
        shape = after
    return one_by_one


def problems(model: Any, growth: Growth) -> list[str]:
    """Every reason why `model` cannot grow so."""
    reasons = growth.problems()
    config = model.config
    family = family_of(config)
    if family is None or not hasattr(model, "get_output_embeddings"):
        known = ", ".join(FAMILIES)
        return [*reasons, f"models of type {config.model_type!r} are not known here; known: {known}"
                f"{nearest(config.model_type, FAMILIES)}"]  # fmt: skip
    reasons += _of_weights(model, family)
    if reasons:
        return reasons
    shape = shape_of(config, family)
    after, why = grown(shape, growth, family)
    reasons += why + _of_family(model, family, growth)
    reasons += rotary.problems(config, family.rotary, shape.head, after.head)
    if not reasons:
        reasons += written(config, family, shape, after)[1]
    return reasons


def _of_weights(model: Any, family: Family) -> list[str]:
    reasons = []
    config = model.config
    types = {p.dtype for p in model.parameters()}
    if getattr(config, "quantization_config", None) or not all(t.is_floating_point for t in types):
        reasons.append("its weights are quantised: rows and columns that are added would need scales "
                       "of their own; load it without quantisation")  # fmt: skip
    if len(set(getattr(model, "hf_device_map", {}).values())) > 1 or len(_devices(model)) > 1:
        reasons.append("it is spread over several devices; load it onto one")
    names = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    both = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    shared = [name for name, p in model.named_parameters()
              if names[id(p)] > 1 and id(p) not in both]  # fmt: skip
    if shared:
        reasons.append(f"{shared[0]} is one parameter in several places, which would have to grow "
                       "alike; only the embedding may be the unembedding")  # fmt: skip
    shape = shape_of(config, family)
    if strange := layout.strangers(model, family, shape):
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        reasons.append(f"{strange[0]}{more}: no part of a plain {config.model_type!r} model, so that "
                       "nothing is known of how it would have to grow")  # fmt: skip
    elif not reasons and (wrong := _wrong_sizes(model, family, shape)):
        reasons.append(wrong)
    return reasons


def _wrong_sizes(model: Any, family: Family, shape: Shape) -> str:
    """Matrices that are not as large as the configuration says, as after pruning."""
    rows = {"q": shape.heads * shape.head, "k": shape.groups * shape.head,
            "v": shape.groups * shape.head, "up": shape.neurons}  # fmt: skip
    try:
        blocks = layout.read(model, family, shape).blocks
    except RuntimeError:
        return "queries, keys and values do not have the sizes that the configuration says"
    for layer, weights in enumerate(blocks):
        for name, wanted in rows.items():
            if tuple(weights[f"{name}.weight"].shape) != (wanted, shape.width):
                came = " x ".join(map(str, weights[f"{name}.weight"].shape))
                return (f"layer {layer}: {name} is {came} where the configuration says {wanted} x "
                        f"{shape.width}; was it pruned?")  # fmt: skip
    return ""


def _of_family(model: Any, family: Family, growth: Growth) -> list[str]:
    reasons = []
    config = model.config
    if growth.key and family.norms_heads:
        reasons.append(
            f"key +{growth.key}: {config.model_type!r} divides queries by their own size, in which new "
            "numbers would count; they and the keys would have to be 0 both, and so could never learn"
        )
    last = "" if getattr(config, "do_layer_norm_before", True) else (
        "its norms come after the addition, so that the stream itself is normalised")  # fmt: skip
    if growth.layers and last:
        reasons.append(f"layers +{growth.layers}: {last}; no new layer leaves that alone")
    if growth.residual:
        why = last or _no_last_norm(model, family)
        if getattr(config, "word_embed_proj_dim", config.hidden_size) != config.hidden_size:
            why = "its embeddings are narrower than its stream, with a projection between"
        if not getattr(config, "layer_norm_elementwise_affine", True):
            why = "its norms have no gains, which would have to make up for the width"
        if why:
            reasons.append(f"residual +{growth.residual}: {why}; leave the stream as it is")
    return reasons


def _no_last_norm(model: Any, family: Family) -> str:
    path = layout.paths(model, family)[0]["final"]
    has = any(name == f"{path}.weight" for name, _ in model.named_parameters())
    return "" if has else "it has no last norm, so that the unembedding reads the stream itself"


def assemble(like: Any, config: Any, weights: layout.Layout, family: Family, shape: Shape) -> Any:
    """A model of the class, precision and attention of `like` with other sizes and weights."""
    attention = like.config._attn_implementation
    empty = build(type(like), config, None, like.dtype, attention)
    empty.load_state_dict(
        {name: t.to(like.dtype) for name, t in layout.write(weights, empty, family, shape).items()}
    )
    empty.generation_config = like.generation_config
    return empty.to(like.device)


def _parts(growth: Growth, together: bool) -> list[Growth]:
    nothing = Growth()
    heads = replace(growth, mlp=0, layers=0)
    middle = [heads] if together else [
        replace(nothing, heads=growth.heads),
        replace(nothing, key=growth.key, value=growth.value),
        replace(nothing, residual=growth.residual),
    ]  # fmt: skip
    parts = [replace(nothing, mlp=growth.mlp), *middle, replace(nothing, layers=growth.layers)]
    return [part for part in parts if part != nothing]


def _family(model: Any) -> Family:
    family = family_of(model.config)
    if family is None:
        raise UserError("; ".join(problems(model, Growth(mlp=1))))
    return family


def _double(old: layout.Layout) -> layout.Layout:
    return layout.Layout(
        {name: t.double() for name, t in old.outside.items()},
        [{name: t.double() for name, t in weights.items()} for weights in old.blocks],
    )


def _devices(model: Any) -> set[torch.device]:
    return {p.device for p in model.parameters()}


def _least(config: Any) -> float:
    return getattr(config, "initializer_range", None) or getattr(config, "init_std", None) or 0.02
