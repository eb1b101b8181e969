"""A planted hierarchy, and dictionaries that absorb it or do not, made by hand."""

from typing import NamedTuple

import pytest
import torch

from monosemy.data.labels.labelling import NOTHING, Labels
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import ReLU
from monosemy.tensors.axes import Bool, Float, Tensor

WIDTH, DOCUMENTS, EACH = 8, 40, 50
PARENTS, CHILDREN = ("animal", "colour"), ("cat", "dog", "red", "blue")
# Directions: a parent each (axes 0 and 1), a child each (axes 2 to 5), what else there is (6, 7).
CHILD_SIZE = 0.5


class Planted(NamedTuple):
    """Activations with their labels: parent + half a child for some, parent alone for others."""

    x: Float[Tensor, "token width"]
    labels: Labels
    heldout: Bool[Tensor, "token"]


@pytest.fixture(scope="session")
def planted() -> Planted:
    """``x = e_parent + 0.5 e_child``: a third of the tokens has the first child of its parent, a third
    the second, a third of the tokens no parent."""
    tokens = DOCUMENTS * EACH
    draw = torch.Generator().manual_seed(0)
    parent = torch.randint(-1, 2, (tokens,), generator=draw)
    which = torch.randint(0, 2, (tokens,), generator=draw)
    child = torch.where(parent >= 0, 2 * parent + which, NOTHING)
    x = torch.zeros(tokens, WIDTH)
    has = parent >= 0
    x[has, parent[has]] = 1
    x[has, 2 + child[has]] = CHILD_SIZE
    x[~has, 6 + which[~has]] = 1
    pairs = tuple((PARENTS[i // 2], name) for i, name in enumerate(CHILDREN))
    document = torch.arange(DOCUMENTS).repeat_interleave(EACH)
    labels = Labels("planted", PARENTS, pairs, torch.arange(tokens), parent, child, document,
                    tuple(map(str, range(DOCUMENTS))))  # fmt: skip
    return Planted(x, labels, document % 2 == 1)


def dictionary(W_enc: Tensor, W_dec: Tensor) -> FlatDictionary:
    """ReLU latents without biases or offset."""
    nothing = torch.zeros(len(W_enc))
    return FlatDictionary(W_enc, nothing, W_dec, torch.zeros(WIDTH), ReLU()).eval()


@pytest.fixture
def honest() -> FlatDictionary:
    """A latent an axis: the parent's is on whatever the child is."""
    return dictionary(torch.eye(WIDTH), torch.eye(WIDTH))


@pytest.fixture
def absorbing() -> FlatDictionary:
    """The parent's latents (0, 1) are silent on cat and red (children 0 and 2), whose latents
    (2 and 4) write the parent too: ``e_parent + 0.5 e_child`` at length one."""
    W_enc, W_dec = torch.eye(WIDTH), torch.eye(WIDTH)
    for parent, child in ((0, 2), (1, 4)):
        W_enc[parent, child] = -4.0
        W_dec[child, parent], W_dec[child, child] = 1.0, CHILD_SIZE
        # The child's latent reads 0.5, and has to write a vector of length sqrt(1.25).
        length = W_dec[child].norm().item()
        W_dec[child] /= length
        W_enc[child] *= length / CHILD_SIZE
    return dictionary(W_enc, W_dec)
