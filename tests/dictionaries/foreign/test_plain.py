import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign.plain import (
    in_one_type,
    is_positive,
    threshold_reasons,
    thresholds,
    unsayable,
)
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, ReLU, TopK


def flat(selection, **rules) -> FlatDictionary:
    return FlatDictionary(
        torch.eye(3), torch.zeros(3), torch.eye(3), torch.zeros(3), selection, **rules
    )


def test_every_rule_without_a_word_is_a_reason():
    plain = flat(ReLU(), centred=False)
    assert unsayable(plain, "this form") == []
    plain.prefixes = (1, 3)
    assert len(unsayable(plain, "this form")) == 1
    everything = flat(TopK(2), weighing="rescaled")
    assert [reason.split()[0] for reason in unsayable(everything, "this form")] == [
        "b_dec", "each", "the"
    ]  # fmt: skip


def test_thresholds_are_one_for_each_latent():
    batch = BatchTopK(2)
    batch.threshold.fill_(0.5)
    like = torch.zeros(3)
    assert thresholds(batch, like).tolist() == [0.5, 0.5, 0.5]
    assert thresholds(JumpReLU(torch.arange(3.0)), like).tolist() == [0, 1, 2]
    assert thresholds(ReLU(), like) is None
    assert threshold_reasons(batch, "this form") == []
    batch.threshold.fill_(-1)
    assert threshold_reasons(batch, "this form") == [
        "its batchtopk threshold is -1, so it was never set"
    ]


def test_one_type_holds_every_tensor():
    kinds = {"a": torch.zeros(1, dtype=torch.bfloat16), "b": torch.zeros(1, dtype=torch.float16)}
    assert {t.dtype for t in in_one_type(kinds).values()} == {torch.float32}
    assert in_one_type({}) == {}


@pytest.mark.parametrize("value", [1, 0.5])
def test_numbers_above_zero(value):
    assert is_positive(value)


@pytest.mark.parametrize("value", [0, -1, True, "1", float("inf"), float("nan"), None])
def test_all_else_is_none(value):
    assert not is_positive(value)
