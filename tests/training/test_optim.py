import copy

import pytest
import torch
from torch import nn

from monosemy.foundation.errors import UserError
from monosemy.tensors.rows import RowGradient, gradient_of
from monosemy.training.optim import OptimConfig, Optimiser, rate_at

STEPS = 100


def made(**changes) -> tuple[list[nn.Parameter], Optimiser]:
    """A matrix and a vector, and what moves them; no schedule unless asked for."""
    draw = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(*size, generator=draw)) for size in ((3, 4), (4,))]
    still = {"learning_rate": 0.1, "warmup": 0.0, "decay": 0.0, "clip": 0.0}
    return parameters, Optimiser(parameters, OptimConfig(**still | changes), STEPS)


def gradients(step: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(100 + step)
    return [torch.randn(3, 4, generator=draw), torch.randn(4, generator=draw)]


def walk(parameters: list[nn.Parameter], optimiser: Optimiser, steps: range) -> None:
    for step in steps:
        for parameter, gradient in zip(parameters, gradients(step), strict=True):
            parameter.grad = gradient.clone()
        optimiser.step(step)


def test_the_rate_climbs_stays_and_falls():
    config = OptimConfig(learning_rate=3.0, warmup=0.1, decay=0.2)
    rates = torch.tensor([rate_at(step, STEPS, config) for step in range(STEPS)])
    assert torch.allclose(rates[:10], torch.arange(1, 11) * 0.3)
    assert torch.equal(rates[9:81], torch.full((72,), 3.0))
    assert torch.allclose(rates[80:], torch.arange(20, 0, -1) * 0.15)


def test_without_warmup_and_decay_the_rate_is_constant():
    config = OptimConfig(learning_rate=3.0, warmup=0.0, decay=0.0)
    assert {rate_at(step, 7, config) for step in range(7)} == {3.0}


def test_every_step_of_a_short_run_moves():
    config = OptimConfig(learning_rate=1.0, warmup=0.02, decay=0.2)
    assert all(0 < rate_at(step, 3, config) <= 1 for step in range(3))


def by_hand(steps: int, config: OptimConfig) -> list[torch.Tensor]:
    """AdamW as in Loshchilov and Hutter 2019, algorithm 2, in float64."""
    parameters = [parameter.detach().double() for parameter in made()[0]]
    first = [torch.zeros_like(parameter) for parameter in parameters]
    second = [torch.zeros_like(parameter) for parameter in parameters]
    beta, gamma = config.betas
    for step in range(steps):
        rate = rate_at(step, STEPS, config)
        every = [gradient.double() for gradient in gradients(step)]
        length = torch.cat([gradient.flatten() for gradient in every]).norm()
        for i, gradient in enumerate(every):
            if config.clip and length > config.clip:
                gradient = gradient * config.clip / length
            first[i] = beta * first[i] + (1 - beta) * gradient
            second[i] = gamma * second[i] + (1 - gamma) * gradient**2
            unbiased = first[i] / (1 - beta ** (step + 1)), second[i] / (1 - gamma ** (step + 1))
            decay = config.weight_decay if parameters[i].ndim == 2 else 0.0
            move = unbiased[0] / (unbiased[1].sqrt() + 1e-8) + decay * parameters[i]
            parameters[i] = parameters[i] - rate * move
    return parameters


SETTINGS = {
    "plain": {},
    "other moments": {"betas": (0.5, 0.9)},
    "decay on matrices only": {"weight_decay": 0.3},
    "clipped": {"clip": 0.5},
    "not long enough to clip": {"clip": 100.0},
    "scheduled": {"warmup": 0.05, "decay": 0.5},
}


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_three_steps_equal_the_formula(changes):
    parameters, optimiser = made(**changes)
    walk(parameters, optimiser, range(3))
    for parameter, expected in zip(parameters, by_hand(3, optimiser.config), strict=True):
        # Adam divides by the root of the second moment: float32 keeps about six digits.
        torch.testing.assert_close(parameter.detach().double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 0.05),
        ("warmup", 0.5),
        ("decay", 1.0),
        ("betas", (0.5, 0.9)),
        ("weight_decay", 0.3),
        ("clip", 1e-9),
    ],
)
def test_every_option_has_an_effect(field, value):
    # The second step: Adam's first one has length one whatever the moments' decay.
    ordinary, optimiser = made()
    walk(ordinary, optimiser, range(2))
    changed, other = made(**{field: value})
    walk(changed, other, range(2))
    assert set(vars(optimiser.config)) == set(OptimConfig.__dataclass_fields__)
    assert not torch.equal(ordinary[0], changed[0])
    same, again = made(**{field: getattr(optimiser.config, field)})
    walk(same, again, range(2))
    assert torch.equal(ordinary[0], same[0])


def test_the_options_above_are_all_there_are():
    marks = test_every_option_has_an_effect.pytestmark[0]
    fields = {case[0] for case in marks.args[1]} | {"rows"}  # which is tried further down
    assert fields == set(OptimConfig.__dataclass_fields__)


def test_the_reading_is_the_length_before_clipping():
    parameters, optimiser = made(clip=0.5)
    for parameter, gradient in zip(parameters, gradients(0), strict=True):
        parameter.grad = gradient
    length = torch.cat([gradient.flatten() for gradient in gradients(0)]).norm()
    torch.testing.assert_close(optimiser.step(0)["gradient_norm"], length)
    assert made(clip=0.0)[1].config.clip == 0


def test_gradients_are_cleared():
    parameters, optimiser = made()
    walk(parameters, optimiser, range(1))
    assert [parameter.grad for parameter in parameters] == [None, None]


def test_a_saved_state_goes_on_bit_for_bit():
    whole, optimiser = made(weight_decay=0.1, clip=1.0)
    walk(whole, optimiser, range(6))

    first, begun = made(weight_decay=0.1, clip=1.0)
    walk(first, begun, range(3))
    second, resumed = made(weight_decay=0.1, clip=1.0)
    with torch.no_grad():
        for into, source in zip(second, first, strict=True):
            into.copy_(source)
    forgetful, empty = [nn.Parameter(p.detach().clone()) for p in second], None
    resumed.load_state_dict(begun.state_dict())
    walk(second, resumed, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole, second, strict=True))

    empty = Optimiser(forgetful, optimiser.config, STEPS)
    walk(forgetful, empty, range(3, 6))
    assert not torch.equal(whole[0], forgetful[0]), "without its moments it goes elsewhere"


def test_frozen_parameters_are_left_alone():
    frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    moving = nn.Parameter(torch.ones(2, 2))
    optimiser = Optimiser([frozen, moving], OptimConfig(weight_decay=0.5), STEPS)
    moving.grad = torch.ones(2, 2)
    optimiser.step(50)
    assert torch.equal(frozen, torch.ones(2, 2))
    assert not torch.equal(moving, torch.ones(2, 2))


# --- parameters that carry row gradients -----------------------------------------------------------

ROWS, WIDTH = 130, 9


def made_of_rows(dtype=torch.float64, **changes) -> tuple[list[nn.Parameter], Optimiser]:
    """Unit rows, other rows, an ordinary matrix and a vector."""
    draw = torch.Generator().manual_seed(0)
    shapes = (ROWS, WIDTH), (ROWS, WIDTH), (5, WIDTH), (ROWS,)
    parameters = [nn.Parameter(torch.randn(shape, generator=draw).to(dtype)) for shape in shapes]
    with torch.no_grad():
        parameters[0].copy_(nn.functional.normalize(parameters[0]))
    RowGradient.attach(parameters[0], unit=True).values.fill_(torch.nan)
    RowGradient.attach(parameters[1]).values.fill_(torch.nan)
    still = {"learning_rate": 0.05, "warmup": 0.1, "decay": 0.3, "clip": 2.0, "weight_decay": 0.1}
    return parameters, Optimiser(parameters, OptimConfig(**still | changes), STEPS)


def row_gradients(step: int, parameters: list[nn.Parameter]) -> list[torch.Tensor]:
    """Of every size, so that some are clipped; some rows untouched now and then, some always."""
    draw = torch.Generator().manual_seed(1000 + step)
    grads = [torch.randn(p.shape, generator=draw).to(p.dtype) for p in parameters]
    for grad in grads[:2]:
        grad[torch.rand(ROWS, generator=draw) < 0.6] = 0
        grad[::11] = 0
    return [grad * (0.01, 1.0)[step % 2] for grad in grads]


def walk_rows(parameters: list[nn.Parameter], optimiser: Optimiser, steps: range) -> None:
    for step in steps:
        grads = row_gradients(step, parameters)
        for parameter, grad in zip(parameters[:2], grads[:2], strict=True):
            into, touched = gradient_of(parameter), grad.any(1)
            into.values[touched] = grad[touched]
            into.changed(touched)
        for parameter, grad in zip(parameters[2:], grads[2:], strict=True):
            parameter.grad = grad
        optimiser.step(step)
        assert not gradient_of(parameters[0]).touched.any()


def walk_densely(parameters: list[nn.Parameter], config: OptimConfig, steps: range) -> None:
    """Project, clip, torch's AdamW, scale back: four passes over everything."""
    groups = [{"params": parameters[:3], "weight_decay": config.weight_decay},
              {"params": parameters[3:], "weight_decay": 0.0}]  # fmt: skip
    adam = torch.optim.AdamW(groups, betas=config.betas)
    for step in steps:
        for parameter, grad in zip(parameters, row_gradients(step, parameters), strict=True):
            parameter.grad = grad
        unit = parameters[0].detach()
        along = (parameters[0].grad * unit).sum(1, keepdim=True)
        parameters[0].grad -= along * unit
        if config.clip:
            nn.utils.clip_grad_norm_(parameters, config.clip)
        for group in adam.param_groups:
            group["lr"] = rate_at(step, STEPS, config)
        adam.step()
        with torch.no_grad():
            parameters[0].copy_(nn.functional.normalize(parameters[0]))


ROW_SETTINGS = {
    "clipped now and then": {},
    "not clipped": {"clip": 0.0},
    "no decay": {"weight_decay": 0.0},
    "other moments": {"betas": (0.5, 0.9)},
}


@pytest.mark.parametrize("changes", ROW_SETTINGS.values(), ids=ROW_SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_pass_equals_project_clip_adamw_and_scale_back(dtype, changes):
    ours, optimiser = made_of_rows(dtype, **changes)
    walk_rows(ours, optimiser, range(20))
    densely = made_of_rows(dtype)[0]
    walk_densely(densely, optimiser.config, range(20))
    exact = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-8, "atol": 1e-9}
    for one, other in zip(ours, densely, strict=True):
        torch.testing.assert_close(one.detach(), other.detach(), **exact)
    begun = made_of_rows(dtype)[0]
    assert all((a - b).abs().max() > 0.01 for a, b in zip(ours, begun, strict=True))


def test_the_length_that_is_clipped_is_that_of_what_counts():
    parameters, optimiser = made_of_rows()
    grads = row_gradients(1, parameters)
    for parameter, grad in zip(parameters[:2], grads[:2], strict=True):
        gradient_of(parameter).values.copy_(grad)
        gradient_of(parameter).changed(slice(None))
    for parameter, grad in zip(parameters[2:], grads[2:], strict=True):
        parameter.grad = grad
    rows = parameters[0].detach().clone()
    grads[0] = grads[0] - (grads[0] * rows).sum(1, keepdim=True) * rows
    length = torch.cat([grad.flatten() for grad in grads]).norm()
    torch.testing.assert_close(optimiser.step(0)["gradient_norm"], length)


def test_a_gradient_that_came_another_way_counts_too():
    ours, optimiser = made_of_rows()
    twin, other = made_of_rows()
    for parameters, ordinary in ((ours, False), (twin, True)):
        for parameter, grad in zip(parameters, row_gradients(1, parameters), strict=True):
            into = gradient_of(parameter)
            if into is None:
                parameter.grad = grad
            elif ordinary:
                parameter.grad = grad / 2
                into.values.copy_(grad / 2)
                into.changed(slice(None))
            else:
                into.values.copy_(grad)
                into.changed(slice(None))
    optimiser.step(1), other.step(1)
    for one, two in zip(ours, twin, strict=True):
        torch.testing.assert_close(one, two)
        assert two.grad is None


def test_active_rows_alone_may_move():
    """Moments catch up, so a row that returns moves as if it had never been silent."""
    still = {"weight_decay": 0.0, "betas": (0.0, 0.99)}
    every, optimiser = made_of_rows(**still)
    active, lazy = made_of_rows(rows="active", **still)
    walk_rows(every, optimiser, range(12))
    walk_rows(active, lazy, range(12))
    for one, other in zip(every, active, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    # With momentum silent rows do drift on, and not where only active rows move.
    every, optimiser = made_of_rows()
    active, lazy = made_of_rows(rows="active")
    walk_rows(every, optimiser, range(12))
    walk_rows(active, lazy, range(12))
    assert (every[1] - active[1]).abs().max() > 0.01
    never = torch.arange(ROWS)[::11]
    assert torch.equal(active[1][never], made_of_rows()[0][1][never])


@pytest.mark.parametrize("rows", ["all", "active"])
def test_either_way_a_saved_state_goes_on_bit_for_bit(rows):
    whole, optimiser = made_of_rows(torch.float32, rows=rows)
    walk_rows(whole, optimiser, range(8))
    first, begun = made_of_rows(torch.float32, rows=rows)
    walk_rows(first, begun, range(4))
    state = copy.deepcopy(begun.state_dict())
    assert set(state) == {"adam", "rows"}
    second, resumed = made_of_rows(torch.float32, rows=rows)
    with torch.no_grad():
        for into, source in zip(second, first, strict=True):
            into.copy_(source)
    resumed.load_state_dict(state)
    forgetful, forgotten = made_of_rows(torch.float32, rows=rows)
    with torch.no_grad():
        for into, source in zip(forgetful, first, strict=True):
            into.copy_(source)
    walk_rows(second, resumed, range(4, 8))
    assert all(torch.equal(a, b) for a, b in zip(whole, second, strict=True))
    walk_rows(forgetful, forgotten, range(4, 8))
    assert not torch.equal(whole[0], forgetful[0]), "without its moments it goes elsewhere"


def test_frozen_rows_are_left_alone():
    parameters, _ = made_of_rows()
    parameters[1].requires_grad_(False)
    before = parameters[1].detach().clone()
    optimiser = Optimiser(parameters, OptimConfig(weight_decay=0.5), STEPS)
    parameters[3].grad = torch.ones(ROWS).double()
    optimiser.step(50)
    assert torch.equal(parameters[1], before)
    assert len(optimiser.state_dict()["rows"]) == len(parameters) - 1


def test_settings_out_of_range_are_refused_all_at_once():
    nan = float("nan")
    with pytest.raises(UserError) as caught:
        OptimConfig(-1.0, warmup=2.0, decay=nan, betas=(0.9, 1.0), clip=-1.0, rows="some")
    assert str(caught.value).splitlines() == [
        "the optimiser's configuration has 6 problems:",
        "  - learning_rate = -1.0; wanted more than 0",
        "  - warmup = 2.0; wanted 0 to 1",
        "  - decay = nan; wanted 0 to 1",
        "  - betas = (0.9, 1.0); wanted two numbers from 0 to below 1",
        "  - clip = -1.0; wanted at least 0",
        "  - rows = some; wanted all or active",
    ]
    OptimConfig(warmup=1.0, decay=1.0, betas=(0.0, 0.0), clip=0.0)


# --- rows that begin anew -------------------------------------------------------------------------


@pytest.mark.parametrize("by_rows", [True, False], ids=["rows", "torch"])
def test_forgotten_rows_move_as_if_they_had_no_past(by_rows):
    """Two parameters with the same gradient now: one was pushed the other way before, and forgot."""

    def stepped(forget):
        matrix, vector = nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.zeros(3))
        if by_rows:
            RowGradient.attach(matrix)
        optimiser = Optimiser([matrix, vector], OptimConfig(0.1, warmup=0, decay=0, clip=0), 10)
        for step, sign in enumerate((-1.0, -1.0, 1.0)):
            if forget and step == 2:
                for parameter in (matrix, vector):
                    optimiser.forget(parameter, torch.tensor([1]))
            before = matrix.detach().clone(), vector.detach().clone()
            for parameter in (matrix, vector):
                parameter.grad = torch.full_like(parameter, sign)
            optimiser.step(step)
        pairs = zip((matrix, vector), before, strict=True)
        return [parameter.detach() - old for parameter, old in pairs]

    for kept, fresh in zip(stepped(False), stepped(True), strict=True):
        assert torch.equal(kept[[0, 2]], fresh[[0, 2]])
        assert float(fresh[1].max()) < 0, "down, as the gradient says"
        assert float(kept[1].min()) > 0, "with its past it still goes up"


def test_a_stranger_is_forgotten_without_a_trace():
    parameter = nn.Parameter(torch.zeros(3, 2))
    optimiser = Optimiser([parameter], OptimConfig(), 10)
    optimiser.forget(nn.Parameter(torch.zeros(3)), torch.tensor([0]))
    assert len(optimiser.state_dict()["adam"]["state"]) == 0
