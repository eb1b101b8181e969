"""How local codes learn: stages that resume bit for bit, charts that come and go, every key counts."""

import copy
import dataclasses
from typing import Any

import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.dictionaries.selection import TopK
from monosemy.recipes.dictionary import begin, look_at
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import Widths
from monosemy.training.charts import Bank
from monosemy.training.local import LearnLocal, drop_unused, first_charts
from monosemy.training.local_config import FOUND, ONE_EACH, LocalConfig
from monosemy.training.loop import advance_program
from monosemy.training.objectives import ObjectiveConfig
from monosemy.training.optim import OptimConfig, Optimiser

WIDTH, PARENTS, PLANES, CHILDREN, STEPS = 14, 8, 2, 3, 40
SHORT = LocalConfig(children=CHILDREN, rank=2, begin=0.25, until=0.75, times=2, samples=16)
"""Charts are found after 20 and after 30 of 40 steps."""


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planted(count: int, seed: int) -> torch.Tensor:
    """In each of two groups one parent of four, with one of its own children in the group's plane."""
    axes = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=draw(0)))[0]
    angles = 2.1 * torch.arange(CHILDREN) + torch.arange(PARENTS)[:, None]
    inside = torch.stack([angles.cos(), angles.sin()], 2)
    x = 0.02 * torch.randn(count, WIDTH, generator=draw(seed))
    for plane in range(PLANES):
        p = 4 * plane + torch.randint(4, (count,), generator=draw(seed + 1 + plane))
        child = torch.randint(CHILDREN, (count,), generator=draw(seed + 11 + plane))
        size = 1 + torch.rand(count, 1, generator=draw(seed + 21 + plane))
        V = axes[PARENTS + 2 * plane : PARENTS + 2 * plane + 2]
        x += size * (axes[p] + 0.6 * inside[p, child] @ V)
    return x


def program(config: LocalConfig = SHORT, steps: int = STEPS, seed: int = 0) -> LearnLocal:
    recipe = DictionaryRecipe(
        encoder="local", latents=PARENTS, k=4, precision="float32", local=config, seed=seed,
        objective=ObjectiveConfig(k_start=6, k_fall=0.2),
    )  # fmt: skip
    width, rows = (WIDTH,), planted(1000, 10_000)
    widths = Widths(width, width)
    found = begin(recipe, widths, rows, look_at(recipe, widths, rows), steps)
    assert isinstance(found, LearnLocal)
    return found


def training(config: LocalConfig = SHORT, steps: int = STEPS) -> tuple[LearnLocal, Optimiser]:
    learner = program(config, steps)
    rate = OptimConfig(learning_rate=1e-2)
    return learner, Optimiser(learner.module.parameters(), rate, steps)


def advance(learner: LearnLocal, optimiser: Optimiser, step: int) -> dict[str, torch.Tensor]:
    return advance_program(learner, optimiser, planted(64, 100 * step), step)[1]


def learned(config: LocalConfig, steps: int = STEPS) -> LearnLocal:
    learner, optimiser = training(config, steps)
    for step in range(steps):
        advance(learner, optimiser, step)
    return learner


def unexplained(learner: LearnLocal) -> float:
    x = planted(2000, 77)
    found = learner.result()
    return float((x - found(x)).square().sum() / (x - x.mean(0)).square().sum())


# --- stages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [SHORT, dataclasses.replace(SHORT, depth=3, charts=FOUND)])
def test_it_goes_on_bit_for_bit_from_every_stage(config: LocalConfig, flat_state: Any):
    """Alone; explaining; in the midst of gathering; right before charts, after them; at the end."""
    learner, optimiser = training(config)
    kept: dict[int, Any] = {}
    for step in range(STEPS):
        if step in (5, 10, 15, 19, 20, 27, 35):
            kept[step] = copy.deepcopy((learner.state_dict(), optimiser.state_dict()))
        advance(learner, optimiser, step)
    wanted = flat_state(learner.state_dict())
    assert any(state["bank"] is not None for state, _ in kept.values())
    for begun, (state, moments) in kept.items():
        again, its = training(config)
        again.load_state_dict(state)
        its.load_state_dict(moments)
        for step in range(begun, STEPS):
            advance(again, its, step)
        assert flat_state(again.state_dict()) == wanted, f"from step {begun}"


def test_residuals_of_recent_batches_decide_where_parents_begin_anew():
    """What a checkpoint without them would get wrong."""
    learner, optimiser = training()
    for step in range(19):
        advance(learner, optimiser, step)
    state = learner.state_dict()
    assert len(state["left"]) == 9  # of steps 10 to 18
    other = copy.deepcopy(state)
    other["left"] = [0 * rest for rest in state["left"]]
    found = []
    for one in (state, other):
        again = program()
        again.load_state_dict(copy.deepcopy(one))
        absent = torch.arange(PARENTS) == 2
        with torch.no_grad():
            again._begin_anew(absent, draw(0))
        found.append(again.dictionary.parents.W_dec[2].detach().clone())
    assert not torch.equal(*found)


def test_parents_learn_alone_until_it_is_time():
    learner, optimiser = training()
    for step in range(10):
        assert "children" not in advance(learner, optimiser, step)
    assert float(learner.dictionary.floor) == 0
    for step in range(10, 20):
        assert float(advance(learner, optimiser, step)["children"]) == 0
        assert (learner.dictionary.routes == -1).all() or step == 19
    assert (learner.dictionary.routes >= 0).any()
    readings = [advance(learner, optimiser, step) for step in range(20, STEPS)]
    assert float(readings[-1]["children"]) > 0.3
    assert float(readings[-1]["l0"]) == pytest.approx(
        float(readings[-1]["parents"] + readings[-1]["children"])
    )


def test_charts_stay_orthonormal_and_children_of_length_one():
    dictionary = learned(SHORT).dictionary
    gram = dictionary.V @ dictionary.V.mT
    torch.testing.assert_close(gram, torch.eye(2).expand_as(gram), atol=1e-4, rtol=0)
    torch.testing.assert_close(dictionary.C.norm(dim=2), torch.ones(PARENTS, CHILDREN))
    lengths = dictionary.parents.W_dec.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(PARENTS))


# --- charts come and go ---------------------------------------------------------------------------


def bank_of(planes: int, absent: int = -1) -> Bank:
    """Residuals of every parent, in as many planes as there are, a parent each in turn."""
    axes = torch.linalg.qr(torch.randn(WIDTH + 4, WIDTH + 4, generator=draw(1)))[0][:, :WIDTH]
    bank = Bank(PARENTS, 16, WIDTH, axes)
    for p in range(PARENTS):
        V = axes[2 * (p % planes) : 2 * (p % planes) + 2]
        rows = torch.randn(16, 2, generator=draw(p)) @ V
        if p != absent:
            bank.add(torch.full((16,), p), rows, torch.ones(16))
    return bank


@torch.no_grad()
def test_as_many_charts_are_kept_as_the_curve_has_its_knee_at():
    learner = program(dataclasses.replace(SHORT, charts=FOUND))
    assert len(learner.dictionary.V) == PARENTS  # room for one each
    for planes in (2, 3, 2):
        learner._find_charts(0, bank_of(planes))
        routes = learner.dictionary.routes
        assert len(routes.unique()) == planes
        assert torch.equal(routes, routes[:planes].repeat(PARENTS)[:PARENTS])
    assert [curve["charts"] for curve in learner.curves] == [2, 3, 2]


@torch.no_grad()
def test_a_parent_that_hardly_appeared_begins_anew_without_a_chart():
    learner = program()
    learner._left.append(torch.eye(WIDTH)[:1].expand(20, -1) + 0.0)
    learner.local.firing.silent.fill_(7)
    fresh = learner._find_charts(0, bank_of(2, absent=5))
    assert (learner.dictionary.routes < 0).nonzero().flatten().tolist() == [5]
    torch.testing.assert_close(learner.dictionary.parents.W_dec[5], torch.eye(WIDTH)[0])
    assert learner.local.firing.silent.tolist() == [7, 7, 7, 7, 7, 0, 7, 7]
    named = {id(parameter): rows.tolist() for parameter, rows in fresh}
    assert named[id(learner.dictionary.parents.W_enc)] == [5]
    assert named[id(learner.dictionary.V)] == list(range(PARENTS))


@torch.no_grad()
def test_nothing_at_all_leaves_a_dictionary_without_children():
    for absent in (Bank(PARENTS, 16, WIDTH, torch.zeros(1)), bank_of(2)):
        learner = program()
        absent.rows.zero_()
        learner._find_charts(0, absent)
        assert all(p.isfinite().all() for p in learner.dictionary.parameters())


def test_room_for_charts():
    assert first_charts(LocalConfig(charts=ONE_EACH), 7) == 7
    assert first_charts(LocalConfig(charts=FOUND), 7) == 7
    assert first_charts(LocalConfig(charts=3), 7) == 3
    assert first_charts(LocalConfig(charts=9), 7) == 7


# --- what it is worth -----------------------------------------------------------------------------


def test_learned_charts_leave_less_than_random_ones():
    config = dataclasses.replace(SHORT, charts=PLANES)
    steps = 150
    ours = unexplained(learned(config, steps))
    control = unexplained(learned(dataclasses.replace(config, random_charts=True), steps))
    assert ours < 0.8 * control
    assert control < 1


CHANGES: dict[str, Any] = {
    "children": 2, "charts": 2, "random_charts": True, "rank": 3, "depth": 3, "l0": 2.0,
    "share": 0.3, "proposals": 1.2, "rounds": 2, "begin": 0.5, "until": 0.9, "times": 3,
    "samples": 4,
}  # fmt: skip


def outcome(config: LocalConfig) -> list[Any]:
    return [tensor.tolist() for tensor in learned(config).dictionary.state_dict().values()]


def test_every_key_has_an_effect():
    assert CHANGES.keys() == {field.name for field in dataclasses.fields(LocalConfig)}
    base = outcome(SHORT)
    assert outcome(SHORT) == base
    for name, value in CHANGES.items():
        assert outcome(dataclasses.replace(SHORT, **{name: value})) != base, name


def test_charts_that_nobody_points_at_are_left_out() -> None:
    draw = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize
    d = unit(torch.randn(6, 8, generator=draw), dim=1)
    trunk = FlatDictionary.tied(d, torch.zeros(8), TopK(3))
    V = torch.linalg.qr(torch.randn(5, 8, 2, generator=draw))[0].transpose(1, 2).contiguous()
    C = unit(torch.randn(6, 3, 2, generator=draw), dim=2)
    dictionary = LocalDictionary(trunk, V, torch.tensor([4, 1, -1, 4, 1, 2]), C).eval()
    x = torch.randn(20, 8, generator=draw)
    before = dictionary.code(x), dictionary(x)
    drop_unused(dictionary)
    assert dictionary.routes.tolist() == [2, 0, -1, 2, 0, 1]
    assert len(dictionary.V) == 3
    assert torch.equal(dictionary.code(x).indices, before[0].indices)
    torch.testing.assert_close(dictionary(x), before[1], rtol=0, atol=0)
