"""Rotary positions of wider heads: new pairs behind the old ones, whose frequencies stay.

A pair ``j`` of a head of ``n`` numbers turns by ``theta^(-2j/n)`` a position (Su et al. 2021,
arXiv 2104.09864). A configuration states ``n`` and ``theta`` only, so of a head of ``n'`` the first
``n/2`` pairs keep their frequencies where ``theta' = theta^(n'/n)``: the series goes on. Where only
part of a head turns (GPT-NeoX), the same numbers turn in a wider head, and new ones do not.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch

from monosemy.tensors.axes import Int, Tensor

# Kinds of scaling that change each frequency by itself, whatever the width.
_BY_FREQUENCY = ("default", "linear", "llama3")


def places(rotary: str, old: int, new: int) -> Int[Tensor, "old"]:
    """Where the numbers of a head go in a wider one.

    Halves of a head are turned against each other, so where all of it turns the second half moves.
    """
    if rotary != "all":
        return torch.arange(old)
    first = torch.arange(old // 2)
    return torch.cat([first, first + new // 2])


def problems(config: Any, rotary: str, old: int, new: int) -> list[str]:
    """Why heads cannot get wider."""
    if rotary != "all" or old == new:
        return []
    reasons = []
    if (new - old) % 2 or old % 2:
        reasons.append(
            f"key +{new - old}: rotary positions turn pairs of numbers; wanted an even number"
        )
    kind = _parameters(config).get("rope_type", "default")
    if kind not in _BY_FREQUENCY:
        reasons.append(
            f"key +{new - old}: rotary positions of the kind {kind!r} depend on the width of a head in "
            "a way that no configuration undoes; leave key and value as they are"
        )
    return reasons


def kept(config: Any, rotary: str, old: int, new: int) -> dict[str, Any]:
    """What a configuration has to say so that the old numbers of wider heads turn as they did."""
    given = copy.deepcopy(_parameters(config))
    if rotary == "all":
        return _stated(config, given, "rope_theta", given["rope_theta"] ** (new / old))
    if rotary == "part":
        share = given.get("partial_rotary_factor", 1.0)
        return _stated(config, given, "partial_rotary_factor", _share(int(old * share), new))
    return {}


def _share(turning: int, head: int) -> float:
    """A share of `head` that comes to `turning` when it is multiplied and cut."""
    share = turning / head
    return share if int(head * share) == turning else math.nextafter(share, 2.0)


def _parameters(config: Any) -> dict[str, Any]:
    if isinstance(given := getattr(config, "rope_parameters", None), dict):
        return given
    # Before version 5, transformers kept them apart.
    found = dict(getattr(config, "rope_scaling", None) or {})
    for name, key in _BEFORE.items():
        if hasattr(config, key):
            found[name] = getattr(config, key)
    return found


_BEFORE = {"rope_theta": "rope_theta", "partial_rotary_factor": "rotary_pct"}


def _stated(config: Any, given: dict[str, Any], name: str, value: float) -> dict[str, Any]:
    if isinstance(getattr(config, "rope_parameters", None), dict):
        return {"rope_parameters": given | {name: value}}
    return {_BEFORE[name]: value}
