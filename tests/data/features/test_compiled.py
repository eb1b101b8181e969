import torch

from monosemy.data.features import compiled
from monosemy.data.features.compiled import draw
from monosemy.tensors import workers


def test_threads_do_not_change_a_number(law, correlated, monkeypatch):
    monkeypatch.setattr(compiled, "LEAST_ALONE", 10)
    for one in (law, correlated):
        codes = []
        for threads in (1, 2, 3):
            monkeypatch.setattr(workers, "_threads", lambda threads=threads: threads)
            codes.append(draw(one, 700, torch.Generator().manual_seed(0)))
        for other in codes[1:]:
            assert torch.equal(codes[0].offsets, other.offsets)
            assert torch.equal(codes[0].indices, other.indices)
            assert torch.equal(codes[0].values, other.values)


def test_fewer_samples_are_the_first_of_more(law):
    more = draw(law, 500, torch.Generator().manual_seed(0))
    fewer = draw(law, 100, torch.Generator().manual_seed(0))
    assert torch.equal(more[:100].dense(), fewer.dense())
