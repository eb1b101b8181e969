import numpy as np
import pytest
import torch

from monosemy.tensors import plain
from monosemy.tensors.compiled import tiles
from monosemy.tensors.compiled.tiles import ROUNDING, Encoder


def _encoder(tokens=50, width=48, latents=300, propose=False, dtype=torch.float32):
    draw = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(*shape, generator=draw, dtype=dtype)  # noqa: E731
    x, W, b = normal(tokens, width), normal(latents, width), normal(latents)
    return (x, W, b), Encoder.of(x, W, b, propose)


def _table(encoder, start, stop):
    """Tiles put together, with the bias added; each entry counted."""
    table = torch.zeros(len(encoder.x), len(encoder.W), dtype=torch.float64)
    times = torch.zeros_like(table)
    for token, first, tile in encoder.tiles(start, stop):
        part = torch.from_numpy(tile.copy())
        part = part.view(torch.bfloat16) if encoder.proposing else part
        here = slice(token, token + len(part)), slice(first, first + part.shape[1])
        table[here] = part.double() + torch.from_numpy(encoder.b[here[1]]).double()
        times[here] += 1
    return table, times


@pytest.mark.parametrize(("entries", "rows"), [(1 << 21, 1024), (640, 7), (1, 1), (100_000, 49)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiles_cover_every_entry_once(entries, rows, dtype, monkeypatch):
    monkeypatch.setattr(tiles, "_ENTRIES", entries)
    monkeypatch.setattr(tiles, "_ROWS", rows)
    parts, encoder = _encoder(dtype=dtype)
    table, times = _table(encoder, 3, 47)
    assert torch.equal(times[3:47], torch.ones(44, 300).double())
    assert times.sum() == 44 * 300
    pre = plain.pre_activations(*(part.double() for part in parts))
    torch.testing.assert_close(table[3:47], pre[3:47], rtol=1e-5, atol=1e-5)
    assert not encoder.margins.any()


def test_latents_come_outside_so_that_they_ascend_within_a_token(monkeypatch):
    monkeypatch.setattr(tiles, "_ENTRIES", 640)
    monkeypatch.setattr(tiles, "_ROWS", 7)
    seen = {}
    for token, first, _ in _encoder()[1].tiles(0, 50):
        assert first >= seen.get(token, 0)
        seen[token] = first
    assert len(seen) == 8


def test_rounding_is_that_of_torch():
    edges = [0.0, -0.0, 1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-9, -1 - 2**-8, 1e-40, 3e38, 3.4e38]
    edges += [torch.inf, -torch.inf, torch.nan]
    rows = torch.randn(100, 40, generator=torch.Generator().manual_seed(0))
    rows *= torch.logspace(-30, 30, 40)
    rows.view(-1)[: len(edges)] = torch.tensor(edges)
    low, sizes = tiles._rounded(rows, "test")
    assert torch.equal(low.nan_to_num(7.0), rows.bfloat16().nan_to_num(7.0))
    assert torch.equal(low.isnan(), rows.isnan())
    wanted = rows.double().pow(4).sum(1).pow(0.25)
    torch.testing.assert_close(torch.from_numpy(sizes)[1:].double(), wanted[1:], rtol=1e-6, atol=0)
    assert np.isnan(sizes[0])


@pytest.mark.parametrize("width", [1, 48, 700])
def test_no_proposal_is_further_off_than_its_margin(width):
    parts, encoder = _encoder(width=width, propose=True)
    assert encoder.proposing
    truth = plain.pre_activations(*(part.double() for part in parts))
    error = (_table(encoder, 0, 50)[0] - truth).abs()
    margin = torch.from_numpy(encoder.margins)[:, None] + ROUNDING * truth.abs()
    assert (error <= margin).all()
    assert (error > margin / 30).any(), "the margin says something"


def test_the_margin_is_the_formula():
    (x, W, b), encoder = _encoder(propose=True)
    fourth = [rows.double().pow(4).sum(1).pow(0.25) for rows in (x, W)]
    wanted = 6 * 2**0.5 * 2**-8 * fourth[0] * fourth[1].max() + 2**-8 * b.abs().max()
    torch.testing.assert_close(
        torch.from_numpy(encoder.margins).double(), wanted, rtol=1e-5, atol=0
    )


def test_only_finite_float32_is_proposed_for():
    """oneDNN's bfloat16 products of odd width carry a NaN over to the token before."""
    assert not _encoder(propose=True, dtype=torch.float64)[1].proposing
    for place in range(3):
        for number in (torch.nan, torch.inf, -torch.inf):
            parts = [part.clone() for part in _encoder()[0]]
            assert Encoder.of(*parts, True).proposing
            parts[place].view(-1)[17] = number
            assert not Encoder.of(*parts, True).proposing
    assert not Encoder.of(torch.zeros(0, 3), torch.ones(2, 3), torch.ones(2), True).proposing
