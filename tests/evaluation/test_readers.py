import pytest
import torch

from monosemy.data.features.truth import Features, Samples
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import ReLU, TopK
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.evaluation.readers import DictionaryReader, Oracle, Reader, renumbered
from monosemy.foundation.errors import UserError
from monosemy.tensors.codes import SparseCode


@pytest.fixture
def samples():
    draw = torch.Generator().manual_seed(0)
    full = torch.rand(40, 5, generator=draw) * (torch.rand(40, 5, generator=draw) < 0.5)
    return Samples(full @ torch.eye(5, 6) + 3.0, SparseCode.from_dense(full))


@pytest.fixture
def features():
    none = torch.full((5,), -1)
    rates = torch.tensor([0.1, 0.5, 0.2, 0.5, 0.4])
    return Features("five", torch.eye(5, 6), none, none + 1, rates, none)


def test_renumbered_keeps_what_was_told(samples):
    told = torch.tensor([4, 1])
    assert torch.equal(renumbered(samples.truth, told).dense(), samples.truth.dense()[:, told])


def test_a_dictionary_reads_in_evaluation_mode(samples):
    dictionary = FlatDictionary.tied(torch.eye(6), torch.zeros(6), TopK(2)).train()
    reader = DictionaryReader(dictionary)
    code, written = reader.read(samples)
    assert not dictionary.training
    assert isinstance(reader, Reader)
    assert (code.counts == 2).all()
    torch.testing.assert_close(written, dictionary(samples.x))


def test_an_oracle_leaves_over_what_it_has_no_latent_for(samples, features):
    oracle = Oracle.of_most_frequent(features, 3, samples)
    assert oracle.told.tolist() == [1, 3, 4]
    code, written = oracle.read(samples)
    rest = samples.x - written
    assert torch.equal(code.dense(), samples.truth.dense()[:, [1, 3, 4]])
    torch.testing.assert_close(rest.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(rest[:, [1, 3, 4, 5]], torch.zeros(40, 4), atol=1e-5, rtol=0)


def test_an_oracle_of_more_latents_than_features_has_them_all(samples, features):
    assert Oracle.of_most_frequent(features, 99, samples).told.tolist() == [0, 1, 2, 3, 4]


def test_a_transcoder_is_refused():
    rows = torch.eye(3)
    transcoder = Transcoder(rows, torch.zeros(3), rows, torch.zeros(3), ReLU())
    with pytest.raises(
        UserError, match="a world has one place, and this dictionary writes another"
    ):
        DictionaryReader(transcoder)
