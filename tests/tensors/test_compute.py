import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.tensors.compute import DTYPES, Compute


def test_a_purpose_has_one_stream_and_another_purpose_another():
    compute = Compute(seed=3)
    first = torch.randn(5, generator=compute.generator("a"))
    again = torch.randn(5, generator=compute.generator("a"))
    other = torch.randn(5, generator=compute.generator("b"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_another_seed_is_another_stream():
    one = torch.randn(5, generator=Compute(seed=0).generator("a"))
    two = torch.randn(5, generator=Compute(seed=1).generator("a"))
    assert not torch.equal(one, two)


def test_draws_leave_the_global_state_alone():
    before = torch.get_rng_state()
    torch.randn(5, generator=Compute().generator("a"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", sorted(DTYPES))
def test_dtypes_are_torch_dtypes_by_name(name):
    assert str(Compute(dtype=name).torch_dtype) == f"torch.{name}"


def test_an_unknown_dtype_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"unknown dtype 'float23'.*did you mean 'float32'"):
        Compute(dtype="float23")


def test_an_unknown_device_is_refused():
    with pytest.raises(UserError, match="unknown device 'gpu'; wanted cpu, cuda"):
        Compute(device="gpu")


def test_a_missing_accelerator_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="'cuda' was asked for, but torch sees no CUDA device"):
        Compute(device="cuda")
