"""Codes without zeros, and how long the step of a latent is."""

import numpy as np
import torch

from monosemy.dictionaries.baselines import neurons
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.dictionaries.selection import ReLU, TopK
from monosemy.evaluation.structure import codes

WIDTH, LATENTS = 6, 30


def made(weighing="none", b_dec=1.0):
    draw = torch.Generator().manual_seed(0)
    W = torch.randn(LATENTS, WIDTH, generator=draw)
    return FlatDictionary(
        W, torch.zeros(LATENTS), 2 * W, torch.full((WIDTH,), b_dec), TopK(5), weighing=weighing
    ).eval()


def test_codes_are_those_of_the_dictionary(monkeypatch):
    monkeypatch.setattr(codes, "_BATCH", 7)
    x = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(1))
    for dictionary in (made(), neurons(WIDTH, 2)):
        found = codes.sparse_code(dictionary, x)
        assert found.nnz <= 5 * len(x)
        np.testing.assert_allclose(found.toarray(), dictionary.encode(x).detach(), rtol=1e-5)


def test_a_step_is_as_long_as_what_is_decoded(monkeypatch):
    monkeypatch.setattr(codes, "_ROWS", 7)
    plain = made()
    torch.testing.assert_close(codes.lengths(plain), plain.W_dec.detach().norm(dim=1))
    torch.testing.assert_close(codes.lengths(made("rescaled")), torch.ones(LATENTS))
    halved = NormalisedDictionary(plain, "constant", factor=2.0)
    torch.testing.assert_close(codes.lengths(halved), plain.W_dec.detach().norm(dim=1) / 2)


def test_the_origin_is_what_no_latent_writes():
    torch.testing.assert_close(codes.origin(made(b_dec=3.0)), torch.full((WIDTH,), 3.0))
    other = FlatDictionary.tied(torch.eye(WIDTH), torch.zeros(WIDTH), ReLU())
    assert not codes.origin(other).any()


def test_directions_have_length_one():
    np.testing.assert_allclose(np.linalg.norm(codes.directions(made()), axis=1), 1, rtol=1e-6)
    assert codes.misfits("it", made()) == []
