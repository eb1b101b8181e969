"""The burden of chosen features in one model: before a move, after it, in a control."""

from __future__ import annotations

import math
from typing import Any

import torch

from monosemy.growth import layout
from monosemy.growth.allocate import Allocated
from monosemy.growth.burden import decodability, interference, reading_weights
from monosemy.growth.crowd import readers_behind
from monosemy.growth.curvature import top_eigenvalue
from monosemy.growth.double import build
from monosemy.growth.families import family_of
from monosemy.growth.shapes import shape_of
from monosemy.models import tap
from monosemy.models.sites import resolve
from monosemy.recipes.allocation_ground import Chosen, Ground, read_stream
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute

# Contexts that curvature is measured on, and products with the Hessian at most.
_CONTEXTS, _PRODUCTS = 8, 15


def measure_burden(
    ground: Ground, chosen: Chosen, model: Any, moved: Allocated | None, seed: int = 0,
    curvature: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Every measure of `growth.burden`, for the chosen features, in the stream of `model`.

    Where features have moved, each stands on its own axis; elsewhere, on its old direction. Values are
    those of the dictionary on the model as it came, in all arms.
    """
    contexts = ground.heldout.contexts
    u = standing(ground, chosen, model, moved)
    stream = read_stream(ground, model, contexts)
    found = decodability(stream, chosen.heldout, ground.heldout.document, seed=seed)
    reading = stream.double() @ (u / u.square().sum(1, keepdim=True)).T
    noise = interference(reading, chosen.heldout)
    readers = _readers(ground, model)
    strength, number = reading_weights(readers, u)
    measured: dict[str, Any] = {
        "decodability": found.to_json(),
        "interference": float(noise.nanmedian()),
        "interference_by_feature": [None if math.isnan(v) else v for v in noise.tolist()],
        "reading_strength": float(strength.mean()),
        "reading_weights": float(number.mean()),
        "weights": readers.numel(),
        "tokens": len(stream),
    }
    if curvature:
        measured |= _curvature(ground, chosen, model, u, seed)
    return measured


def standing(
    ground: Ground, chosen: Chosen, model: Any, moved: Allocated | None
) -> Float[Tensor, "feature stream"]:
    """The vector that one unit of each feature adds to the stream."""
    v = ground.crowd.directions(ground.model, chosen.directions)
    u = torch.zeros(len(v), model.config.hidden_size, dtype=torch.float64)
    if moved is not None and len(moved.axes):
        u[torch.arange(len(v)), moved.axes] = v.norm(dim=1)
    else:  # what was there before lies in front
        u[:, : v.shape[1]] = v
    return u


def _readers(ground: Ground, model: Any) -> Float[Tensor, "out stream"]:
    """Everything that reads the stream behind the move, with the gains of its norm, as one matrix."""
    family = family_of(model.config)
    assert family is not None
    weights = layout.read(model, family, shape_of(model.config, family))
    every = readers_behind(weights, ground.crowd.layer, family)
    readers = torch.cat([one.read * one.gain for one in every])
    return readers - readers.mean(1, keepdim=True) if family.centres else readers


def _curvature(
    ground: Ground, chosen: Chosen, model: Any, u: Float[Tensor, "feature stream"], seed: int
) -> dict[str, Any]:
    """Largest eigenvalues of the loss's Hessian: in the features' strengths, in all parameters.

    Strengths are factors ``1 + d_j`` on what each feature adds: ``x + Σ d_j z_j u_j``.
    """
    contexts = ground.heldout.contexts[:_CONTEXTS]
    values = torch.zeros(*contexts.kept.shape, len(u))
    values[contexts.kept] = chosen.heldout[: int(contexts.kept.sum())]
    plain = build(type(model), model.config, model.state_dict(), torch.float32, "eager")
    site = resolve(plain, ground.crowd.behind)
    strengths = torch.zeros(len(u), requires_grad=True)
    ids = contexts.ids.long()

    def loss() -> Tensor:
        logits = plain(ids, use_cache=False).logits[:, :-1]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    def along() -> Tensor:
        added = (values * strengths) @ u.float()
        with tap.editing(plain, {site: lambda activation: activation + added}):
            return loss()

    draw = Compute(seed=seed).generator("burden/curvature")
    plain.requires_grad_(False)
    features = top_eigenvalue(along, [strengths], draw, _PRODUCTS, 1e-2)
    plain.requires_grad_(True)
    whole = top_eigenvalue(loss, list(plain.parameters()), draw, _PRODUCTS, 1e-2)
    return {
        "curvature_features": features.value,
        "curvature_parameters": whole.value,
        "curvature_residual": whole.residual,
    }
