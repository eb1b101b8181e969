"""Who draws: loops compiled for a processor where numba is installed, plain torch elsewhere."""

from __future__ import annotations

import importlib
from importlib.util import find_spec

import torch

from monosemy.data.features.law import Law
from monosemy.tensors.codes import SparseCode


def route_for(device: torch.device) -> str:
    """The module that draws on `device`; the same law, but other draws."""
    return "compiled" if device.type == "cpu" and find_spec("numba") else "plain"


def draw(law: Law, count: int, generator: torch.Generator) -> SparseCode:
    """The features of `count` samples, a function of the law and the generator's state alone."""
    module = importlib.import_module(f"monosemy.data.features.{route_for(generator.device)}")
    drawn: SparseCode = module.draw(law, count, generator)
    return drawn
