"""What a dictionary does, said; and two that do the same are told from two that do not."""

import json

import pytest
import torch

from monosemy.dictionaries.crosscoders import Crosscoder
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.dictionaries.pruned import PrunedDictionary
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, ReLU, SignedTopK
from monosemy.dictionaries.semantics import differences, semantics
from monosemy.dictionaries.transcoders import Transcoder


def _parts(dictionary):
    return [
        getattr(dictionary, name).detach().clone() for name in ("W_enc", "b_enc", "W_dec", "b_dec")
    ]


def test_every_kind_is_said_in_plain_json(dictionary):
    said = semantics(dictionary)
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert (said["width"], said["written"]) == (dictionary.width, dictionary.written)
    assert said["latents"] == dictionary.latents
    assert len(said["sha256"]) == 64


def test_rules_of_an_autoencoder(make):
    said = semantics(make("topk"))
    wanted = {
        "structure": "autoencoder", "selection": "topk", "k": 3, "threshold": None, "strict": None,
        "rectified": True, "centred": True, "weighing": "none", "normalisation": None,
        "pruning": None, "skip": False, "prefixes": [], "dtype": "float32",
    }  # fmt: skip
    assert wanted.items() <= said.items()
    assert semantics(make("relu"))["threshold"] == 0
    assert semantics(make("relu"))["strict"] is True
    assert semantics(make("jumprelu"))["threshold"] == {"min": 0, "max": 1.5}
    assert semantics(make("batchtopk"))["threshold"] == pytest.approx(0.8)
    assert semantics(make("pca"))["rectified"] is False


def test_rules_of_what_is_around_and_beside(make):
    flat = make("relu")
    around = NormalisedDictionary(PrunedDictionary(flat, 0.5), "constant", factor=2.0)
    said = semantics(around)
    assert said["normalisation"] == {"norm": "constant", "factor": 2.0, "factor_out": 2.0}
    assert (said["pruning"], said["structure"]) == (0.5, "autoencoder")
    normed = semantics(NormalisedDictionary(flat, "layer_norm", 1e-5))
    assert normed["normalisation"] == {"norm": "layer_norm", "eps": 1e-5}
    skip = semantics(Transcoder(*_parts(flat), ReLU(), torch.ones(6, 6)))
    assert (skip["structure"], skip["skip"], skip["centred"]) == ("transcoder", True, False)
    parts = semantics(Crosscoder(*_parts(flat), ReLU(), (2, 4)))
    assert (parts["structure"], parts["parts"]) == ("crosscoder", [2, 4])


def test_the_hash_is_of_the_weights(make):
    first, second = make("topk"), make("topk")
    assert semantics(first)["sha256"] == semantics(second)["sha256"]
    with torch.no_grad():
        second.W_dec[3, 2] = torch.nextafter(second.W_dec[3, 2], torch.tensor(9.0))
    assert semantics(first)["sha256"] != semantics(second)["sha256"]


def test_names_of_the_same_thing_are_no_difference(make):
    flat = make("batchtopk")
    threshold = flat.selection.threshold.float().expand(10)
    assert differences(flat, FlatDictionary(*_parts(flat), JumpReLU(threshold))) == []
    relu = make("relu")
    assert differences(relu, FlatDictionary(*_parts(relu), JumpReLU(-torch.ones(10)))) == []
    assert differences(relu, make("relu").double()) == []
    with torch.no_grad():
        relu.b_dec.zero_()
    assert differences(relu, FlatDictionary(*_parts(relu), ReLU(), centred=False)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"selection": SignedTopK(3)}, "selection is 'above a threshold' in one and 'signed_topk'"),
        ({"centred": False}, "centred is True in one and False in the other"),
        ({"weighing": "rescaled"}, "weighing is 'none' in one and 'rescaled' in the other"),
        ({"prefixes": (4, 10)}, "prefixes is [] in one and [4, 10] in the other"),
        ({"selection": BatchTopK(3)}, "threshold holds other numbers"),
        ({"b_enc": torch.nn.Parameter(torch.zeros(10))}, "b_enc holds other numbers"),
        ({"b_enc": torch.nn.Parameter(torch.zeros(3))}, "b_enc is (10,) in one, (3,) in the other"),
        ({"W_skip": torch.nn.Parameter(torch.zeros(2))}, "only one has W_skip"),
    ],
)
def test_a_difference_is_named(make, change, said):
    first, second = make("jumprelu"), make("jumprelu")
    assert differences(first, second) == []
    for name, value in change.items():
        setattr(second, name, value)
    assert any(said in reason for reason in differences(first, second))
