"""Sizes of a model, and by how much they are to grow: what can be said in its configuration."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from typing import Any

from monosemy.growth import rotary
from monosemy.growth.families import Family


@dataclass(frozen=True)
class Growth:
    """By how much each size grows; 0 leaves it as it is."""

    mlp: int = 0
    """Neurons of each MLP."""
    heads: int = 0
    """Attention heads of each layer."""
    key: int = 0
    """Numbers of each head's queries and keys."""
    value: int = 0
    """Numbers of each head's values."""
    residual: int = 0
    """Numbers of the residual stream."""
    layers: int = 0
    """Layers, after the last one."""

    def __str__(self) -> str:
        return ", ".join(f"{name} +{by}" for name, by in asdict(self).items() if by) or "nothing"

    def problems(self) -> list[str]:
        """Why this is no growth."""
        given = asdict(self)
        reasons = [f"--{name} {by:+}: a model only grows here; wanted a positive number"
                   for name, by in given.items() if by < 0]  # fmt: skip
        if not any(given.values()):
            reasons.append(f"nothing to grow; give at least one of --{', --'.join(given)}")
        return reasons


@dataclass(frozen=True)
class Shape:
    """Sizes of a model.

    Attributes
    ----------
    layers, width : blocks, and numbers in the residual stream.
    heads, groups : query heads, and the heads of keys and values that they share.
    head : numbers of one head.
    neurons : of each MLP.
    """

    layers: int
    width: int
    heads: int
    groups: int
    head: int
    neurons: int

    def __str__(self) -> str:
        shared = f" sharing {self.groups} keys and values" if self.groups != self.heads else ""
        return (f"{self.layers} layers, width {self.width:,}, {self.heads} heads of {self.head}"
                f"{shared}, {self.neurons:,} neurons")  # fmt: skip


def shape_of(config: Any, family: Family) -> Shape:
    """The sizes that a configuration states."""
    heads = config.num_attention_heads
    width = config.hidden_size
    head = width // heads if family.tied else getattr(config, "head_dim", None) or width // heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    inner = getattr(config, family.inner, None) or 4 * width
    return Shape(config.num_hidden_layers, width, heads, groups, head, inner)


def grown(shape: Shape, growth: Growth, family: Family) -> tuple[Shape, list[str]]:
    """The sizes after `growth`, and why they cannot be."""
    reasons = []
    if growth.key != growth.value:
        most = max(growth.key, growth.value)
        reasons.append(
            f"keys +{growth.key} and values +{growth.value}: in this family both have the width of a "
            f"head; ask for the same of both: --key +{most} --value +{most}"
        )
    groups = shape.groups
    if growth.heads:
        groups, why = _groups(shape, growth.heads)
        reasons += why
    result = replace(
        shape,
        layers=shape.layers + growth.layers,
        width=shape.width + growth.residual,
        heads=shape.heads + growth.heads,
        groups=groups,
        head=shape.head + growth.key,
        neurons=shape.neurons + growth.mlp,
    )
    if family.tied and result.width != result.heads * result.head:
        reasons.append(_untied(shape, growth, result))
    return result, reasons


def _groups(shape: Shape, more: int) -> tuple[int, list[str]]:
    """Heads of keys and values after `more` query heads."""
    sharing = shape.heads // shape.groups
    if more % sharing == 0:
        return shape.groups + more // sharing, []
    if more % shape.groups == 0:
        return shape.groups, []
    wanted = min(-(-more // size) * size for size in (sharing, shape.groups))
    return shape.groups, [
        f"heads +{more}: {shape.heads} heads share {shape.groups} keys and values, {sharing} each; "
        f"wanted a multiple of {sharing} (new keys and values with them) or of {shape.groups} (more "
        f"heads for each), such as --heads +{wanted}"
    ]


def _untied(shape: Shape, growth: Growth, result: Shape) -> str:
    need = result.heads * result.head
    said = (f"width {result.width:,} is not {result.heads} heads of {result.head} (= {need:,}), and in "
            "this family the stream is as wide as its heads together; ")  # fmt: skip
    if need > shape.width:
        return said + f"ask for --residual +{need - shape.width} with these heads"
    whole, rest = divmod(growth.residual, result.head)
    each, left = divmod(growth.residual, result.heads)
    ways = [f"--heads +{whole}"] if not rest else []
    ways += [f"--key +{each} --value +{each}"] if not left else []
    if growth.heads or growth.key or not ways:
        more = -(-growth.residual // shape.head)
        return said + f"such as --residual +{more * shape.head} --heads +{more}"
    return said + f"ask for {' or '.join(ways)} with it"


def written(config: Any, family: Family, old: Shape, new: Shape) -> tuple[Any, list[str]]:
    """A copy of `config` that says the sizes `new`, or why it cannot say them."""
    changes: dict[str, Any] = {
        "num_hidden_layers": new.layers, "hidden_size": new.width,
        "num_attention_heads": new.heads, family.inner: new.neurons,
    }  # fmt: skip
    if not family.tied:
        changes["head_dim"] = new.head
    if hasattr(config, "num_key_value_heads"):
        changes["num_key_value_heads"] = new.groups
    if hasattr(config, "word_embed_proj_dim"):
        changes["word_embed_proj_dim"] = config.word_embed_proj_dim + new.width - old.width
    if family.eps and new.width != old.width:
        # The mean of squares falls by old / new where the new axes are silent.
        changes[family.eps] = getattr(config, family.eps) * old.width / new.width
    if getattr(config, "layer_types", None):
        changes["layer_types"] = continued(list(config.layer_types), new.layers)
    if new.head != old.head:
        changes |= rotary.kept(config, family.rotary, old.head, new.head)
    native = type(config).attribute_map
    stated = copy.deepcopy(config.to_dict()) | {native.get(k, k): v for k, v in changes.items()}
    try:
        return type(config).from_dict(stated), []
    except Exception as error:  # the library raises every kind
        said = " ".join(str(error).split()).rpartition("Error: ")[2].rstrip(".")
        return config, [f"a {config.model_type!r} configuration of {new} is refused by "
                        f"transformers: {said[:300]}{_hint(old, new)}"]  # fmt: skip


def _hint(old: Shape, new: Shape) -> str:
    """Most configurations want the width to be a multiple of the heads, even where it need not be."""
    if new.width % new.heads == 0:
        return ""
    return f"; ask for --residual +{-(-new.width // new.heads) * new.heads - old.width} with it"


def continued(kinds: list[str], size: int) -> list[str]:
    """`kinds` of layers, going on with their shortest period.

    >>> continued(["a", "b", "a", "b"], 7)
    ['a', 'b', 'a', 'b', 'a', 'b', 'a']
    """
    period = next(p for p in range(1, len(kinds) + 1) if kinds[p:] == kinds[:-p])
    return [kinds[i] if i < len(kinds) else kinds[i % period] for i in range(size)]
