import torch

from monosemy.dictionaries.affine import affine_map


def _rows(tokens: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, 6, generator=draw, dtype=torch.float64) + torch.arange(6.0)
    x[:, 5] = x[:, 4]  # a direction that the data does not have
    return x, torch.randn(6, 4, generator=draw, dtype=torch.float64)


def test_an_affine_relation_is_found_exactly():
    x, A = _rows()
    y = x @ A + 3.0
    found = affine_map(x, y)
    torch.testing.assert_close(found(x), y)
    assert found.code(x).counts.sum() == 0, "no latent is active"


def test_no_other_affine_map_leaves_less():
    x, A = _rows()
    y = (x @ A).relu()
    best = affine_map(x, y)
    error = (best(x) - y).square().sum()
    with torch.no_grad():
        for parameter in (best.W_skip, best.b_dec):
            for step in (0.01, -0.01):
                parameter.add_(step)
                assert (best(x) - y).square().sum() > error
                parameter.sub_(step)
