import pytest
import torch

from monosemy.dictionaries.units import Units, fold_decoder, fold_encoder, times

WIDTH, LATENTS = 4, 7


def numbers(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def whitening():
    axes = torch.linalg.qr(numbers(WIDTH, WIDTH)).Q
    roots = torch.linspace(0.5, 2, WIDTH).double()
    return Units((axes * roots) @ axes.T, (axes / roots) @ axes.T, numbers(WIDTH, seed=1))


UNITS = {
    "factor": Units.scaled(torch.tensor(0.4).double()),
    "factor about an origin": Units.scaled(torch.tensor(0.4).double(), numbers(WIDTH, seed=1)),
    "diagonal": Units.scaled(torch.linspace(0.5, 2, WIDTH).double(), numbers(WIDTH, seed=1)),
    "whitening": whitening(),
}


@pytest.fixture(params=list(UNITS))
def units(request):
    return UNITS[request.param]


def origin(units):
    return torch.zeros(WIDTH).double() if units.origin is None else units.origin


def test_by_hand():
    units = Units.scaled(torch.tensor([2.0, 10.0]), torch.tensor([1.0, -1.0]))
    assert units.apply(torch.tensor([[3.0, 0.0]])).tolist() == [[4.0, 10.0]]
    assert Units.scaled(3.0).apply(torch.tensor([[1.0, 2.0]])).tolist() == [[3.0, 6.0]]


def test_the_inverse_takes_back(units):
    rows = numbers(9, WIDTH, seed=2)
    torch.testing.assert_close(times(units.apply(rows), units.inverse) + origin(units), rows)


def test_a_folded_encoder_reads_from_activations_what_it_read_in_its_units(units):
    W, b, rows = (
        numbers(LATENTS, WIDTH, seed=3),
        numbers(LATENTS, seed=4),
        numbers(9, WIDTH, seed=2),
    )
    length = torch.linspace(0.3, 3, LATENTS).double()
    wanted = (units.apply(rows) @ W.T + b) * length
    fold_encoder(W, b, units, length)
    torch.testing.assert_close(rows @ W.T + b, wanted)


def test_a_folded_decoder_writes_in_activations_what_it_wrote_in_its_units(units):
    W, b, code = (
        numbers(LATENTS, WIDTH, seed=3),
        numbers(WIDTH, seed=4),
        numbers(9, LATENTS, seed=5),
    )
    wanted = times(code @ W + b, units.inverse) + origin(units)
    fold_decoder(W, b, units)
    torch.testing.assert_close(code @ W + b, wanted)


def test_a_part_is_what_it_is_within_the_whole():
    rows, columns = numbers(9, WIDTH, seed=2), slice(1, 3)
    for name in ("factor", "factor about an origin", "diagonal"):
        part = UNITS[name].part(columns)
        torch.testing.assert_close(
            part.apply(rows[:, columns]), UNITS[name].apply(rows)[:, columns]
        )
        torch.testing.assert_close(part.scale * part.inverse, torch.ones_like(part.scale))


def test_whitening_has_no_parts():
    with pytest.raises(ValueError, match="whitening mixes all numbers, so it has no parts"):
        UNITS["whitening"].part(slice(0, 2))


def test_units_follow_a_tensors_type(units):
    there = units.to(torch.zeros(1, dtype=torch.float32))
    assert {there.scale.dtype, there.inverse.dtype} == {torch.float32}
    assert there.origin is None or there.origin.dtype == torch.float32
