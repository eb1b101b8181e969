"""Matching pursuit and one step of LISTA: what looking at the residual buys."""

import copy
from itertools import product

import pytest
import torch
from torch.nn.functional import normalize

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.refined import MatchingPursuit, Pursuit, RefinedDictionary
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, ReLU, TopK
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import UserError
from monosemy.tensors import plain


def numbers(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


# --- matching pursuit -----------------------------------------------------------------------------


def pursuit(k, threshold=0.0, duplicates=True, latents=50, width=12):
    directions = normalize(numbers(latents, width), dim=1)
    return MatchingPursuit(directions, numbers(width, seed=1), k, threshold, duplicates)


def test_by_hand():
    """The diagonal fits best, then the first axis takes what is left of it."""
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5**0.5, 0.5**0.5]])
    x = torch.tensor([[3.0, 2.0]])
    for k, wanted in ((1, [[0, 0, 12.5**0.5]]), (2, [[0.5, 0, 12.5**0.5]])):
        found = MatchingPursuit(directions, torch.zeros(2), k).encode(x)
        torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float32))


def test_a_latent_that_is_chosen_again_counts_once_and_adds_up():
    """Two directions at 120 degrees, and what lies between: each hides some of the other."""
    directions = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5]]).double()
    x = torch.tensor([[2.0, 0.9]]).double()
    once = MatchingPursuit(directions, torch.zeros(2).double(), 2)
    often = MatchingPursuit(directions, torch.zeros(2).double(), 60, stop_on_duplicate=False)
    code = often.code(x)
    assert code.counts.tolist() == [2]
    exact = torch.linalg.solve(directions.T, x[0])
    torch.testing.assert_close(code.dense()[0].detach(), exact)
    assert (once.encode(x)[0] - exact).abs().max() > 0.1


@pytest.mark.parametrize(
    ("threshold", "k", "duplicates"), list(product((0.0, 0.8), (1, 5, 40), (True, False)))
)
def test_it_stops_where_the_formula_stops(threshold, k, duplicates):
    """The twin keeps whole tables of what was chosen (as SAELens does)."""
    dictionary, rows = pursuit(k, threshold, duplicates), numbers(64, 12, seed=2)
    rest, full = rows - dictionary.b_dec, torch.zeros(64, 50).double()
    going = torch.ones(64, dtype=torch.bool)
    for _ in range(k):
        values, best = (rest @ dictionary.W_dec.T).relu().max(1)
        values = values * going
        before = full != 0
        full = full.index_put((torch.arange(64), best), values, accumulate=True)
        rest = rest - values[:, None] * dictionary.W_dec[best]
        if duplicates:
            going = going & ((full != 0) != before).any(1)
        if threshold:
            going = going & (rest.norm(dim=1) >= threshold)
    torch.testing.assert_close(dictionary.encode(rows), full)


def test_either_reason_to_stop_does_stop_tokens_early():
    rows = numbers(64, 12, seed=2)
    free = pursuit(40, duplicates=False).code(rows).counts.sum()
    assert pursuit(40, duplicates=True).code(rows).counts.sum() < free
    assert pursuit(40, 0.8, duplicates=False).code(rows).counts.sum() < free


def test_every_round_leaves_less_and_nothing_of_what_it_chose():
    rows = numbers(64, 12, seed=2)
    left = [(pursuit(k, duplicates=False)(rows) - rows).norm(dim=1) for k in range(1, 20)]
    assert all((after <= before).all() for before, after in zip(left, left[1:], strict=False))
    one = pursuit(1)
    code = one.code(rows)
    products = ((rows - one(rows)) * one.W_dec[code.indices]).sum(1)
    torch.testing.assert_close(products, torch.zeros(64).double())


def test_a_token_that_nothing_fits_has_no_code():
    dictionary = pursuit(5, latents=3)
    against = dictionary.b_dec - dictionary.W_dec.sum(0)[None]
    assert ((against - dictionary.b_dec) @ dictionary.W_dec.T < 0).all()
    assert dictionary.code(against).counts.tolist() == [0]
    assert torch.equal(dictionary(against)[0], dictionary.b_dec)


def test_gradients_flow_through_every_round():
    """A code held fixed after the first round would have other gradients."""
    dictionary, rows = pursuit(4, duplicates=False), numbers(64, 12, seed=2)
    (dictionary(rows) - rows).square().sum().backward()
    found = dictionary.W_dec.grad.clone()
    fixed = copy.deepcopy(dictionary)
    fixed.W_dec.grad = None
    (fixed.decode(fixed.code(rows).detach()) - rows).square().sum().backward()
    assert (found - fixed.W_dec.grad).abs().max() > 0.1


def test_the_encoder_is_the_decoder():
    dictionary = pursuit(4)
    assert dictionary.W_enc is dictionary.W_dec
    assert [name for name, _ in dictionary.named_parameters()] == ["W_dec", "b_dec"]
    assert [(matrix is dictionary.W_dec, unit) for matrix, unit in dictionary.row_matrices()] == [
        (True, True)
    ]
    assert (dictionary.width, dictionary.latents) == (12, 50)


def test_the_rounds_may_fall_while_training_and_outnumber_the_latents():
    dictionary = pursuit(20, duplicates=False, latents=3)
    rows = dictionary.b_dec + numbers(64, 3, seed=2).abs() @ dictionary.W_dec.detach()
    assert int(dictionary.code(rows).counts.max()) == 3
    dictionary.selection.k = 1
    assert int(dictionary.code(rows).counts.max()) == 1
    assert isinstance(dictionary.selection, Pursuit)


def test_the_residual_threshold_folds_too():
    dictionary, rows = pursuit(40, 0.8, duplicates=False), numbers(64, 12, seed=2)
    code, units = dictionary.encode(rows), Units.scaled(torch.tensor(0.25).double())
    dictionary.fold_(units, units)
    assert dictionary.residual_threshold == 3.2
    torch.testing.assert_close(dictionary.encode(4 * rows), 4 * code)
    dictionary.residual_threshold = 0.8
    assert (dictionary.encode(4 * rows) - 4 * code).abs().max() > 0.1


def test_what_no_pursuit_can_be_is_refused_all_at_once():
    make = MatchingPursuit.__init__.__wrapped__
    with pytest.raises(UserError) as caught:
        make(object.__new__(MatchingPursuit), torch.zeros(4, 3), torch.zeros(2), 0, -1.0)
    assert str(caught.value) == (
        "this dictionary has 3 problems:\n"
        "  - b_dec has shape (2,); wanted (3,), as W_dec is (4, 3)\n"
        "  - k = 0 rounds; wanted at least 1\n"
        "  - residual_threshold = -1.0; wanted at least 0"
    )


# --- one step of LISTA ----------------------------------------------------------------------------


def refined(selection, step=0.3, latents=20, width=6):
    shapes = (latents, width), (latents,), (latents, width), (width,)
    parts = [numbers(*shape, seed=10 + i) for i, shape in enumerate(shapes)]
    return RefinedDictionary(*parts, selection, step)


SELECTIONS = {
    "relu": ReLU,
    "topk": lambda: TopK(4),
    "batchtopk": lambda: BatchTopK(4),
    "jumprelu": lambda: JumpReLU(torch.rand(20, generator=torch.Generator()).double()),
}


@pytest.mark.parametrize("name", list(SELECTIONS))
def test_with_no_step_it_is_a_flat_dictionary(name):
    dictionary, rows = refined(SELECTIONS[name](), step=0.0).train(), numbers(30, 6)
    parts = [getattr(dictionary, p) for p in ("W_enc", "b_enc", "W_dec", "b_dec")]
    flat = FlatDictionary(*parts, copy.deepcopy(dictionary.selection)).train()
    torch.testing.assert_close(dictionary.encode(rows), flat.encode(rows))
    dictionary.step = 0.3
    assert (dictionary.encode(rows) - flat.encode(rows)).abs().max() > 0.1


def test_its_pre_activations_are_those_of_lista():
    """``pre1 = pre0 + step · W_enc (x - x̂0)``, which is how the step is usually written."""
    dictionary, rows = refined(TopK(4)), numbers(30, 6)
    pre = plain.pre_activations(rows - dictionary.b_dec, dictionary.W_enc, dictionary.b_enc)
    guess = plain.largest_mask(pre, 4) * pre.relu()
    left = rows - guess @ dictionary.W_dec - dictionary.b_dec
    wanted = pre + 0.3 * left @ dictionary.W_enc.T
    torch.testing.assert_close(
        dictionary.encode(rows), plain.largest_mask(wanted, 4) * wanted.relu()
    )


def test_it_explains_away():
    """The second direction fits only because it resembles the first, which is what is there."""
    directions = torch.tensor([[1.0, 0.0], [0.9, 0.19**0.5]])
    x = torch.tensor([[2.0, 0.0]])
    plain_code = FlatDictionary.tied(directions, torch.zeros(2), ReLU()).encode(x)[0]
    found = RefinedDictionary.tied(directions, torch.zeros(2), ReLU(), step=0.3).encode(x)[0]
    torch.testing.assert_close(plain_code, torch.tensor([2.0, 1.8]))
    assert found[1] / found[0] < plain_code[1] / plain_code[0]


def test_each_reading_learns_a_threshold_of_its_own():
    dictionary = refined(BatchTopK(4)).train()
    dictionary.code(numbers(30, 6))
    first, last = float(dictionary.first.threshold), float(dictionary.selection.threshold)
    assert first > 0
    assert last > 0
    assert first != last
    jump = refined(SELECTIONS["jumprelu"]()).train()
    assert jump.first.threshold is not jump.selection.threshold
    names = [name for name, _ in jump.named_parameters()]
    assert "first.threshold" in names


def test_the_first_reading_keeps_as_many_as_the_last():
    dictionary = refined(TopK(4))
    dictionary.selection.k = 9  # as while it falls
    assert int(dictionary.code(numbers(30, 6)).counts.max()) > 4
    assert dictionary.first.k == 9


def test_selections_of_two_kinds_are_refused():
    parts = [getattr(refined(ReLU()), p) for p in ("W_enc", "b_enc", "W_dec", "b_dec")]
    with pytest.raises(
        UserError, match="its first selection is relu, its last topk; wanted one kind"
    ):
        RefinedDictionary(*parts, TopK(3), first=ReLU())
    thresholds = JumpReLU(torch.zeros(20).double())
    with pytest.raises(UserError, match="first: 3 thresholds for 20 latents; wanted one each"):
        RefinedDictionary(*parts, thresholds, first=JumpReLU(torch.zeros(3)))


# --- what it is for -------------------------------------------------------------------------------


def test_supports_are_found_better_by_a_step_and_best_by_pursuit():
    """Sums of few random directions: one reading, two readings, and as many as needed."""
    width, latents, k = 48, 192, 4
    directions = normalize(numbers(latents, width, seed=20), dim=1)
    scores = numbers(600, latents, seed=21)
    chosen = torch.zeros_like(scores).scatter(1, scores.topk(k).indices, 1)
    truth = chosen * (1 + scores.sigmoid())
    x, zero = truth @ directions, torch.zeros(width).double()
    kinds = {
        "once": FlatDictionary.tied(directions, zero, TopK(k)),
        "step": RefinedDictionary.tied(directions, zero, TopK(k), step=0.3),
        "pursuit": MatchingPursuit(directions, zero, 2 * k, stop_on_duplicate=False),
    }
    for name in ("once", "step"):
        kinds[name] = kinds[name].double()
    found = {
        name: float((kinds[name].encode(x) * chosen > 0).sum() / chosen.sum()) for name in kinds
    }
    assert found["once"] + 0.02 < found["step"] < found["pursuit"] - 0.02
