"""Small dictionaries of every kind that has a form in files, and files to damage."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from monosemy.dictionaries import files
from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.crosscoders import Crosscoder
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.dictionaries.pruned import PrunedDictionary
from monosemy.dictionaries.refined import MatchingPursuit, RefinedDictionary
from monosemy.dictionaries.selection import (
    BatchTopK,
    GroupMax,
    Identity,
    JumpReLU,
    RawTopK,
    ReLU,
    SignedTopK,
    TopK,
)
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation.errors import UserError

D, M, K = 6, 10, 3


def _drawn(*shapes):
    """No parameter at zero or one: a forgotten one would go unnoticed."""
    return [
        torch.randn(shape, generator=torch.Generator().manual_seed(i))
        for i, shape in enumerate(shapes)
    ]


def _flat(selection, **rules):
    return FlatDictionary(*_drawn((M, D), (M,), (M, D), (D,)), selection, **rules)


def _transcoder(selection, written=4, skip=False, **rules):
    parts = _drawn((M, D), (M,), (M, written), (written,), (written, D))
    return Transcoder(*parts[:4], selection, parts[4] if skip else None, **rules)


def _thresholds():
    return JumpReLU(torch.linspace(0.1, 1.5, M))


def _batch_topk():
    selection = BatchTopK(K)
    selection.threshold.fill_(0.8)
    return selection


def _uncentred_gate():
    gated = GatedDictionary(*_drawn((M, D), (M,), (M,), (M,), (M, D), (D,)))
    gated.centred = False
    return gated


def _nested():
    dictionary = _flat(_batch_topk())
    dictionary.prefixes = (2, 5, M)
    return dictionary


def _refined(selection, first=None):
    return RefinedDictionary(*_drawn((M, D), (M,), (M, D), (D,)), selection, 0.25, first)


def _layers(*selections):
    sizes = 5, 3, 4
    W_enc = _drawn(*((m, D) for m in sizes))
    b_enc = _drawn(*((m,) for m in sizes))
    W_dec = _drawn(*((m, 3 - layer, D) for layer, m in enumerate(sizes)))
    return CrossLayerTranscoder(W_enc, b_enc, W_dec, *_drawn((3, D)), list(selections))


def _crosscoder(selection, **rules):
    parts = _drawn((M, 2 * D), (M,), (M, 2 * D), (2 * D,))
    return Crosscoder(*parts, selection, (D, D), scales=(0.5, 3.0), **rules)


# Each with the architecture that it has in the file.
SAELENS = {
    "relu": (lambda: _flat(ReLU()), "standard"),
    "uncentred": (lambda: _flat(ReLU(), centred=False), "standard"),
    "topk": (lambda: _flat(TopK(K)), "topk"),
    "topk rescaled": (lambda: _flat(TopK(K), weighing="rescaled"), "topk"),
    "abstopk": (lambda: _flat(SignedTopK(K)), "abstopk"),
    "abstopk rescaled": (lambda: _flat(SignedTopK(K), weighing="rescaled"), "abstopk"),
    "jumprelu": (lambda: _flat(_thresholds()), "jumprelu"),
    "batchtopk": (lambda: _flat(_batch_topk()), "jumprelu"),
    "matryoshka": (_nested, "jumprelu"),
    "gated": (
        lambda: GatedDictionary(*_drawn((M, D), (M,), (M,), (M,), (M, D), (D,))),
        "gated",
    ),
    "gated uncentred": (_uncentred_gate, "gated"),
    "matching pursuit": (
        lambda: MatchingPursuit(*_drawn((M, D), (D,)), 4, 0.5, False),
        "matching_pursuit",
    ),
    "transcoder": (lambda: _transcoder(ReLU()), "transcoder"),
    "skip": (lambda: _transcoder(ReLU(), skip=True), "skip_transcoder"),
    "jumprelu transcoder": (lambda: _transcoder(_thresholds()), "jumprelu_transcoder"),
    "batchtopk skip": (lambda: _transcoder(_batch_topk(), skip=True), "jumprelu_skip_transcoder"),
    "layer norm": (lambda: NormalisedDictionary(_flat(TopK(K)), "layer_norm", 1e-5), "topk"),
    "unit norm": (lambda: NormalisedDictionary(_flat(ReLU()), "unit_norm", 1e-30), "standard"),
}
OWN = {
    "selected": (lambda: _flat(TopK(K), weighing="selected"), "general"),
    "jumprelu rescaled": (lambda: _flat(_thresholds(), weighing="rescaled"), "general"),
    "batchtopk rescaled": (lambda: _flat(_batch_topk(), weighing="rescaled"), "general"),
    "groupmax": (lambda: _flat(GroupMax(5)), "general"),
    "raw topk": (lambda: _flat(RawTopK(K)), "general"),
    "identity": (lambda: _flat(Identity()), "general"),
    "topk transcoder": (lambda: _transcoder(TopK(K), skip=True), "general"),
    "centred transcoder": (lambda: _transcoder(ReLU(), written=D, centred=True), "general"),
    "constant": (
        lambda: NormalisedDictionary(_flat(TopK(K)), "constant", factor=0.3, factor_out=0.7),
        "normalised",
    ),
    "other eps": (lambda: NormalisedDictionary(_flat(ReLU()), "layer_norm", 1e-3), "normalised"),
    "scaled transcoder": (
        lambda: NormalisedDictionary(_transcoder(ReLU()), "constant", factor=0.3),
        "normalised",
    ),
    "pruned": (lambda: PrunedDictionary(_flat(TopK(K)), 0.1), "pruned"),
    "pruned inside a norm": (
        lambda: NormalisedDictionary(PrunedDictionary(_flat(ReLU()), 0.1), "layer_norm", 1e-3),
        "normalised",
    ),
    "lista": (lambda: _refined(TopK(K)), "lista"),
    "lista jumprelu": (
        lambda: _refined(_thresholds(), JumpReLU(torch.linspace(0.2, 0.9, M))),
        "lista",
    ),
    "crosscoder": (lambda: _crosscoder(TopK(K)), "crosscoder"),
    "crosscoder batchtopk": (lambda: _crosscoder(_batch_topk(), centred=False), "crosscoder"),
    "layers": (lambda: _layers(TopK(2), TopK(1), TopK(3)), "cross_layer_transcoder"),
    "layers jumprelu": (
        lambda: _layers(*(JumpReLU(torch.rand(m)) for m in (5, 3, 4))),
        "cross_layer_transcoder",
    ),
}
ALL = SAELENS | OWN


@pytest.fixture(params=list(ALL))
def case(request):
    """Every kind with a form, in evaluation mode, and its architecture in files."""
    make, architecture = ALL[request.param]
    return make().eval(), architecture


@pytest.fixture(params=list(SAELENS))
def theirs(request):
    """Every kind that SAELens has an architecture for."""
    return SAELENS[request.param][0]().eval()


@pytest.fixture(params=list(OWN))
def ours(request):
    """Every kind that it has none for."""
    return OWN[request.param][0]().eval()


@pytest.fixture
def named():
    """Makes the dictionary of a kind that is named, in evaluation mode."""
    return lambda kind: ALL[kind][0]().eval()


@pytest.fixture
def architectures():
    """Architectures of SAELens that some kind is written in."""
    return {architecture for _, architecture in SAELENS.values()}


@pytest.fixture
def folder(named, tmp_path):
    """A whole dictionary on disk."""
    files.save(named("topk"), tmp_path / "dictionary")
    return tmp_path / "dictionary"


@pytest.fixture
def rows_for():
    """Activations with an offset, as wide and in the type that a dictionary reads."""

    def draw(dictionary):
        found = torch.randn(20, dictionary.width, generator=torch.Generator().manual_seed(7))
        return (2 * found + torch.arange(dictionary.width)).to(dictionary.b_dec.dtype)

    return draw


@pytest.fixture
def config_of():
    """The settings in a folder."""
    return lambda folder: json.loads((folder / files.CONFIG).read_text())


@pytest.fixture
def change(config_of):
    """Changes settings (`None` removes one) and tensors of a saved dictionary."""

    def change(folder, tensors=None, **config):
        settings = config_of(folder) | config
        kept = {key: value for key, value in settings.items() if value is not None}
        (folder / files.CONFIG).write_text(json.dumps(kept))
        stored = load_file(folder / files.WEIGHTS) | (tensors or {})
        save_file(
            {name: tensor for name, tensor in stored.items() if tensor is not None},
            folder / files.WEIGHTS,
        )

    return change


@pytest.fixture
def refusal():
    """The words that a folder is refused with."""

    def refusal(folder, **given):
        with pytest.raises(UserError) as caught:
            files.load(folder, **given)
        return str(caught.value)

    return refusal


RECORDED = Path(__file__).resolve().parents[2] / "reference" / "saelens"
RECORDS = sorted(path.parent for path in RECORDED.rglob("expected.safetensors"))


@pytest.fixture(params=RECORDS, ids=lambda at: at.relative_to(RECORDED).as_posix())
def record(request):
    """Every folder that SAELens saved (or once did), and what it computed from it."""
    return request.param


@pytest.fixture
def records():
    """All of them."""
    return RECORDS
