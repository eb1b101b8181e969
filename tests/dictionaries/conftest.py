"""One small dictionary of every kind, and activations to put through them."""

from collections.abc import Callable

import pytest
import torch

from monosemy.dictionaries import baselines
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, ReLU, TopK

WIDTH, LATENTS, K = 6, 10, 3


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat(selection, seed: int = 0) -> FlatDictionary:
    """No parameter at zero or one: a forgotten one would go unnoticed."""
    shapes = (LATENTS, WIDTH), (LATENTS,), (LATENTS, WIDTH), (WIDTH,)
    parts = [torch.randn(shape, generator=draw(seed + i)) for i, shape in enumerate(shapes)]
    return FlatDictionary(*parts, selection)


def _batchtopk() -> FlatDictionary:
    dictionary = flat(BatchTopK(K))
    dictionary.selection.threshold.fill_(0.8)
    return dictionary


def _rows() -> torch.Tensor:
    return 2 * torch.randn(40, WIDTH, generator=draw(7)) + torch.arange(WIDTH)


MAKERS: dict[str, Callable[[], FlatDictionary]] = {
    "relu": lambda: flat(ReLU()),
    "topk": lambda: flat(TopK(K)),
    "batchtopk": _batchtopk,
    "jumprelu": lambda: flat(JumpReLU(torch.linspace(-0.5, 1.5, LATENTS))),
    "neurons": lambda: baselines.neurons(WIDTH, K),
    "pca": lambda: baselines.principal_components(_rows(), K),
    "random": lambda: baselines.random_directions(_rows(), LATENTS, K, draw(3)),
}
WITH_FILES = ("relu", "topk", "batchtopk", "jumprelu", "random")


@pytest.fixture
def rows() -> torch.Tensor:
    """Forty activations with an offset."""
    return _rows()


@pytest.fixture(params=list(MAKERS))
def kind(request) -> str:
    """Every kind in turn."""
    return request.param


@pytest.fixture
def dictionary(kind) -> FlatDictionary:
    """A dictionary of that kind, in evaluation mode."""
    return MAKERS[kind]().eval()


@pytest.fixture
def make():
    """Makes a dictionary of the kind that is named, in evaluation mode."""
    return lambda kind: MAKERS[kind]().eval()


@pytest.fixture(params=WITH_FILES)
def saved_kind(request) -> str:
    """Every kind that has a form in files."""
    return request.param
