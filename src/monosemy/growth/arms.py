"""Controls of allocation with as many parameters: the same move with nothing chosen.

*widened* has the axes and neurons and no assignment (`allocate.widened`); *random* moves random
directions; *variance* moves the directions along which what the MLP writes varies most.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from monosemy.growth import layout
from monosemy.growth.allocate import Assignment
from monosemy.growth.reading import Kind, Reading, Rows, read_values
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute

ARMS = ("allocated", "widened", "random", "variance")


def random_assignment(given: Assignment, rows: Rows, kind: Kind, compute: Compute) -> Assignment:
    """Random directions and random readings, as long and as variable as those of `given`."""
    draw = compute.generator("allocation/random")
    reading = given.reading
    v = _like(given.directions, draw)
    v = v - v.mean(1, keepdim=True) if given.crowd.family.centres else v
    v = v * (given.directions.norm(dim=1) / v.norm(dim=1))[:, None]
    drawn = replace(
        reading,
        crowd=_like(reading.crowd, draw),
        up=_like(reading.up, draw),
        bias=None if reading.bias is None else torch.zeros_like(reading.bias),
        gate=None if reading.gate is None else _like(reading.gate, draw),
    )
    spread = read_values(reading, rows, kind).std(0) / read_values(drawn, rows, kind).std(0)
    scaled = replace(
        drawn, crowd=drawn.crowd * spread[:, None], scale=drawn.scale * spread[:, None]
    )
    return replace(given, directions=v, reading=scaled)


def variance_assignment(given: Assignment, model: Any, rows: Rows, compute: Compute) -> Assignment:
    """The principal directions of what the MLP writes, read exactly by the neurons there are.

    Own neurons read at random and write nothing at first.
    """
    draw = compute.generator("allocation/variance")
    found = given.crowd
    down = layout.read(model, found.family, found.shape).blocks[found.layer]["down.weight"].double()
    down = down - down.mean(0) if found.family.centres else down
    a = rows.neurons.double()
    spread = torch.linalg.cholesky(torch.cov(a.T) + 1e-9 * torch.eye(a.shape[1], dtype=a.dtype))
    u = torch.linalg.svd(down @ spread, full_matrices=False).U[:, : len(given)].T
    reading, idlers = given.reading, len(given) - len(u)
    if idlers:  # the stream has no more directions: the rest get a random one, and move nothing
        more = _like(given.directions[:idlers], draw)
        more = more - more.mean(1, keepdim=True) if found.family.centres else more
        u = torch.cat([u, more / more.norm(dim=1, keepdim=True)])
    read = u @ down
    read[len(u) - idlers :] = 0
    idle = Reading(
        read.float(),
        _like(reading.up, draw),
        None if reading.bias is None else torch.zeros_like(reading.bias),
        None if reading.gate is None else _like(reading.gate, draw),
        torch.zeros_like(reading.scale),
        torch.ones(len(u)),
    )
    return replace(given, directions=u, reading=idle)


def _like(values: Float[Tensor, "..."], draw: torch.Generator) -> Float[Tensor, "..."]:
    """Normal numbers of the deviation of `values`."""
    return torch.randn(values.shape, generator=draw, dtype=values.dtype) * values.std()
