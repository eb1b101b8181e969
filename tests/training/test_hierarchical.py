"""How H-SAE style dictionaries learn: the loss beside its formula, dense; what settles; resuming."""

import copy
from typing import Any

import pytest
import torch

from monosemy.dictionaries.hierarchical import HierarchicalDictionary
from monosemy.recipes.dictionary import begin, look_at
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import Widths
from monosemy.training.hierarchical import LearnHierarchical, settle_children
from monosemy.training.local_config import LocalConfig
from monosemy.training.loop import advance_program
from monosemy.training.objectives import ObjectiveConfig
from monosemy.training.optim import OptimConfig, Optimiser

WIDTH, PARENTS, STEPS = 10, 6, 12


def rows(seed: int, count: int = 64) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, WIDTH, generator=draw) + torch.arange(WIDTH) / 5


def program() -> LearnHierarchical:
    recipe = DictionaryRecipe(
        encoder="hierarchical", latents=PARENTS, k=4, precision="float32",
        local=LocalConfig(children=3, rank=2), objective=ObjectiveConfig(aux=0.0),
    )  # fmt: skip
    width = (WIDTH,)
    widths = Widths(width, width)
    found = begin(recipe, widths, rows(1), look_at(recipe, widths, rows(1)), STEPS)
    assert isinstance(found, LearnHierarchical)
    return found


def by_formula(d: HierarchicalDictionary, x: torch.Tensor, variance: float) -> torch.Tensor:
    """FVU, parents alone, orthogonality, L1: dense, by torch's own autograd; BatchTopK of 2."""
    pre = (x - d.b_dec) @ d.W_enc.T + d.b_enc
    flat = pre.relu().flatten()
    parents = (flat * (flat >= flat.topk(2 * len(x)).values[-1])).view_as(pre)
    inside = torch.einsum("prd,td->tpr", d.reads, x - d.b_dec)
    child = (torch.einsum("pcr,tpr->tpc", d.C_enc, inside) + d.t).relu()
    child = child * (child == child.amax(2, keepdim=True)) * (parents > 0)[:, :, None]
    top = parents @ d.trunk.W_dec + d.b_dec
    written = torch.einsum("tpc,pcr,prd->td", child, d.C_dec, d.writes)
    active = (parents > 0).any(0)
    along = sum(torch.einsum("prd,pd->pr", frame, d.trunk.W_dec).square().sum(1)
                for frame in (d.reads, d.writes))  # fmt: skip
    return (
        (x - top - written).square().sum(1).mean() / variance
        + 0.1 * (x - top).square().sum(1).mean() / variance
        + 0.1 * along[active].mean()
        + 0.001 * child.sum() / len(x) / WIDTH**0.5
    )


def test_the_loss_and_its_gradients_are_the_formulas():
    learner = program()
    twin = copy.deepcopy(learner.dictionary)
    loss, readings = learner.loss(rows(2))
    wanted = by_formula(twin, learner.local.units.apply(rows(2)), learner.local.variance)
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    wanted.backward()
    for name in ("reads", "writes", "C_enc", "C_dec", "t"):
        ours, theirs = (getattr(d, name).grad for d in (learner.dictionary, twin))
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
    assert float(readings["l0"]) == pytest.approx(2 + float(readings["children"]))


def test_codes_stay_of_length_one_and_it_goes_on_bit_for_bit(flat_state: Any):
    def started() -> tuple[LearnHierarchical, Optimiser]:
        learner = program()
        return learner, Optimiser(learner.module.parameters(), OptimConfig(), STEPS)

    learner, optimiser = started()
    kept: Any = None
    for step in range(STEPS):
        if step == 5:
            kept = copy.deepcopy((learner.state_dict(), optimiser.state_dict()))
        advance_program(learner, optimiser, rows(step), step)
    for codes in (learner.dictionary.C_enc, learner.dictionary.C_dec):
        torch.testing.assert_close(codes.norm(dim=2), torch.ones(PARENTS, 3))
    again, its = started()
    again.load_state_dict(kept[0])
    its.load_state_dict(kept[1])
    for step in range(5, STEPS):
        advance_program(again, its, rows(step), step)
    assert flat_state(again.state_dict()) == flat_state(learner.state_dict())


@pytest.mark.parametrize("wanted", [0.5, 0.05])
def test_children_are_settled_to_as_many_as_wanted_and_never_more(wanted: float):
    dictionary = program().result()
    x = rows(3, 200)
    many = lambda: int((dictionary.code(x).indices >= PARENTS).sum())  # noqa: E731
    before, parents = many(), dictionary.trunk.encode(x)
    assert before > 200 * wanted
    settle_children(dictionary, x, wanted)
    assert many() == round(200 * wanted)
    settle_children(dictionary, x, 10.0)
    assert many() == round(200 * wanted)
    assert torch.equal(dictionary.trunk.encode(x), parents)
