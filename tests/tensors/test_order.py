import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monosemy.tensors.codes import SparseCode
from monosemy.tensors.order import by_latent


@settings(max_examples=60, deadline=None)
@given(indices=st.lists(st.integers(0, 9), max_size=80), more=st.integers(0, 5))
def test_it_is_the_stable_sort(indices, more):
    given = np.array(indices, np.int64)
    bounds, order = by_latent(given, 10 + more)
    assert order.tolist() == np.argsort(given, kind="stable").tolist()
    counts = np.bincount(given, minlength=10 + more)
    assert bounds.tolist() == np.concatenate([[0], counts.cumsum()]).tolist()


def test_what_a_code_derives_from_it_comes_along_with_other_values():
    code = SparseCode.from_dense(torch.tensor([[0.0, 2.0], [3.0, 4.0]]))
    bounds, order = code.by_latent
    other = code.with_values(-code.values)
    assert other.by_latent[0] is bounds
    assert other.by_latent[1] is order
    assert order.tolist() == [1, 0, 2]
