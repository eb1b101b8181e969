"""The largest eigenvalue of a Hessian, against dense ones."""

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.growth.curvature import lanczos, top_eigenvalue


def _draw():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("shift", [0.0, -3.0, -100.0])
def test_it_is_the_algebraically_largest(shift):
    m = torch.randn(30, 30, generator=_draw(), dtype=torch.float64)
    m = m + m.T + shift * torch.eye(30, dtype=torch.float64)
    found = lanczos(lambda v: m @ v, 30, _draw(), steps=30, tolerance=1e-9)
    assert found.value == pytest.approx(float(torch.linalg.eigvalsh(m)[-1]), rel=1e-6)


def test_the_residual_bounds_the_error():
    m = torch.diag(torch.linspace(0, 1, 200, dtype=torch.float64))
    found = lanczos(lambda v: m @ v, 200, _draw(), steps=12, tolerance=1e-12)
    eigenvalues = torch.linspace(0, 1, 200, dtype=torch.float64)
    assert float((eigenvalues - found.value).abs().min()) <= found.residual + 1e-12
    assert found.steps == 12


def test_a_small_network_against_its_dense_hessian():
    draw = _draw()
    x = torch.randn(20, 3, generator=draw, dtype=torch.float64)
    w = torch.randn(4, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    v = torch.randn(4, generator=draw, dtype=torch.float64, requires_grad=True)

    def of(w, v):
        return ((x @ w.T).tanh() @ v - 1).square().mean()

    found = top_eigenvalue(lambda: of(w, v), [w, v], draw, steps=16, tolerance=1e-9)
    dense = torch.autograd.functional.hessian(of, (w.detach(), v.detach()))
    rows = [
        torch.cat([dense[i][j].reshape(n, -1) for j in (0, 1)], 1) for i, n in ((0, 12), (1, 4))
    ]
    wanted = torch.linalg.eigvalsh(torch.cat(rows))[-1]
    assert found.value == pytest.approx(float(wanted), rel=1e-6)


def test_a_linear_loss_has_none_and_no_loss_is_refused():
    w = torch.ones(3, requires_grad=True)
    assert top_eigenvalue(lambda: w.sum(), [w], _draw()).value == 0.0
    other = torch.ones(3, requires_grad=True)
    with pytest.raises(UserError, match="does not depend on these parameters"):
        top_eigenvalue(lambda: other.square().sum(), [w], _draw())
