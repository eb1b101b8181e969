"""Codes and concepts drawn at random, with a planted latent where wanted."""

import numpy as np
import pytest
import scipy.sparse
import torch

from monosemy.evaluation.probing.folds import deal
from monosemy.evaluation.probing.nested import Truth
from monosemy.evaluation.probing.single import by_latent
from monosemy.tensors.codes import SparseCode


class Drawn:
    """Tokens of documents, activations (rounded, so that there are ties), concepts, doubts."""

    def __init__(self, tokens=400, latents=12, concepts=5, documents=20, signed=True, seed=0):
        draw = np.random.default_rng(seed)
        values = np.round(draw.normal(size=(tokens, latents)), 1)
        values = values if signed else np.abs(values)
        self.full = (values * (draw.random((tokens, latents)) < 0.3)).astype(np.float32)
        self.has = draw.random((tokens, concepts)) < 0.3
        self.unsure = (draw.random((tokens, concepts)) < 0.1) & ~self.has
        self.document = draw.integers(0, documents, tokens)
        self.documents = documents

    @property
    def code(self):
        return by_latent(SparseCode.from_dense(torch.from_numpy(self.full)))

    @property
    def labels(self):
        return scipy.sparse.csr_array(self.has), scipy.sparse.csr_array(self.unsure)

    @property
    def truth(self):
        return Truth.of(self.labels, deal(self.document, 4, seed=0), self.documents)


@pytest.fixture
def drawn():
    return Drawn
