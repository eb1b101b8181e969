import numpy as np
import torch

from monosemy.evaluation.sums import DocumentSums, PieceSums, positive


def test_terms_are_summed_by_document():
    sums = DocumentSums(3)
    sums.add(torch.tensor([0, 2, 0]), {"a": torch.tensor([1.0, 2.0, 4.0])})
    sums.add(torch.tensor([2]), {"a": torch.tensor([8]), "b": torch.tensor([[1.0, 2.0]])})
    found = sums.sums()
    assert found["a"].tolist() == [5, 0, 10]
    assert found["b"].tolist() == [[0, 0], [0, 0], [1, 2]]
    assert {array.dtype for array in found.values()} == {np.dtype("float64")}


def test_sums_stay_exact_where_float32_would_stop():
    sums = DocumentSums(1)
    sums.add(torch.tensor([0]), {"a": torch.tensor([2.0**25])})
    for _ in range(3):
        sums.add(torch.tensor([0]), {"a": torch.tensor([1.0])})
    assert sums.sums()["a"][0] == 2**25 + 3
    assert torch.tensor(2.0**25) + 1 == 2**25


def test_denominators_that_mean_nothing_are_not_numbers():
    assert positive(np.array([2.0, 0.0, -1.0])).tolist()[0] == 2.0
    assert np.isnan(positive(np.array([2.0, 0.0, -1.0])))[1:].all()


def test_pieces_of_equal_size_whatever_came_together():
    rows = torch.arange(23.0)
    sums = PieceSums(4)
    for start, stop in ((0, 1), (1, 1), (1, 9), (9, 11), (11, 12), (12, 23)):
        part = rows[start:stop]
        sums.add({"one": part, "two": part[:, None].expand(-1, 3)})
    found = sums.by_block(8)
    wanted = [float(part.sum()) for part in rows.split(8)]
    assert found["one"].tolist() == wanted
    assert found["two"][:, 2].tolist() == wanted
    assert sums.by_block(4)["one"].tolist() == [float(part.sum()) for part in rows.split(4)]
