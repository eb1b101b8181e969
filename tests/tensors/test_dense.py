"""When dense products are chosen; `test_summing.py` compares them with the plain twin."""

import pytest
import torch

from monosemy.tensors import dense, kernels
from monosemy.tensors.codes import SparseCode


def _code(tokens, latents, entries):
    full = torch.zeros(tokens * latents)
    full[:entries] = 1.0
    return SparseCode.from_dense(full.view(tokens, latents))


def test_it_is_chosen_beyond_the_crossover():
    limit = int(dense.CROSSOVER * 60 * 100)
    assert not dense.is_faster(_code(60, 100, limit))
    assert dense.is_faster(_code(60, 100, limit + 1))
    assert not dense.is_faster(_code(60, 100, 0))
    assert not dense.is_faster(_code(0, 100, 0))


@pytest.mark.parametrize(("entries", "used"), [(600, True), (30, False)])
def test_kernels_follow_the_choice(entries, used, monkeypatch):
    called = []
    for name in ("product", "dots", "add_rows", "residual"):
        real = getattr(dense, name)
        monkeypatch.setattr(dense, name, lambda *a, f=real, n=name: (called.append(n), f(*a))[1])
    code = _code(20, 40, entries)
    values = code.values.clone().requires_grad_()
    W = torch.ones(40, 5, requires_grad=True)
    kernels.decode(code.with_values(values), W, torch.zeros(5)).sum().backward()
    kernels.squared_error(code.with_values(values), W, torch.zeros(5), torch.ones(20, 5))
    assert set(called) == ({"product", "dots", "add_rows", "residual"} if used else set())
