"""BatchTopK's k beside the thresholds that it became."""

import pytest
import torch

from monosemy.dictionaries.foreign import trained_k
from monosemy.dictionaries.selection import JumpReLU


def test_it_is_kept_of_batchtopk_only(named):
    assert trained_k.kept(named("batchtopk")) == {trained_k.KEY: 3}
    assert trained_k.kept(named("topk")) == trained_k.kept(named("jumprelu")) == {}


@pytest.mark.parametrize(
    ("k", "last", "kind"),
    [(3, 0.8, "batchtopk"), (3, 0.9, "jumprelu"), (11, 0.8, "jumprelu"), (None, 0.8, "jumprelu")],
)
def test_it_is_taken_up_where_it_can_be_meant(named, rows_for, k, last, kind):
    dictionary = named("jumprelu")
    least = torch.full((10,), 0.8)
    least[-1] = last
    dictionary.selection = JumpReLU(least)
    x = rows_for(dictionary)
    before = dictionary.eval().encode(x)
    trained_k.recall(dictionary, {"metadata": {trained_k.KEY: k}})
    assert dictionary.selection.kind == kind
    assert torch.equal(dictionary.eval().encode(x), before)
