"""Weights of a model under the same names and in the same shape for every family, and back.

Matrices are (out, in); queries, keys and values are apart; ``head`` is there only where it is not the
embedding itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from monosemy.growth.families import Family
from monosemy.growth.shapes import Shape
from monosemy.tensors.axes import Float, Tensor

Weights = dict[str, Tensor]


@dataclass
class Layout:
    """A model's weights: outside the blocks, and block by block.

    Attributes
    ----------
    outside : ``embed``, ``position``, ``head``, ``final.weight``, ``final.bias``; as far as there are.
    blocks : ``q.weight``, ``q.bias``, ... of each block.
    """

    outside: Weights = field(default_factory=dict)
    blocks: list[Weights] = field(default_factory=list)


def paths(model: Any, family: Family) -> tuple[dict[str, str], str]:
    """Module paths outside the blocks, and the path of the list of blocks."""
    body = f"{model.base_model_prefix}."
    found = {"embed": body + family.embed, "final": body + family.final}
    if family.position:
        found["position"] = body + family.position
    head = model.get_output_embeddings()
    found["head"] = next(path for path, module in model.named_modules() if module is head)
    return found, body + family.blocks


def is_tied(model: Any) -> bool:
    """Whether one matrix embeds and unembeds."""
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


def read(model: Any, family: Family, shape: Shape) -> Layout:
    """The weights of `model`."""
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    outside, blocks = paths(model, family)
    found = Layout()
    for name in ("embed", "position", "head"):
        if name in outside and not (name == "head" and is_tied(model)):
            found.outside[name] = state[f"{outside[name]}.weight"]
    for part in ("weight", "bias"):
        if (key := f"{outside['final']}.{part}") in state:
            found.outside[f"final.{part}"] = state[key]
    for layer in range(shape.layers):
        found.blocks.append(_block(state, f"{blocks}.{layer}.", family, shape))
    return found


def write(layout: Layout, model: Any, family: Family, shape: Shape) -> Weights:
    """The state of `model`, from `layout`; of a tied model too."""
    outside, blocks = paths(model, family)
    state = {f"{outside[name]}.weight": layout.outside[name]
             for name in ("embed", "position", "head") if name in layout.outside}  # fmt: skip
    state |= {f"{outside['final']}.{name.partition('.')[2]}": tensor
              for name, tensor in layout.outside.items() if name.startswith("final.")}  # fmt: skip
    if is_tied(model):
        state[f"{outside['head']}.weight"] = layout.outside["embed"]
    for layer, weights in enumerate(layout.blocks):
        fused = _fuse(weights, family, shape) if family.fused else weights
        for name, tensor in fused.items():
            module, _, part = name.partition(".")
            turned = family.transposed and part == "weight" and tensor.ndim == 2
            path = f"{blocks}.{layer}.{family.inside[module]}.{part}"
            state[path] = (tensor.T if turned else tensor).contiguous()
    return state


def strangers(model: Any, family: Family, shape: Shape) -> list[str]:
    """Parameters that no family's table names."""
    outside, blocks = paths(model, family)
    known = set(outside.values())
    known |= {f"{blocks}.{layer}.{path}" for layer in range(shape.layers)
              for path in family.inside.values()}  # fmt: skip
    return [name for name, _ in model.named_parameters() if name.rpartition(".")[0] not in known]


def _block(state: Weights, path: str, family: Family, shape: Shape) -> Weights:
    found: Weights = {}
    for name, inside in family.inside.items():
        for part in ("weight", "bias"):
            if (tensor := state.get(f"{path}{inside}.{part}")) is None:
                continue
            turned = family.transposed and part == "weight" and tensor.ndim == 2
            tensor = tensor.T if turned else tensor
            if name == "qkv":
                found |= {f"{one}.{part}": t for one, t in _part(tensor, family, shape).items()}
            else:
                found[f"{name}.{part}"] = tensor
    return found


def _part(fused: Float[Tensor, "..."], family: Family, shape: Shape) -> Weights:
    """Queries, keys and values that share one matrix or bias."""
    if family.fused == "columns":
        return dict(zip("qkv", fused.chunk(3), strict=True))
    by_head = fused.unflatten(0, (shape.heads, 3, shape.head))
    return {one: by_head[:, i].flatten(0, 1) for i, one in enumerate("qkv")}


def _fuse(weights: Weights, family: Family, shape: Shape) -> Weights:
    found = {
        name: t for name, t in weights.items() if name.partition(".")[0] not in ("q", "k", "v")
    }
    for part in ("weight", "bias"):
        three = [weights[f"{one}.{part}"] for one in "qkv" if f"{one}.{part}" in weights]
        if three:
            found[f"qkv.{part}"] = _joined(three, family, shape)
    return found


def _joined(three: Iterable[Tensor], family: Family, shape: Shape) -> Tensor:
    if family.fused == "columns":
        return torch.cat(list(three))
    by_head = [one.unflatten(0, (shape.heads, shape.head)) for one in three]
    return torch.stack(by_head, 1).flatten(0, 2)
