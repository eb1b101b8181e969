"""Company changes nothing: what learns beside others is what learns alone, bit for bit."""

import io
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from monosemy.data.streams import ActivationStream
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.selection import build_selection
from monosemy.foundation.errors import UserError
from monosemy.tensors import workers
from monosemy.tensors.compute import Compute
from monosemy.tensors.rows import gradient_of
from monosemy.training.journal import Journal
from monosemy.training.loop import Rhythm, Training, advance_program, fit
from monosemy.training.many import LearnMany, OptimiseMany, side_by_side, take
from monosemy.training.objectives import LearnDictionary, ObjectiveConfig
from monosemy.training.optim import OptimConfig, Optimiser
from monosemy.training.start import look

WIDTH, TOKENS, STEPS = 8, 24, 8
# Name -> selection, latents, k, objective, optimiser.
KINDS = {
    "topk": ("topk", 32, 3, ObjectiveConfig(aux=0.1, dead_after=48), OptimConfig(0.02)),
    "batchtopk": ("batchtopk", 32, 2, ObjectiveConfig(k_start=5, aux=0), OptimConfig(0.01)),
    "relu": ("relu", 16, 1, ObjectiveConfig(l1=0.05, warmup=6), OptimConfig(0.03, clip=0.1)),
    "jumprelu": ("jumprelu", 48, 1, ObjectiveConfig(l0=0.01), OptimConfig(0.01, clip=0)),
    "nested": ("topk", 32, 3, ObjectiveConfig(prefixes=(0.25, 1.0)), OptimConfig(0.01)),
    "resampled": (
        "topk",
        32,
        2,
        ObjectiveConfig(aux=0, dead_after=48, resample_every=3),
        OptimConfig(0.02),
    ),
    # More latents than one thread sums up at a time.
    "wide": ("topk", 1500, 3, ObjectiveConfig(), OptimConfig(0.01)),
    "gated": ("relu", 16, 1, ObjectiveConfig(l1=0.1), OptimConfig(0.01)),
}


@pytest.fixture(params=[1, 2], autouse=True)
def threads(request) -> Iterator[int]:
    """One thread, where one follows the other, and two, where they stand side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def batches() -> torch.Tensor:
    return drawn(TOKENS)


def drawn(tokens: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(STEPS, tokens, WIDTH, generator=draw) + 0.4


def program(name: str, batches: torch.Tensor, seed: int = 0) -> LearnDictionary:
    kind, latents, k, objective, _ = KINDS[name]
    draw = torch.Generator().manual_seed(seed)
    width = batches.shape[-1]
    if name == "gated":
        rows = nn.functional.normalize(torch.randn(latents, width, generator=draw), dim=1)
        dictionary = GatedDictionary.tied(rows, torch.zeros(width))
    else:
        chosen = build_selection(kind, k, latents)
        dictionary = FlatDictionary.random(width, latents, chosen, draw)
    start = look(batches.flatten(0, 1))
    return LearnDictionary(dictionary.train(), start, objective, STEPS)


def many(batches: torch.Tensor, names=tuple(KINDS)) -> tuple[LearnMany, OptimiseMany]:
    programs = {name: program(name, batches) for name in names}
    configs = {name: KINDS[name][-1] for name in names}
    return LearnMany(programs), OptimiseMany(programs, configs, STEPS)


def parameters(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def alone(name: str, batches: torch.Tensor) -> dict[str, torch.Tensor]:
    one = program(name, batches)
    optimiser = Optimiser(one.module.parameters(), KINDS[name][-1], STEPS)
    for step, batch in enumerate(batches):
        advance_program(one, optimiser, batch, step)
    return parameters(one.module)


# The larger batch is shared out among threads, where one dictionary has them to itself.
@pytest.mark.parametrize("tokens", [TOKENS, 3 * workers.LEAST_SHARE])
def test_each_learns_what_it_learns_alone(tokens):
    batches = drawn(tokens)
    programs, optimisers = many(batches)
    for step, batch in enumerate(batches):
        advance_program(programs, optimisers, batch, step)
    for name, one in programs.programs.items():
        for key, value in alone(name, batches).items():
            assert torch.equal(one.module.state_dict()[key], value), f"{name} {key}"


def test_what_begins_anew_in_one_is_forgotten_by_its_optimiser_only(batches):
    programs, optimisers = many(batches, ("resampled", "topk"))
    for step, batch in enumerate(batches[:2]):
        advance_program(programs, optimisers, batch, step)
    one, other = (programs.programs[name].module for name in ("resampled", "topk"))
    rows = torch.tensor([1, 4])
    own, left = (optimisers.each[name].state_dict()["rows"] for name in ("resampled", "topk"))
    place = [p is one.W_enc for p in one.parameters()].index(True)
    before = left[place]["mean"].clone()
    assert own[place]["mean"].abs().sum() > 0
    optimisers.forget(one.W_enc, torch.arange(32))
    assert own[place]["mean"].abs().sum() == 0
    optimisers.forget(one.W_dec, rows)
    assert torch.equal(left[place]["mean"], before)
    assert other.W_enc is not one.W_enc


def test_the_comparison_can_fail(batches):
    changed = batches.clone()
    changed[-1, 0, 0] += 0.1
    one, other = alone("topk", batches), alone("topk", changed)
    assert not all(torch.equal(one[key], other[key]) for key in one)


def test_readings_carry_the_name_and_the_loss_is_the_sum(batches):
    programs, optimisers = many(batches)
    loss, readings = advance_program(programs, optimisers, batches[0], 0)
    assert loss.item() == pytest.approx(sum(float(readings[f"{name}/loss"]) for name in KINDS))
    for name in KINDS:
        assert {f"{name}/fvu", f"{name}/l0", f"{name}/dead"} <= set(readings)
    assert "batchtopk/gradient_norm" in readings
    assert "jumprelu/gradient_norm" not in readings, "it does not clip"
    assert "relu/l1" in readings
    assert "topk/l1" not in readings


def test_gradients_are_in_place_and_backward_adds_nothing(batches):
    programs, _ = many(batches, ("topk",))
    loss, _ = programs.loss(batches[0])
    into = gradient_of(programs.programs["topk"].module.W_dec)
    before = into.dense().clone()
    assert before.abs().sum() > 0
    loss.backward()
    assert torch.equal(into.dense(), before)


def test_each_sees_its_own_columns(batches):
    wide = torch.cat([batches, 3 * batches[..., :4], batches.flip(0)], dim=-1)
    own = {"topk": ((12, 20),), "relu": ((16, 20), (8, 12))}
    parts = {name: take(wide.flatten(0, 1), columns) for name, columns in own.items()}
    assert torch.equal(parts["topk"], batches.flip(0).flatten(0, 1))
    assert torch.equal(parts["relu"][:, 4:], 3 * batches[..., :4].flatten(0, 1))
    sizes = {name: part.view(STEPS, TOKENS, -1) for name, part in parts.items()}
    programs = {name: program(name, sizes[name]) for name in own}
    found = LearnMany(programs, own).loss(wide[0])[1]
    for name in own:
        expected = program(name, sizes[name]).loss(sizes[name][0])[0]
        assert found[f"{name}/loss"].item() == expected.item()


def test_a_stopped_run_goes_on_bit_for_bit(batches, flat_state):
    whole, optimisers = many(batches)
    for step, batch in enumerate(batches):
        advance_program(whole, optimisers, batch, step)
    first, its = many(batches)
    for step, batch in enumerate(batches[:3]):
        advance_program(first, its, batch, step)
    kept = io.BytesIO()
    torch.save({"program": first.state_dict(), "optimiser": its.state_dict()}, kept)
    state = torch.load(io.BytesIO(kept.getvalue()), weights_only=True)
    second, own = many(batches)
    assert flat_state(second.state_dict()) != flat_state(first.state_dict())
    second.load_state_dict(state["program"])
    own.load_state_dict(state["optimiser"])
    for step, batch in enumerate(batches[3:], 3):
        advance_program(second, own, batch, step)
    assert flat_state(second.state_dict()) == flat_state(whole.state_dict())
    assert flat_state(own.state_dict()) == flat_state(optimisers.state_dict())


def test_the_loop_trains_many_like_one(tmp_path, batches):
    class Rows:
        site, waits_for, fingerprint, dtype = "rows", "input", "rows", torch.float32
        width, tokens, contexts = WIDTH, STEPS * TOKENS, None

        def rows(self, start: int, stop: int) -> torch.Tensor:
            return batches.flatten(0, 1)[start:stop]

    stream = ActivationStream(Rows(), TOKENS, Compute(), epochs=1, block=96)
    programs, optimisers = many(batches)
    journal = Journal(tmp_path / "run", {})
    fit(Training(programs, optimisers, stream, STEPS, Rhythm(log=4, checkpoint=6)), journal)
    last = journal.metrics()[-1]
    assert last["loss"] == pytest.approx(sum(last[f"{name}/loss"] for name in KINDS), rel=1e-5)
    assert last["topk/l0"] <= 3


def test_what_goes_wrong_with_one_is_raised(batches):
    class Fails:
        module = nn.Linear(1, 1)

        def loss(self, batch):
            raise UserError("this one cannot")

        def at_work(self):
            return nullcontext()

        def renew(self):
            return ()

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            assert not state

    programs = {"fails": Fails(), "topk": program("topk", batches)}
    with pytest.raises(UserError, match="this one cannot"):
        LearnMany(programs).loss(batches[0])


def test_names_go_to_free_threads_largest_first(batches, threads):
    programs, _ = many(batches)
    assert programs._order[0] == "wide"
    done = []
    side_by_side(done.append, programs._order, "cpu")
    assert sorted(done) == sorted(KINDS)
    if threads == 1:
        assert done == programs._order
