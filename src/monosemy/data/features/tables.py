"""A law as arrays that compiled loops walk over."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from monosemy.data.features.law import Law

GROUP = 16
"""Roots that share a bound on their chances."""
BLOCK = GROUP * GROUP
"""Roots whose chances are worked out together: `GROUP` groups, one in each lane of a vector."""
PASS = 5
"""What nodes have in common is added up so many numbers at a time; the rank is padded to it."""


NODE = np.dtype(
    [
        ("first", np.int64),
        ("last", np.int64),
        ("rule", np.int64),
        ("chance", np.float64),
        ("mean", np.float64),
        ("spread", np.float64),
        ("gain", np.float64),
        ("floor", np.float64),
    ]
)
"""All of a node in one cache line: its children are ``children[first:last]``; ``floor`` as below."""


class Roots(NamedTuple):
    """Nodes without parents, by falling chance, in blocks.

    The groups of a block are the columns of its places read as a square: place
    ``GROUP · member + group``.
    """

    nodes: np.ndarray
    """(block, place): -1 in the padding."""
    loads: np.ndarray
    """(block, rank, place)"""
    floors: np.ndarray
    """(block, place): infinite in the padding."""
    chance: np.ndarray
    """(block, place): 0 in the padding."""
    bounds: np.ndarray
    """(block, group): the largest chance in each group."""
    paces: np.ndarray
    """(block, group): ``1 / log(1 - bound)``; 0 where the bound is 1."""


class Tables(NamedTuple):
    """A law as arrays.

    Given what the nodes have in common, ``e``, a node fires with probability
    ``P(n < <loads, e> - floor)``, where ``loads = factor / remainder`` and
    ``floor = threshold / remainder``.
    """

    nodes: np.ndarray
    """One `NODE` each."""
    children: np.ndarray
    loads: np.ndarray
    """(node, rank)"""
    roots: Roots
    features: int
    uniform: bool


def tables_of(law: Law) -> Tables:
    """The arrays of `law`."""
    bounds, children = law.families
    floors = law.thresholds / law.remainder
    padding = torch.zeros(law.nodes, -law.rank % PASS)
    loads = torch.cat([(law.factor / law.remainder[:, None]).float(), padding], 1)
    nodes = np.empty(law.nodes, NODE)
    columns = (
        bounds[:-1],
        bounds[1:],
        law.rules,
        law.chance,
        law.mean,
        law.spread,
        law.gain,
        floors,
    )
    for name, column in zip(NODE.names or (), columns, strict=True):
        nodes[name] = column.numpy()
    roots = _roots(law, loads, floors.float())
    return Tables(nodes, children.numpy(), loads.numpy(), roots, law.features, law.uniform)


def _roots(law: Law, loads: torch.Tensor, floors: torch.Tensor) -> Roots:
    nodes = _in_squares(law)
    used = nodes >= 0
    chance = torch.where(used, law.chance.double()[nodes], 0.0)
    bounds = chance.unflatten(1, (GROUP, GROUP)).amax(1)
    return Roots(
        nodes.numpy(),
        torch.where(used[:, :, None], loads[nodes], 0.0).transpose(1, 2).contiguous().numpy(),
        torch.where(used, floors[nodes], torch.inf).numpy(),
        chance.numpy(),
        bounds.numpy(),
        (1 / torch.log1p(-bounds)).numpy(),
    )


def _in_squares(law: Law) -> torch.Tensor:
    """The roots by falling chance, in blocks; neighbours in that order share a group."""
    roots = (law.parents < 0).nonzero()[:, 0]
    roots = roots[torch.argsort(law.chance[roots], descending=True, stable=True)]
    padded = torch.cat([roots, roots.new_full((-len(roots) % BLOCK,), -1)])
    squares = padded.view(-1, GROUP, GROUP).transpose(1, 2)
    return squares.reshape(-1, BLOCK)
