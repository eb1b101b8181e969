"""Who sets the weights of penalties, and whether L0 lands where it was asked to."""

import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary, random_unit_rows
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.layer_selections import LayerSelections
from monosemy.dictionaries.penalties import QUADRATIC, STEP, TANH, Measure
from monosemy.dictionaries.selection import JumpReLU, ReLU, build_selection
from monosemy.training.loop import advance_program
from monosemy.training.objectives import LearnDictionary, ObjectiveConfig
from monosemy.training.optim import OptimConfig, Optimiser
from monosemy.training.sparsity import Sparsity, single_selections
from monosemy.training.start import look
from monosemy.training.threshold import settle_threshold

WIDTH, LATENTS, STEPS = 16, 64, 250


def made(kind="relu", latents=LATENTS):
    draw = torch.Generator().manual_seed(0)
    return FlatDictionary.random(WIDTH, latents, build_selection(kind, 4, latents), draw).train()


def weights_of(kind="relu", l1=0.0, l0=0.0, form=STEP, target=None, warmup=0, free=False):
    dictionary = made(kind)
    measure = Measure(form, target=target or 1.0)
    sparsity = Sparsity(dictionary, l1, l0, measure, target, warmup, 100, free)
    return sparsity, dictionary


def test_given_weights_climb_and_stay():
    sparsity, _ = weights_of(l1=0.4, l0=0.2, warmup=4)
    seen = [sparsity.at(step, torch.tensor(9.0)) for step in range(6)]
    assert [weights["l1"] for weights, _ in seen] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    assert [weights["l0"] for weights, _ in seen] == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2, 0.2])
    assert all(readings == {} for _, readings in seen)


@pytest.mark.parametrize(
    ("given", "controlled", "first", "signed"),
    [
        ({"kind": "relu"}, "l1", 0.1, False),
        ({"kind": "jumprelu"}, "l0", 0.1 / 8, True),
        ({"kind": "relu", "form": TANH}, "l0", 0.1 / 8, False),
        ({"kind": "jumprelu", "form": TANH}, "l0", 0.1 / 8, False),
        ({"kind": "jumprelu", "l1": 0.7}, "l1", 0.7, False),
        ({"kind": "jumprelu", "l0": 0.7}, "l0", 0.7, True),
        ({"kind": "relu", "l1": 0.7}, "l1", 0.7, False),
    ],
)
def test_with_a_target_one_weight_is_steered(given, controlled, first, signed):
    sparsity, _ = weights_of(**given, target=8.0)
    assert sparsity.controlled == controlled
    assert sparsity.controller.signed == signed
    weights, readings = sparsity.at(0, torch.tensor(8.0))
    assert float(weights[controlled]) == pytest.approx(first)
    for step in range(1, 100):
        weights, readings = sparsity.at(step, torch.tensor(60.0))
    assert float(weights[controlled]) > 5 * first
    assert readings == {f"{controlled}_weight": weights[controlled]}
    other = {"l1": "l0", "l0": "l1"}[controlled]
    assert weights[other] == 0


def test_thresholds_are_lifted_to_eight_times_the_target_of_spread_one():
    _, lifted = weights_of("jumprelu", target=2.0)
    # 8 · 2 of 64 latents: a quarter of a normal distribution lies above 0.6745.
    assert lifted.selection.threshold.tolist() == pytest.approx([0.6745] * LATENTS, abs=1e-4)
    _, alone = weights_of("jumprelu", l0=0.1)
    assert alone.selection.threshold.tolist() == pytest.approx([0.1] * LATENTS)
    _, dense = weights_of("jumprelu", target=50.0)
    assert dense.selection.threshold.tolist() == pytest.approx([0.1] * LATENTS), "never lowered"


def test_the_dictionary_is_told_how_to_measure_and_forgets_it_in_the_end():
    sparsity, dictionary = weights_of("jumprelu", form=QUADRATIC, free=True)
    measure = dictionary.selection.measure
    assert measure.form == QUADRATIC
    torch.testing.assert_close(measure.lengths(torch.tensor([3])), torch.ones(1))
    sparsity.finish()
    assert dictionary.selection.measure.form == STEP
    assert dictionary.selection.measure.lengths is None
    assert weights_of()[1].selection.measure.lengths is None, "rows of length one weigh nothing"


def test_layers_share_a_target():
    layers = [ReLU(), ReLU()]
    together = LayerSelections(layers, (3, 5))
    assert single_selections(together) == layers
    assert single_selections(layers[0]) == [layers[0]]


def test_a_steered_run_goes_on_where_it_stopped():
    first, second = weights_of(target=8.0)[0], weights_of(target=8.0)[0]
    for step in range(30):
        first.at(step, torch.tensor(20.0))
    second.load_state_dict(first.state_dict())
    a, b = (one.at(30, torch.tensor(20.0))[0]["l1"] for one in (first, second))
    assert torch.equal(a, b)
    assert weights_of(l1=1.0)[0].state_dict() == {}


# --- landing ------------------------------------------------------------------------------------


def batches():
    """Sums of few of 48 directions, with an offset."""
    draw = torch.Generator().manual_seed(5)
    directions = random_unit_rows(48, WIDTH, draw)
    while True:
        amounts = torch.rand(128, 48, generator=draw)
        yield amounts * (amounts > 0.85) @ directions + 0.3


def landed(kind, steered=True, **config):
    """Mean L0 at the end, of batches that were not learned from."""
    stream = batches()
    start = look(next(stream))
    rows = random_unit_rows(LATENTS, WIDTH, torch.Generator().manual_seed(0))
    if kind == "gated":
        dictionary = GatedDictionary.tied(rows, start.offset)
    else:
        dictionary = FlatDictionary.tied(rows, start.offset, build_selection(kind, 4, LATENTS))
    program = LearnDictionary(dictionary.train(), start, ObjectiveConfig(**config), STEPS)
    if not steered:
        program.sparsity.controller.see = lambda l0: None
    optimiser = Optimiser(dictionary.parameters(), OptimConfig(learning_rate=5e-3), STEPS)
    for step in range(STEPS):
        advance_program(program, optimiser, next(stream), step)
    with torch.no_grad():
        sample, held = (torch.cat([next(stream) for _ in range(8)]) for _ in range(2))
        settle_threshold(program.result(), sample, config["target_l0"])
        return float((dictionary.code(held).values > 0).sum() / len(held))


@pytest.mark.parametrize(
    ("kind", "target"),
    [("relu", 8.0), ("gated", 8.0), ("jumprelu", 5.0)],
)
def test_l0_lands_within_five_per_cent_of_the_target(kind, target):
    assert landed(kind, target_l0=target, aux=0.0) == pytest.approx(target, rel=0.05)


def test_it_lands_with_a_soft_count_free_rows_and_prefixes_too():
    config = {"l0_form": TANH, "decoder": "free", "prefixes_sampled": 3}
    assert landed("relu", target_l0=5.0, **config) == pytest.approx(5.0, rel=0.05)


def test_the_quadratic_lands_too():
    l0 = landed("jumprelu", target_l0=6.0, l0=1.0, l0_form=QUADRATIC)
    assert l0 == pytest.approx(6.0, rel=0.05)


def test_unsteered_it_lands_elsewhere():
    assert landed("relu", steered=False, target_l0=3.0) > 1.5 * 3


def test_a_jumprelu_keeps_its_thresholds_in_float32_at_least():
    selection = JumpReLU(torch.full((3,), 0.1))
    for dtype, kept in (
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float64, torch.float64),
    ):
        moved = JumpReLU(torch.full((3,), 0.1)).to(dtype)
        assert moved.threshold.dtype == kept
        assert torch.equal(moved.threshold.float(), selection.threshold)
