import math

import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.selection import BatchTopK, build_selection
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation.errors import UserError
from monosemy.training.loop import advance_program
from monosemy.training.objectives import LearnDictionary, ObjectiveConfig
from monosemy.training.optim import OptimConfig, Optimiser
from monosemy.training.start import geometric_median, look, sample_directions


@pytest.fixture
def rows() -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(200, 5, generator=draw) * torch.tensor([1.0, 2, 3, 4, 5]) + 3


def summed_distance(rows: torch.Tensor, point: torch.Tensor) -> float:
    return float((rows.double() - point.double()).norm(dim=1).sum())


def test_the_median_of_points_on_a_line_is_the_middle_one():
    line = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [50.0, 0.0]])
    torch.testing.assert_close(
        geometric_median(line, rounds=2000), torch.tensor([2.0, 0.0]), atol=1e-2, rtol=0
    )


def test_the_median_of_a_square_is_its_middle():
    square = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]])
    torch.testing.assert_close(geometric_median(square), torch.tensor([2.0, 2.0]))


def test_the_median_of_a_triangle_sees_its_sides_under_120_degrees():
    """Fermat's point, by its own definition."""
    triangle = torch.tensor([[0.0, 0.0], [6.0, 0.0], [1.0, 5.0]], dtype=torch.float64)
    spokes = triangle - geometric_median(triangle, rounds=1000, tolerance=1e-12)
    unit = torch.nn.functional.normalize(spokes, dim=1)
    angles = [float(unit[i] @ unit[j]) for i, j in ((0, 1), (1, 2), (2, 0))]
    assert angles == pytest.approx([math.cos(math.radians(120))] * 3, abs=1e-4)


def test_no_other_point_has_a_smaller_summed_distance(rows):
    median = geometric_median(rows)
    best = summed_distance(rows, median)
    draw = torch.Generator().manual_seed(1)
    for size in (0.1, 1.0):
        for _ in range(20):
            elsewhere = median + size * torch.nn.functional.normalize(
                torch.randn(5, generator=draw), dim=0
            )
            assert summed_distance(rows, elsewhere) > best
    assert summed_distance(rows, rows.mean(0)) > best, "the mean is not the median"


def test_one_outlier_moves_the_mean_but_not_the_median(rows):
    before = geometric_median(rows), rows.mean(0)
    spoilt = torch.cat([rows, torch.full((1, 5), 1e5)])
    after = geometric_median(spoilt), spoilt.mean(0)
    assert float((after[0] - before[0]).norm()) < 0.1
    assert float((after[1] - before[1]).norm()) > 100


def test_the_median_moves_with_the_rows(rows):
    moved = 2 * rows + 7
    torch.testing.assert_close(
        geometric_median(moved), 2 * geometric_median(rows) + 7, rtol=1e-4, atol=1e-3
    )


def test_a_median_on_top_of_a_row_is_finite():
    stacked = torch.tensor([[1.0, 1.0]] * 9 + [[2.0, 3.0]])
    torch.testing.assert_close(geometric_median(stacked), torch.tensor([1.0, 1.0]))


def test_a_look_by_hand():
    rows = torch.tensor([[3.0, 0.0], [1.0, 0.0], [2.0, 1.0], [2.0, -1.0]])
    start = look(rows, "mean")
    assert start.centre.tolist() == [2.0, 0.0]
    # Every row is at distance 1 from the mean, and at a squared distance of 1.
    assert float(start.units.scale) == pytest.approx(math.sqrt(2))
    assert start.variance == pytest.approx(2.0)
    assert start.outlier_ratio == pytest.approx(2.0)


def test_the_centres(rows):
    assert torch.equal(look(rows, "mean").centre, rows.mean(0))
    assert torch.equal(look(rows, "zero").centre, torch.zeros(5))
    assert torch.equal(look(rows).centre, geometric_median(rows))


@pytest.mark.parametrize("centre", ["geometric_median", "mean", "zero"])
def test_the_scale_makes_the_average_length_the_root_of_the_width(rows, centre):
    start = look(rows, centre)
    lengths = ((rows - start.centre) * start.units.scale).norm(dim=1)
    assert float(lengths.mean()) == pytest.approx(math.sqrt(5), rel=1e-5)


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_units_do_not_matter_in_scaled_units(rows, factor):
    here, there = look(rows), look(rows * factor)
    assert float(there.units.scale) * factor == pytest.approx(float(here.units.scale), rel=1e-3)
    assert there.variance == pytest.approx(here.variance, rel=1e-3)
    assert there.outlier_ratio == pytest.approx(here.outlier_ratio, rel=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, 3.3, 1e6])
@pytest.mark.parametrize("count", [1, 7, 1000])
def test_rows_that_are_all_the_same_are_refused(value, count):
    """0.1 and 3.3 are not sums of few powers of two: their mean in float32 is not quite theirs."""
    with pytest.raises(UserError) as caught:
        look(torch.full((count, 8), value))
    assert str(caught.value) == (
        f"all {count:,} sampled activations are the same; a dictionary has nothing to learn there. "
        "Name another site"
    )


def test_rows_that_hardly_differ_are_not_refused():
    rows = torch.full((10, 8), 0.1)
    rows[0, 0] = 0.2
    assert math.isfinite(look(rows).units.scale)


def test_an_unknown_centre_is_refused(rows):
    with pytest.raises(UserError) as caught:
        look(rows, "median")
    assert str(caught.value).startswith(
        "unknown centre 'median'; known: geometric_median, mean, zero"
    )


def test_directions_are_unit_rows_that_point_at_the_data(rows):
    rows = rows - rows.mean(0)
    found = sample_directions(rows, 150, torch.Generator().manual_seed(0), noise=0.1)
    assert found.shape == (150, 5)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(150))
    cosines = found @ torch.nn.functional.normalize(rows, dim=1).T
    # Noise of a tenth turns a direction by an angle of at most asin(0.1).
    assert float(cosines.max(dim=1).values.min()) >= math.cos(math.asin(0.1)) - 1e-5
    assert len(cosines.argmax(dim=1).unique()) > 140, "rows are drawn without repeats"


def test_without_noise_they_are_the_rows_themselves_each_once(rows):
    found = sample_directions(rows, 200, torch.Generator().manual_seed(0), noise=0.0)
    unit = torch.nn.functional.normalize(rows, dim=1)
    torch.testing.assert_close(found[:, 0].sort().values, unit[:, 0].sort().values)


def test_more_directions_than_rows_are_told_apart_by_the_noise():
    rows = torch.eye(3)
    found = sample_directions(rows, 8, torch.Generator().manual_seed(0))
    assert len(found.unique(dim=0)) == 8
    counts = (found @ rows.T).argmax(dim=1).bincount()
    assert counts.tolist() == [3, 3, 2] or sorted(counts.tolist()) == [2, 3, 3]
    still = sample_directions(rows, 8, torch.Generator().manual_seed(0), noise=0.0)
    assert len(still.unique(dim=0)) == 3


def test_a_row_at_the_centre_gives_a_direction_all_the_same():
    found = sample_directions(torch.zeros(4, 6), 4, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))


def test_directions_depend_on_the_generator_alone(rows):
    draws = [sample_directions(rows, 9, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


# --- several places, and whitening ---------------------------------------------------------------


def test_places_side_by_side_are_looked_at_one_by_one(rows):
    both = torch.cat([rows, 100 * rows[:, :3]], 1)
    start = look(both, "mean", parts=(5, 3))
    alone = [look(part, "mean") for part in both.split((5, 3), 1)]
    scale = torch.cat([one.units.scale.expand(n) for one, n in zip(alone, (5, 3), strict=True)])
    torch.testing.assert_close(start.units.scale, scale.float())
    torch.testing.assert_close(start.centre, torch.cat([one.centre for one in alone]))
    assert start.variance == pytest.approx(sum(one.variance for one in alone), rel=1e-5)
    assert start.outlier_ratio == max(one.outlier_ratio for one in alone)


def test_what_is_only_read_is_centred_and_does_not_count_in_the_variance(rows):
    start = look(torch.cat([rows, 7 * rows[:, :3]], 1), "mean", parts=(5, 3), read=5)
    assert torch.equal(start.units.origin[:5], rows.mean(0))
    assert torch.equal(start.units.origin[5:], torch.zeros(3))
    assert start.variance == pytest.approx(look(7 * rows[:, :3], "mean").variance, rel=1e-5)


def test_whitened_activations_are_uncorrelated_and_of_spread_one():
    rows = torch.randn(500, 5, generator=torch.Generator().manual_seed(0)).double()
    rows = rows @ torch.randn(5, 5, generator=torch.Generator().manual_seed(1)).double() + 3
    start = look(rows, "mean", whiten=True)
    torch.testing.assert_close(torch.cov(start.units.apply(rows).T), torch.eye(5).double())
    torch.testing.assert_close(start.units.scale @ start.units.inverse, torch.eye(5).double())
    torch.testing.assert_close(start.units.scale, start.units.scale.T)
    torch.testing.assert_close(start.offset, start.units.apply(rows).mean(0))
    assert start.variance == pytest.approx(5, rel=0.01)
    plain = look(rows, "mean").units
    assert not torch.allclose(torch.cov(plain.apply(rows).T), torch.eye(5).double(), atol=0.1)


def test_whitening_does_not_blow_up_what_hardly_varies():
    rows = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)).double()
    rows[:, 2] = 1e-9 * rows[:, 2]
    start = look(rows, "mean", whiten=True)
    roots = torch.linalg.eigvalsh(start.units.scale)
    assert float(roots.max()) == pytest.approx(1 / math.sqrt(1e-3 * 2 / 3), rel=0.1)


WIDTH, LATENTS, KINDS = 5, 12, ["relu", "topk", "batchtopk", "jumprelu", "gated"]


def learned(kind, start, sides=False, **config):
    """A dictionary that learned for some steps, and its program."""
    draw = torch.Generator().manual_seed(2)
    W = torch.nn.functional.normalize(torch.randn(LATENTS, WIDTH, generator=draw), dim=1).double()
    if kind == "gated":
        dictionary = GatedDictionary.tied(W, start.offset)
    elif sides:
        parts = W, torch.zeros(LATENTS), W[:, :3].clone(), start.offset[WIDTH:]
        skip = torch.randn(3, WIDTH, generator=draw) if sides == "skip" else None
        dictionary = Transcoder(*parts, build_selection(kind, 3, LATENTS), skip)
    else:
        dictionary = FlatDictionary.tied(W, start.offset, build_selection(kind, 3, LATENTS))
    config = {"l1": 0.01} | config if kind in ("relu", "gated") else config
    program = LearnDictionary(dictionary.double().train(), start, ObjectiveConfig(**config), 20)
    return program, Optimiser(dictionary.parameters(), OptimConfig(0.02), 20)


def twenty_steps(program, optimiser, rows):
    for step in range(20):
        advance_program(program, optimiser, rows[step::20].contiguous(), step)
    program.module.eval()
    selection = program.module.selection
    if isinstance(selection, BatchTopK):  # it lies on an entry of the last batch
        selection.threshold.mul_(0.999)


@pytest.mark.parametrize("decoder", ["unit", "free"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_learned_in_whitened_units_folds_back_exactly(kind, decoder):
    rows = torch.randn(800, WIDTH, generator=torch.Generator().manual_seed(0)).double()
    rows = rows @ torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(1)).double() + 3
    start = look(rows, whiten=True)
    program, optimiser = learned(kind, start, decoder=decoder)
    twenty_steps(program, optimiser, rows)
    with torch.no_grad():
        z = start.units.apply(rows)
        expected = program.module(z) @ start.units.inverse
        active = program.module.encode(z) > 0
        result = program.result()
        torch.testing.assert_close(result(rows), expected, rtol=1e-10, atol=1e-10)
        assert torch.equal(result.encode(rows) > 0, active)
    assert 0 < float(active.double().mean()) < 1
    lengths = result.W_dec.detach().norm(dim=1)
    if not result.selection.compares:
        torch.testing.assert_close(lengths, torch.ones(LATENTS).double())


@pytest.mark.parametrize("sides", ["plain", "skip"])
@pytest.mark.parametrize("kind", KINDS[:4])
def test_a_transcoder_folds_the_units_of_both_places_back_exactly(kind, sides):
    rows = torch.randn(800, WIDTH + 3, generator=torch.Generator().manual_seed(0)).double()
    rows = rows * torch.linspace(1, 9, WIDTH + 3) + 3
    start = look(rows, parts=(WIDTH, 3), read=WIDTH)
    program, optimiser = learned(kind, start, sides)
    twenty_steps(program, optimiser, rows)
    with torch.no_grad():
        z = start.units.apply(rows)[:, :WIDTH]
        expected = program.module(z) * start.units.inverse[WIDTH:]
        result = program.result()
        torch.testing.assert_close(result(rows[:, :WIDTH]), expected, rtol=1e-10, atol=1e-10)
        assert not torch.allclose(result(rows[:, :WIDTH] + 0.1), expected)
