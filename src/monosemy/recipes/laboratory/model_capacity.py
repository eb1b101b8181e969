"""Capacities of what a model writes and reads with: embeddings, neurons' outputs, unembeddings."""

from __future__ import annotations

from typing import Any

import torch

from monosemy.foundation.errors import UserError
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.loading import load
from monosemy.models.sites import listing
from monosemy.superposition.capacity import capacities, mean_squared_overlap
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute


def measure_model(name: str, compute: Compute, progress: Progress = SILENT) -> list[dict[str, Any]]:
    """Of each matrix, its rows' capacities and overlaps; of random rows beside it, the same.

    Gives ``{matrix, rows, width, sum, share, mean, overlap, random_share}``: ``sum`` of capacities,
    at most the width; ``share`` of the width; ``overlap`` the mean squared cosine times the width, 1 at
    random; ``random_share`` the share that as many random rows have. A row that is zero has no
    capacity.

    Errors
    ------
    `UserError` for an unknown model, and for one whose matrices have no names here.
    """
    model = load(name, compute, progress).model
    matrices = dict(_matrices(model))
    draw = compute.generator("random rows")
    found = []
    with torch.no_grad(), progress.task("capacities", len(matrices), "matrices") as task:
        for matrix, weight in matrices.items():
            rows = weight.double()
            rows = rows[rows.square().sum(1) > 0]
            of = capacities(rows)
            other = capacities(torch.randn(rows.shape, generator=draw).double())
            n, width = rows.shape
            found.append({
                "matrix": matrix, "rows": n, "width": width, "sum": float(of.sum()),
                "share": float(of.sum()) / width, "mean": float(of.mean()),
                "overlap": mean_squared_overlap(rows) * width,
                "random_share": float(other.sum()) / width,
            })  # fmt: skip
            task.advance()
    return found


def _matrices(model: Any) -> list[tuple[str, Float[Tensor, "row width"]]]:
    """A row for each token or neuron, as wide as the stream."""
    width = model.config.hidden_size
    named = [("embeddings", model.get_input_embeddings())]
    for site in listing(model):
        if site.name.endswith("mlp.hook_post"):
            named.append((f"{site.name.removesuffix('.mlp.hook_post')}, neurons' outputs",
                          model.get_submodule(site.module)))  # fmt: skip
    named.append(("unembeddings", model.get_output_embeddings()))
    found = list[tuple[str, Tensor]]()
    for name, module in named:
        weight = getattr(module, "weight", None)
        if weight is None or (name == "unembeddings" and weight is found[0][1]):
            continue
        # A Linear that writes into the stream keeps it as [stream, neuron]; Conv1D the other way.
        writes = isinstance(module, torch.nn.Linear) and name != "unembeddings"
        rows = weight.T if writes else weight
        if rows.shape[1] == width:
            found.append((name, rows))
    if not found:
        raise UserError(f"{type(model).__name__} has no matrix as wide as its stream ({width:,})")
    return found
