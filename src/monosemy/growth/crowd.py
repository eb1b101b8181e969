"""Where the features of a site stand in the residual stream, and which MLP can move them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from monosemy.foundation.errors import refuse
from monosemy.growth import layout
from monosemy.growth.families import FAMILIES, Family, family_of
from monosemy.growth.layout import Layout, Weights
from monosemy.growth.shapes import Shape, shape_of
from monosemy.models.sites import Site
from monosemy.tensors.axes import Float, Tensor

_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
# Sites whose vectors are in the stream, or are added to it by a linear map.
_STREAM = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out")
_MAPPED = {"attn.hook_z": "o", "mlp.hook_post": "down"}


@dataclass(frozen=True)
class Crowd:
    """Where features are read and written, and what lies before and behind.

    Attributes
    ----------
    site : of the dictionary.
    layer : the block whose MLP moves them: it reads the stream at, or behind, what the site says, and
        writes where their directions stand already.
    family, shape : of the model.
    """

    site: Site
    layer: int
    family: Family
    shape: Shape

    @property
    def read(self) -> str:
        """The site where new neurons read: what enters the MLP, after its norm."""
        return f"blocks.{self.layer}.mlp.hook_in"

    @property
    def neurons(self) -> str:
        """The site of the MLP's neurons."""
        return f"blocks.{self.layer}.mlp.hook_post"

    @property
    def behind(self) -> str:
        """The first site behind the move, in the stream."""
        return f"blocks.{self.layer}.hook_resid_post"

    def directions(
        self, model: Any, rows: Float[Tensor, "feature width"]
    ) -> Float[Tensor, "feature stream"]:
        """Decoder rows as they arrive in the stream: ``d``, or ``W d`` with what writes the site.

        For a LayerNorm the mean is taken away, which no reader sees.
        """
        block, name = self._named
        rows = rows.double()
        if name in _MAPPED:
            weights = layout.read(model, self.family, self.shape).blocks[block]
            rows = rows @ weights[f"{_MAPPED[name]}.weight"].double().T
        return rows - rows.mean(1, keepdim=True) if self.family.centres else rows

    @property
    def _named(self) -> tuple[int, str]:
        block, name = _BLOCK.fullmatch(self.site.name).groups()  # type: ignore[union-attr]
        return int(block), name


def crowd(model: Any, site: Site) -> Crowd:
    """Where the features of `site` can be moved.

    Errors
    ------
    `UserError` with every reason: see `problems`.
    """
    refuse(problems(model, site), f"allocating features of {site.name}")
    family = family_of(model.config)
    assert family is not None
    shape = shape_of(model.config, family)
    block, name = _BLOCK.fullmatch(site.name).groups()  # type: ignore[union-attr]
    # What a site says is read by the MLP of its own block, unless it says it behind that MLP's norm.
    later = name == "hook_resid_post" or (
        name in ("attn.hook_z", "hook_attn_out") and _side_by_side(model)
    )
    layer = min(int(block) + later, shape.layers - 1)
    return Crowd(site, layer, family, shape)


def problems(model: Any, site: Site) -> list[str]:
    """Every reason why features of `site` cannot get axes of their own in `model`."""
    family = family_of(model.config)
    if family is None:
        return [f"models of type {model.config.model_type!r} are not known here; known: "
                f"{', '.join(FAMILIES)}"]  # fmt: skip
    reasons = []
    found = _BLOCK.fullmatch(site.name)
    if found is None or found[2] not in (*_STREAM, *_MAPPED):
        reasons.append(
            f"site {site.name} is not in the stream of a block, nor added to it by a linear map; "
            f"wanted blocks.N. with one of {', '.join((*_STREAM, *_MAPPED))}"
        )
    if family.norms_writers:
        reasons.append(
            f"{model.config.model_type!r} normalises what an MLP writes, so that a neuron added to it "
            "changes what all others write"
        )
    if not getattr(model.config, "do_layer_norm_before", True):
        reasons.append("its norms come after the addition, which changes every axis on its way")
    return reasons


@dataclass(frozen=True, eq=False)
class Reader:
    """A matrix that reads the stream, and the gains of the norm before it, in double precision.

    Attributes
    ----------
    holder, name : where the matrix lies in a `Layout`.
    """

    holder: Weights
    name: str
    read: Float[Tensor, "out width"]
    gain: Float[Tensor, "width"]


def readers_behind(weights: Layout, layer: int, family: Family) -> Iterator[Reader]:
    """Everything that reads the stream behind the MLP of `layer`, the unembedding last.

    Where that is the embedding itself, it is read as such.
    """
    found = [
        (block, f"{name}.weight", f"{norm}.weight")
        for block in weights.blocks[layer + 1 :]
        for norm, names in (("before attention", "qkv"), ("before mlp", ("gate", "up")))
        for name in names
    ]
    head = "head" if "head" in weights.outside else "embed"
    for holder, name, norm in [*found, (weights.outside, head, "final.weight")]:
        if name in holder:
            yield Reader(holder, name, holder[name].double(), holder[norm].double() + family.offset)


def _side_by_side(model: Any) -> bool:
    config = model.config
    return config.model_type == "gpt_neox" and bool(config.use_parallel_residual)


def same_direction(
    read: Float[Tensor, "out width"],
    gain: Float[Tensor, "width"],
    directions: Float[Tensor, "feature width"],
    axes: Tensor,
    centres: bool,
) -> Float[Tensor, "out width"]:
    """`read` with columns at `axes` such that each new axis is read as its feature's direction is.

    With ``P`` the mean taken away (LayerNorm; else nothing) and unit directions ``u``,

        R diag(g) P e_j  =  R diag(g) P u_j     for every feature j

    Under a LayerNorm the columns depend on each other through the mean: with ``t_j = R diag(g) u_j``,
    ``s`` the sum of ``R g`` over all other axes and ``W`` the width, ``R_j g_j = t_j + S / W`` where
    ``S (1 - n / W) = s + sum_j t_j``.
    """
    new = read.clone()
    units = directions / directions.norm(dim=1, keepdim=True)
    wanted = (read * gain) @ units.T
    if centres:
        others = torch.ones(read.shape[1], dtype=torch.bool)
        others[axes] = False
        width = read.shape[1]
        total = (read * gain)[:, others].sum(1) + wanted.sum(1)
        wanted = wanted + (total / (1 - len(axes) / width) / width)[:, None]
    new[:, axes] = wanted / gain[axes]
    return new
