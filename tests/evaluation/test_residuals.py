"""What is left over: of parents alone, in units of the parent, in halves that share nothing."""

import pytest
import torch
from torch.nn.functional import normalize

from monosemy.dictionaries.baselines import neurons
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.hierarchical import HierarchicalDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.dictionaries.selection import BatchTopK, TopK
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.evaluation.residuals import (
    PIECE,
    check_autoencodes,
    gather,
    left_over,
    parents_alone,
    parents_of,
    survey,
)
from monosemy.foundation.errors import UserError

WIDTH, PARENTS, CHILDREN, RANK = 8, 6, 3, 2


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=draw(seed))


def flat(selection=None):
    rows = normalize(normal(PARENTS, WIDTH), dim=1)
    return FlatDictionary(rows.clone(), torch.zeros(PARENTS), rows, normal(WIDTH, seed=1) / 9,
                          selection or TopK(2))  # fmt: skip


def local():
    V = torch.linalg.qr(normal(2, WIDTH, RANK, seed=2))[0].transpose(1, 2).contiguous()
    C = normalize(normal(PARENTS, CHILDREN, RANK, seed=3), dim=2)
    routes = torch.tensor([0, 1, 0, 1, 0, -1])
    return LocalDictionary(flat(), V, routes, C, floor=0.1)


class Rows:
    """A source of rows that are there."""

    site, dtype, waits_for, fingerprint = "here", torch.float32, "input", "rows"
    contexts = None

    def __init__(self, x):
        self.x, self.tokens, self.width = x, len(x), x.shape[1]

    def rows(self, start, stop):
        return self.x[start:stop]


def test_a_flat_dictionary_leaves_over_what_it_does_not_reconstruct():
    dictionary, x = flat(), normal(20, WIDTH, seed=4)
    assert parents_alone(dictionary) is dictionary
    code, rest = left_over(dictionary, x)
    torch.testing.assert_close(rest, x - dictionary(x))
    torch.testing.assert_close(code.dense(), dictionary.encode(x))


def test_activations_are_in_units_of_rows_of_length_one():
    dictionary, x = flat(), normal(20, WIDTH, seed=4)
    code, rest = left_over(dictionary, x)
    with torch.no_grad():
        dictionary.W_enc.div_(4)
        dictionary.W_dec.mul_(4)
    after, same = left_over(dictionary, x)
    torch.testing.assert_close(after.values, code.values)
    torch.testing.assert_close(same, rest, atol=1e-5, rtol=1e-5)


def test_children_say_nothing_about_what_is_left_over():
    dictionary, x = local(), normal(40, WIDTH, seed=4)
    assert int(dictionary.code(x).columns(PARENTS, dictionary.latents).counts.sum()) > 0
    code, rest = left_over(parents_alone(dictionary), x)
    assert int(code.indices.max()) < PARENTS == parents_of(dictionary)
    torch.testing.assert_close(rest, x - dictionary.trunk.decode(code.columns(0, PARENTS)))
    with torch.no_grad():
        dictionary.C.copy_(dictionary.C.flip(0))
    torch.testing.assert_close(left_over(parents_alone(dictionary), x)[1], rest)


def test_parents_of_a_hierarchical_dictionary_are_its_trunk():
    trunk = flat()
    dictionary = HierarchicalDictionary.random(trunk, RANK, CHILDREN, draw(5))
    assert parents_alone(dictionary) is trunk
    assert parents_of(dictionary) == PARENTS


def test_a_survey_counts_who_is_active_how_much():
    x = torch.zeros(100, 4)
    x[:, 1], x[::2, 2], x[0, 3] = 2.0, 1.0, 5.0
    found = survey(neurons(4, 4), Rows(x))
    assert found.tokens == 100
    assert found.counts.tolist() == [0, 100, 50, 1]
    assert found.energy.tolist() == [0.0, 400.0, 50.0, 25.0]
    assert found.most(2).tolist() == [1, 2]
    assert found.most(9).tolist() == [1, 2, 3], "none that is silent"
    assert found.least == 1.0


def test_halves_have_no_sample_in_common_and_draw_from_everywhere():
    tokens = 16 * PIECE
    x = torch.zeros(tokens, 3)
    x[:, 0] = 2.0
    # What is left over says which row it was.
    x[:, 2] = torch.arange(tokens) / tokens * 1e-3
    source = Rows(x)
    dictionary = FlatDictionary(torch.eye(2, 3), torch.zeros(2), torch.eye(2, 3), torch.zeros(3),
                                BatchTopK(1))  # fmt: skip
    dictionary.eval().selection.threshold.fill_(1.0)
    looked = survey(dictionary, source)
    banks = gather(dictionary, source, looked, looked.most(2), 64, draw())
    assert [bank.rows.shape for bank in banks] == [(1, 64, 3)] * 2
    where = [(bank.of(0)[:, 2] * 2 * 1e3 * tokens).round().long() for bank in banks]
    stretches = [set((rows // PIECE).tolist()) for rows in where]
    assert not stretches[0] & stretches[1]
    assert min(map(len, stretches)) >= 6, "of eight stretches each"
    assert int(where[0].min()) < tokens / 4 < 3 * tokens / 4 < int(where[0].max())
    assert torch.equal(banks[0].energy, looked.energy[:1])


def test_a_parent_that_is_hardly_there_counts_as_if_it_were():
    x = torch.zeros(2000, 2)
    x[:, 0], x[:, 1] = 1.0, 0.5
    x[1::100, 0] = 1e-4
    dictionary = FlatDictionary(torch.eye(1, 2), torch.zeros(1), torch.eye(1, 2), torch.zeros(2),
                                TopK(1))  # fmt: skip
    source = Rows(x)
    looked = survey(dictionary, source)
    banks = gather(dictionary, source, looked, looked.most(1), 1000, draw())
    assert looked.least == 1.0
    assert max(float(bank.rows.abs().max()) for bank in banks) == 0.5


def test_what_writes_elsewhere_is_refused():
    check_autoencodes(flat())
    weights = normal(PARENTS, WIDTH), torch.zeros(PARENTS), normal(PARENTS, 5), torch.zeros(5)
    with pytest.raises(UserError, match="writes another place than it reads, so its latents"):
        check_autoencodes(Transcoder(*weights, TopK(2)))
