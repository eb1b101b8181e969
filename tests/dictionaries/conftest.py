"""One small dictionary of every kind, and activations to put through them."""

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch

from monosemy.dictionaries import baselines
from monosemy.dictionaries.base import WEIGHINGS, Dictionary
from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.crosscoders import Crosscoder
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.hierarchical import HierarchicalDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.dictionaries.normalised import NORMS, NormalisedDictionary
from monosemy.dictionaries.pruned import PrunedDictionary
from monosemy.dictionaries.refined import MatchingPursuit, RefinedDictionary
from monosemy.dictionaries.selection import (
    BatchTopK,
    GroupMax,
    Identity,
    JumpReLU,
    RawTopK,
    ReLU,
    Selection,
    SignedTopK,
    TopK,
)
from monosemy.dictionaries.transcoders import Transcoder

WIDTH, LATENTS, K = 6, 10, 3
WRITTEN, LAYERS = 5, 3


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parts(latents: int, seed: int = 0, written: int = WIDTH) -> list[torch.Tensor]:
    """No parameter at zero or one: a forgotten one would go unnoticed."""
    shapes = (latents, WIDTH), (latents,), (latents, written), (written,)
    return [torch.randn(shape, generator=draw(seed + i)) for i, shape in enumerate(shapes)]


def _batchtopk(latents: int, k: int) -> BatchTopK:
    selection = BatchTopK(min(k, latents))
    selection.threshold.fill_(0.8)
    return selection


def _groups(latents: int, k: int) -> GroupMax:
    return GroupMax(max(d for d in range(1, k + 1) if latents % d == 0))


Choice = Callable[[int, int], Selection]
SELECTIONS: dict[str, Choice] = {
    "relu": lambda latents, k: ReLU(),
    "topk": lambda latents, k: TopK(min(k, latents)),
    "batchtopk": _batchtopk,
    "jumprelu": lambda latents, k: JumpReLU(torch.linspace(-0.5, 1.5, latents), bandwidth=0.4),
    "signed_topk": lambda latents, k: SignedTopK(min(k, latents)),
    "raw_topk": lambda latents, k: RawTopK(min(k, latents)),
    "groupmax": _groups,
    "identity": lambda latents, k: Identity(),
}
LEARNED = ("relu", "topk", "batchtopk", "jumprelu")
"""Selections that can be trained."""


def _rows() -> torch.Tensor:
    return 2 * torch.randn(40, WIDTH, generator=draw(7)) + torch.arange(WIDTH)


@cache
def _ica(k: int) -> FlatDictionary:
    """Of rows that are mixed from something far from Gaussian, so that it settles soon."""
    mixed = torch.empty(500, WIDTH).exponential_(generator=draw(8)) @ parts(WIDTH)[0]
    return baselines.independent_components(mixed, k, draw(2))


def _gated(latents: int, k: int) -> GatedDictionary:
    W_enc, b_enc, W_dec, b_dec = parts(latents)
    r_mag, b_mag = (0.3 * torch.randn(latents, generator=draw(20 + i)) for i in range(2))
    return GatedDictionary(W_enc, b_enc, r_mag, b_mag, W_dec, b_dec)


def _skip(latents: int, k: int) -> Transcoder:
    W_skip = torch.randn(WRITTEN, WIDTH, generator=draw(30))
    return Transcoder(*parts(latents, written=WRITTEN), _batchtopk(latents, k), W_skip)


def _cross_layer(latents: int, k: int, choice: Choice) -> CrossLayerTranscoder:
    """As many latents in each layer."""
    each, read = [draw(40 + layer) for layer in range(LAYERS)], WIDTH // LAYERS
    return CrossLayerTranscoder(
        [torch.randn(latents, read, generator=g) for g in each],
        [torch.randn(latents, generator=g) for g in each],
        [torch.randn(latents, LAYERS - n, read, generator=g) for n, g in enumerate(each)],
        torch.randn(LAYERS, read, generator=each[0]),
        [choice(latents, k) for _ in each],
    )


def _pursuit(latents: int, k: int) -> MatchingPursuit:
    directions = torch.nn.functional.normalize(parts(latents)[2], dim=1)
    return MatchingPursuit(directions, parts(latents)[3], k, stop_on_duplicate=False)


def _refined(latents: int, k: int, choice: Choice) -> RefinedDictionary:
    dictionary = RefinedDictionary(*parts(latents), choice(latents, k))
    if isinstance(dictionary.first, BatchTopK):
        dictionary.first.threshold.fill_(1.1)
    return dictionary


CHILDREN, RANK, CHARTS = 3, 2, 3


def _unit_parents(latents: int, k: int) -> FlatDictionary:
    """Parents with rows of length one, of which more are proposed than there is room for."""
    W_enc, b_enc, W_dec, b_dec = parts(latents)
    rows = torch.nn.functional.normalize(W_dec, dim=1)
    return FlatDictionary(W_enc, b_enc, rows, b_dec, _batchtopk(latents, k))


def _with_children(trunk: FlatDictionary | LocalDictionary, bearers: int) -> LocalDictionary:
    """Every chart is shared; the last bearer points at none."""
    axes = torch.randn(CHARTS, WIDTH, RANK, generator=draw(50))
    V = torch.linalg.qr(axes)[0].transpose(1, 2).contiguous()
    C = torch.randn(bearers, CHILDREN, RANK, generator=draw(51))
    routes = torch.arange(bearers) % CHARTS
    routes[-1] = -1
    C = torch.nn.functional.normalize(C, dim=2)
    return LocalDictionary(trunk, V, routes, C, rounds=1, floor=0.3, least=0.2)


def _local(latents: int, k: int) -> LocalDictionary:
    return _with_children(_unit_parents(latents, k), latents)


def _local_deep(latents: int, k: int) -> LocalDictionary:
    return _with_children(_local(latents, k), latents * CHILDREN)


def _hierarchical(latents: int, k: int) -> HierarchicalDictionary:
    shapes = (RANK, WIDTH), (RANK, WIDTH), (CHILDREN, RANK), (CHILDREN, RANK), (CHILDREN,)
    own = [torch.randn(latents, *shape, generator=draw(60 + n)) for n, shape in enumerate(shapes)]
    return HierarchicalDictionary(FlatDictionary(*parts(latents), _batchtopk(latents, k)), *own)


def _constant(latents: int, k: int) -> NormalisedDictionary:
    inner = Transcoder(*parts(latents), _batchtopk(latents, k))
    return NormalisedDictionary(inner, "constant", factor=1.7, factor_out=0.4)


def _kinds() -> dict[str, Callable[[int, int], Dictionary]]:
    made: dict[str, Callable[[int, int], Dictionary]] = {}
    for name, choice in SELECTIONS.items():
        made[name] = lambda m, k, s=choice: FlatDictionary(*parts(m), s(m, k))
    for name in LEARNED:
        made[f"lista {name}"] = lambda m, k, s=SELECTIONS[name]: _refined(m, k, s)
    for name in ("batchtopk", "jumprelu"):  # where latents are compared, and where they are not
        choice = SELECTIONS[name]
        made[f"{name} uncentred"] = lambda m, k, s=choice: FlatDictionary(
            *parts(m), s(m, k), centred=False
        )
        for weighing in WEIGHINGS[1:]:
            made[f"{name} {weighing}"] = lambda m, k, s=choice, w=weighing: FlatDictionary(
                *parts(m), s(m, k), weighing=w
            )
        made[f"transcoder {name}"] = lambda m, k, s=choice: Transcoder(
            *parts(m, written=WRITTEN), s(m, k)
        )
        made[f"crosscoder {name}"] = lambda m, k, s=choice: Crosscoder(
            *parts(m), s(m, k), widths=(2, 4)
        )
        made[f"cross-layer {name}"] = lambda m, k, s=choice: _cross_layer(m, k, s)
    for norm in NORMS:
        made[norm] = lambda m, k, n=norm: NormalisedDictionary(
            FlatDictionary(*parts(m), _batchtopk(m, k)), n, eps=1e-5, factor=1.7
        )
    return made | {
        "gated": _gated,
        "skip transcoder": _skip,
        "centred transcoder": lambda m, k: Transcoder(*parts(m), TopK(min(k, m)), centred=True),
        "matching pursuit": _pursuit,
        "constant transcoder": _constant,
        "pruned": lambda m, k: PrunedDictionary(FlatDictionary(*parts(m), ReLU()), 0.4),
        "pruned pursuit": lambda m, k: PrunedDictionary(_pursuit(m, k), 0.4),
        "local": _local,
        "local deep": _local_deep,
        "hierarchical": _hierarchical,
        "neurons": lambda m, k: baselines.neurons(WIDTH, k),
        "pca": lambda m, k: baselines.principal_components(_rows(), k),
        "ica": lambda m, k: copy.deepcopy(_ica(k)),
        "random": lambda m, k: baselines.random_directions(_rows(), m, min(k, m), draw(3)),
    }


MAKERS = _kinds()
LEARNS_NOTHING = ("layer_norm", "unit_norm", "constant", "constant transcoder",
                  "pruned", "pruned pursuit")  # fmt: skip
"""Wrapped around a dictionary that has learned."""
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
def dictionary(kind) -> Dictionary:
    """A dictionary of that kind, in evaluation mode."""
    return MAKERS[kind](LATENTS, K).eval()


@pytest.fixture
def make():
    """Makes a dictionary of the kind that is named, in evaluation mode."""
    return lambda kind, latents=LATENTS, k=K: MAKERS[kind](latents, k).eval()


@pytest.fixture(params=WITH_FILES)
def saved_kind(request) -> str:
    """Every kind that has a form in files."""
    return request.param


@pytest.fixture(params=[kind for kind in MAKERS if kind not in LEARNS_NOTHING])
def learning_kind(request) -> str:
    """Every kind that can be trained, in turn."""
    return request.param


@pytest.fixture
def learner(learning_kind) -> Dictionary:
    """A dictionary of that kind, while it learns, in double precision."""
    return MAKERS[learning_kind](LATENTS, K).double().train()
