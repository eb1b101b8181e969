"""The loss is the formula: compared with plain dense autograd, in float64."""

from dataclasses import fields, replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.refined import MatchingPursuit
from monosemy.dictionaries.selection import ReLU, build_selection
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import UserError
from monosemy.tensors.rows import gradient_of
from monosemy.training import revival
from monosemy.training.loop import advance_program
from monosemy.training.objectives import LearnDictionary, NextToken, ObjectiveConfig
from monosemy.training.optim import OptimConfig, Optimiser
from monosemy.training.start import Start, look

WIDTH, WRITTEN, LATENTS, K = 6, 4, 20, 3
START = Start(torch.zeros(WIDTH), Units.scaled(1.0), 1.0, 0.0)
DEAD = [2, 5, 11, 17]


@pytest.fixture(autouse=True)
def _every_token(monkeypatch):
    """AuxK reads small batches whole, as it does large ones with few dead latents."""
    monkeypatch.setattr(revival, "_SHARE", 1.0)


def gradient_by_name(program) -> dict[str, torch.Tensor]:
    """Of every parameter, wherever it is kept."""
    carried = {name: gradient_of(p) for name, p in program.module.named_parameters()}
    grads = {name: rows.dense() for name, rows in carried.items() if rows is not None}
    return {n: grads.get(n, p.grad) for n, p in program.module.named_parameters()}


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(1)).double() + 0.3


def made(kind="relu", scale=1.7, dtype=torch.float64, steps=2, **config) -> LearnDictionary:
    """A dictionary off its beginning: biases, decoder apart from encoder, four latents long dead."""
    draw = torch.Generator().manual_seed(0)
    dictionary = FlatDictionary.random(WIDTH, LATENTS, build_selection(kind, K, LATENTS), draw)
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=draw))
        dictionary.to(dtype)
        dictionary.W_dec.copy_(torch.nn.functional.normalize(dictionary.W_dec, dim=1))
        # Too weak to be selected. A ReLU selects whatever is positive, so there none may be.
        dictionary.W_enc[DEAD] *= 0.01
        dictionary.b_enc[DEAD] = -100.0 if kind == "relu" else 0.01
    start = Start(torch.zeros(WIDTH), Units.scaled(torch.tensor(scale).double()), 2.5, 0.0)
    program = LearnDictionary(dictionary.train(), start, ObjectiveConfig(**config), steps)
    program.firing.silent[DEAD] = 10**9
    return program


def dense_loss(program: LearnDictionary, batch: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """The class docstring, written out with dense tensors and torch's own gradients."""
    d, config = program.module, program.config
    x = batch * program.units.scale
    pre = (x - d.b_dec) @ d.W_enc.T + d.b_enc
    f = pre * kept
    residual = x - (f @ d.W_dec + d.b_dec)
    loss = residual.square().sum(1).mean() / program.variance
    sparsity = f.sum(1).mean() / WIDTH**0.5
    loss = loss + config.l1 * min((program.step + 1) / max(config.warmup, 1), 1) * sparsity
    dead = torch.zeros(LATENTS, dtype=torch.bool)
    dead[DEAD] = True
    best = pre.detach().masked_fill(~dead, -torch.inf).topk(config.aux_k or WIDTH // 2, dim=1)
    g = torch.zeros_like(pre).scatter(1, best.indices, 1.0) * pre.clamp_min(0)
    target = residual.detach()
    error = (target - g @ d.W_dec).square().mean() / target.square().mean()
    return loss + config.aux * error


def kept_by(kind: str, program: LearnDictionary, batch: torch.Tensor) -> torch.Tensor:
    """Which entries survive, by the definition of each selection."""
    d = program.module
    with torch.no_grad():
        pre = (batch * program.units.scale - d.b_dec) @ d.W_enc.T + d.b_enc
    if kind == "relu":
        return pre > 0
    if kind == "topk":
        least = pre.topk(K, dim=1).values[:, -1:]
    else:
        least = pre.flatten().topk(K * len(batch)).values[-1]
    return (pre >= least) & (pre > 0)


@pytest.mark.parametrize("kind", ["relu", "topk", "batchtopk"])
@pytest.mark.parametrize(
    "config",
    [
        {"aux": 0.0},
        {"aux": 0.0, "l1": 0.3},
        {"aux": 0.0, "l1": 0.3, "warmup": 4},
        {"aux": 0.7},
        {"aux": 0.7, "aux_k": 1, "l1": 0.3},
    ],
    ids=lambda config: " ".join(config),
)
def test_loss_and_gradients_equal_plain_dense_autograd(kind, config, batch):
    program, twin = made(kind, **config), made(kind, **config)
    expected = dense_loss(twin, batch, kept_by(kind, twin, batch))
    expected.backward()
    loss, readings = program.loss(batch)
    loss.backward()
    torch.testing.assert_close(loss, expected)
    assert int(readings["dead"]) == len(DEAD)
    wanted = {name: parameter.grad for name, parameter in twin.module.named_parameters()}
    for name, found in gradient_by_name(program).items():
        torch.testing.assert_close(found, wanted[name], msg=lambda text, n=name: f"{n}: {text}")
        assert float(found.abs().max()) > 0


def test_the_comparison_above_can_fail(batch):
    program, twin = made(aux=0.0), made(aux=0.0)
    expected = dense_loss(twin, batch, kept_by("topk", twin, batch))
    assert not torch.allclose(program.loss(batch)[0], expected)


def test_dead_latents_learn_through_auxk_and_nobody_else_does(batch):
    """The gradient that AuxK adds: rows of dead latents, and the offset they share; nothing else."""
    without, with_aux = made("topk", aux=0.0), made("topk", aux=0.7, aux_k=len(DEAD))
    for program in (without, with_aux):
        program.loss(batch)[0].backward()
    differs, before = {}, gradient_by_name(without)
    for name, grad in gradient_by_name(with_aux).items():
        change = (grad - before[name]).abs()
        differs[name] = (change.sum(1) if change.ndim == 2 else change) > 1e-12
    for name in ("W_enc", "b_enc", "W_dec"):
        assert differs[name].nonzero().flatten().tolist() == DEAD, name
    assert differs["b_dec"].any()


def test_the_penalty_climbs_to_its_weight(batch):
    program = made("topk", l1=0.3, warmup=4, aux=0.0)
    with torch.no_grad():
        plain = float(made("topk", aux=0.0).loss(batch)[0])
        terms = []
        for _ in range(6):
            loss, readings = program.loss(batch)
            terms.append((float(loss) - plain) / float(readings["l1"]))
    assert terms == pytest.approx([0.075, 0.15, 0.225, 0.3, 0.3, 0.3])


def test_the_gradient_turns_decoder_rows_and_does_not_stretch_them(batch):
    """What lies along a row changes neither the step nor the length that is clipped."""

    def after(stretch: float) -> tuple[torch.Tensor, torch.Tensor]:
        program = made(l1=0.1)
        module, config = program.module, OptimConfig(learning_rate=0.1, clip=0.05)
        optimiser = Optimiser(module.parameters(), config, 10)
        program.loss(batch)[0].backward()
        rows = gradient_of(module.W_dec)
        rows.values.add_(stretch * module.W_dec.detach())
        rows.changed(rows.touched)
        norm = optimiser.step(0)["gradient_norm"]
        return module.W_dec.detach(), norm

    usual, norm = after(0.0)
    for stretch in (-1.0, 100.0):
        torch.testing.assert_close(after(stretch)[0], usual)
        torch.testing.assert_close(after(stretch)[1], norm, rtol=1e-6, atol=0)
    assert norm > 0.05, "it was clipped"


def test_decoder_rows_keep_length_one_while_learning(batch):
    program = made(l1=0.1)
    optimiser = Optimiser(program.module.parameters(), OptimConfig(learning_rate=0.1), 10)
    begun = program.module.W_dec.detach().clone()
    for step in range(5):
        advance_program(program, optimiser, batch, step)
        lengths = program.module.W_dec.detach().norm(dim=1)
        torch.testing.assert_close(lengths, torch.ones(LATENTS).double())
    assert not torch.allclose(program.module.W_dec, begun, atol=0.01)


def test_without_a_gradient_nothing_moves():
    program = made()
    optimiser = Optimiser(program.module.parameters(), OptimConfig(), 10)
    before = [parameter.detach().clone() for parameter in program.module.parameters()]
    optimiser.step(0)
    for one, other in zip(program.module.parameters(), before, strict=True):
        torch.testing.assert_close(one.detach(), other)


def test_at_work_torch_keeps_to_one_thread_beside_the_kernels_own():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with made().at_work():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["relu", "topk", "batchtopk"])
def test_the_result_folds_the_scale_away_exactly(kind, batch):
    """Up to the rounding of directions, whose lengths are one to the last bit but one."""
    program = made(kind, scale=4.0)
    program.loss(batch)  # BatchTopK finds a threshold: an entry, which rounding may let through
    if kind == "batchtopk":
        program.module.selection.threshold.mul_(0.999)
    program.module.eval()
    with torch.no_grad():
        expected = program.module(batch * 4.0) / 4.0
        codes = program.module.encode(batch * 4.0) / 4.0
        result = program.result()
        torch.testing.assert_close(result(batch), expected, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(result.encode(batch), codes, rtol=1e-13, atol=1e-13)
        assert float(codes.abs().max()) > 0
    assert not result.training


def test_the_result_folds_any_scale_to_rounding(batch):
    program = made("batchtopk", scale=0.0371)
    program.loss(batch)
    program.module.selection.threshold.mul_(0.999)
    program.module.eval()
    with torch.no_grad():
        expected = program.module(batch * 0.0371) / 0.0371
        torch.testing.assert_close(program.result()(batch), expected)


def test_the_loss_does_not_depend_on_the_units_of_the_data():
    rows = torch.randn(200, WIDTH, generator=torch.Generator().manual_seed(2))
    losses = []
    for factor in (1.0, 1000.0):
        program = made("topk", dtype=torch.float32, aux=0.0)
        start = look(rows * factor, "mean")
        losses.append(LearnDictionary(program.module, start, program.config).loss(rows * factor)[0])
    torch.testing.assert_close(*losses, rtol=1e-4, atol=0)


def test_predicting_the_mean_leaves_all_the_variance():
    rows = torch.randn(100, WIDTH, generator=torch.Generator().manual_seed(2))
    start = look(rows, "mean")
    silent = FlatDictionary.tied(torch.eye(WIDTH), start.offset, ReLU())
    with torch.no_grad():
        silent.b_enc.fill_(-1e3)
    readings = LearnDictionary(silent, start, ObjectiveConfig(aux=0.0)).loss(rows)[1]
    torch.testing.assert_close(readings["fvu"], torch.tensor(1.0))
    assert float(readings["l0"]) == 0


# For each option another value, and what has to be asked for besides so that it can matter.
EFFECTS = {
    "l1": (0.3, {"l1": 0.1}),
    "l0": (0.3, {"l0": 0.1, "kind": "jumprelu"}),
    "l0_form": ("tanh", {"l0": 0.1, "kind": "jumprelu"}),
    "tanh_slope": (1.0, {"l0": 0.1, "l0_form": "tanh", "kind": "relu"}),
    "target_l0": (0.5, {"l1": 0.1, "kind": "relu"}),
    "warmup": (50, {"l1": 0.1, "warmup": 10}),
    "decoder": ("free", {}),
    "prefixes": ((0.5, 1.0), {}),
    "prefixes_sampled": (3, {}),
    "prefixes_by": ("frequency", {"prefixes": (0.5, 1.0)}),
    "prefixes_detached": (True, {"prefixes": (0.3, 0.6, 1.0)}),
    "tilt": (1.0, {}),
    "k_start": (K + 3, {"k_start": K + 2, "k_fall": 1.0}),
    "k_fall": (0.5, {"k_start": K + 2, "k_fall": 1.0}),
    "aux": (0.9, {"aux": 0.5, "aux_k": 2}),
    "aux_k": (1, {"aux": 0.5, "aux_k": 2}),
    "dead_after": (10**12, {"aux": 0.5, "dead_after": 10**6}),
    "resample_every": (1, {"resample_until": 1.0}),
    "resample_until": (0.9, {"resample_every": 1, "resample_until": 0.1}),
}


@pytest.mark.parametrize("name", [field.name for field in fields(ObjectiveConfig)])
def test_every_option_has_an_effect(name, batch):
    other, besides = EFFECTS[name]
    given = {key: value for key, value in besides.items() if key != "kind"}
    base = ObjectiveConfig(**{"aux": 0.0, **given})

    def weights(config: ObjectiveConfig) -> list[torch.Tensor]:
        settings = {field.name: getattr(config, field.name) for field in fields(config)}
        program = made(besides.get("kind", "topk"), steps=5, **settings)
        parameters = list(program.module.parameters())
        # Of one Adam step only the signs of the gradients show; of the second, more.
        optimiser = Optimiser(parameters, OptimConfig(learning_rate=0.01), 5)
        for step in range(5):
            advance_program(program, optimiser, batch, step)
        return [parameter.detach() for parameter in parameters]

    ordinary, again = weights(base), weights(replace(base))
    assert all(torch.equal(a, b) for a, b in zip(ordinary, again, strict=True))
    changed = weights(replace(base, **{name: other}))
    assert any(not torch.equal(a, b) for a, b in zip(ordinary, changed, strict=True))


def test_k_falls_from_its_start_and_is_the_own_k_in_the_end(batch):
    program = made("topk", steps=10, k_start=K + 4, k_fall=0.4)
    seen = []
    for _ in range(6):
        program.loss(batch)
        seen.append(program.module.selection.k)
    assert seen == [K + 4, K + 3, K + 2, K + 1, K, K]


@pytest.mark.parametrize("k_start", [None, 1])
def test_k_never_begins_below_itself(batch, k_start):
    program = made("topk", k_start=k_start)
    program.loss(batch)
    assert program.module.selection.k == K


def test_k_never_begins_above_the_number_of_latents_and_a_cut_run_ends_at_k(batch):
    program = made("topk", steps=10, k_start=10 * LATENTS)
    program.loss(batch)
    assert program.module.selection.k == LATENTS
    assert program.result().selection.k == K


def test_a_saved_program_goes_on_bit_for_bit(batch):
    first, second = made("batchtopk", l1=0.1, warmup=5), made("batchtopk", l1=0.1, warmup=5)
    for _ in range(3):
        first.loss(batch)
    with torch.no_grad():
        first.module.W_enc.mul_(1.1)
    assert not torch.equal(first.loss(batch)[0], second.loss(batch)[0])
    second.load_state_dict(first.state_dict())
    a, b = first.loss(batch), second.loss(batch)
    assert torch.equal(a[0], b[0])
    assert torch.equal(first.firing.silent, second.firing.silent)
    assert first.step == second.step == 5


def test_settings_out_of_range_are_refused_all_at_once():
    with pytest.raises(UserError) as caught:
        ObjectiveConfig(l1=-0.1, aux=float("inf"), aux_k=0, dead_after=0)
    assert str(caught.value).splitlines() == [
        "the objective's configuration has 4 problems:",
        "  - l1 = -0.1; wanted at least 0",
        "  - aux = inf; wanted at least 0",
        "  - aux_k = 0; wanted at least 1",
        "  - dead_after = 0; wanted at least 1",
    ]
    ObjectiveConfig(l1=0.0, warmup=0, aux=0.0, aux_k=None, dead_after=1)


def test_what_does_not_go_together_is_refused_all_at_once():
    with pytest.raises(UserError) as caught:
        ObjectiveConfig(
            l1=1.0, l0=1.0, l0_form="stpe", tanh_slope=0.0, target_l0=5.0, decoder="fixed",
            prefixes=(0.5, 1.0), prefixes_sampled=1,
        )  # fmt: skip
    assert str(caught.value).splitlines() == [
        "the objective's configuration has 6 problems:",
        "  - tanh_slope = 0.0; wanted more than 0",
        "  - l0_form = 'stpe'; known: step, tanh, quadratic; did you mean 'step'?",
        "  - decoder = 'fixed'; known: unit, free",
        "  - prefixes_sampled = 1 is the whole dictionary alone; wanted 0, or 2 or more",
        "  - prefixes are fixed or sampled; give prefixes or prefixes_sampled, not both",
        "  - target_l0 steers one penalty; give a weight to l1 or to l0, not both",
    ]
    quadratic = "l0_form = quadratic pulls L0 to a target: give it target_l0 and a weight l0"
    for config, reason in (
        ({"l0_form": "quadratic"}, quadratic),
        ({"l0_form": "quadratic", "target_l0": 3.0}, quadratic),
        ({"l0_form": "tanh"}, "l0_form = tanh has no weight; give it l0 or target_l0"),
        ({"l0_form": "tanh", "l1": 1.0, "target_l0": 3.0}, "l0_form = tanh has no weight; give "),
        ({"prefixes": (0.5, 0.2)}, "prefixes = (0.5, 0.2); wanted rising shares, the last of"),
        ({"prefixes_detached": True}, "prefixes_by and prefixes_detached say how prefixes are lea"),
        ({"prefixes_by": "frequency"}, "prefixes_by and prefixes_detached say how prefixes are l"),
        ({"tilt": -1.0}, "tilt = -1.0; wanted at least 0"),
    ):
        with pytest.raises(UserError) as caught:
            ObjectiveConfig(**config)
        assert str(caught.value).startswith(reason)
    ObjectiveConfig(l0_form="quadratic", target_l0=3.0, l0=1.0)
    ObjectiveConfig(l0_form="tanh", target_l0=3.0)


def test_what_a_selection_cannot_be_asked_for_is_refused():
    with pytest.raises(UserError) as caught:
        made("topk", target_l0=5.0, l0=1.0, steps=0)
    assert str(caught.value).splitlines() == [
        "this dictionary's objective has 3 problems:",
        "  - target_l0 = 5, but topk keeps k = 3 active latents; set k, or choose relu or jumprelu",
        "  - l0 = 1 has no gradient: topk lends a count none; wanted jumprelu, or l0_form = tanh, "
        "or l1 instead",
        "  - target_l0 works by shares of the run; its steps are 0",
    ]
    made("relu", target_l0=5.0)
    made("jumprelu", l0=1.0)
    made("topk", l0=1.0, l0_form="tanh")


def test_what_a_structure_cannot_be_asked_for_is_refused():
    pursuit = MatchingPursuit(torch.eye(WIDTH), torch.zeros(WIDTH), 2)
    config = ObjectiveConfig(decoder="free", resample_every=5)
    with pytest.raises(UserError) as caught:
        LearnDictionary(pursuit, START, config, 10)
    assert str(caught.value).splitlines() == [
        "this dictionary's objective has 2 problems:",
        "  - resample_every = 5: a MatchingPursuit has no encoder and decoder row of its own for "
        "each latent; leave it 0, and dead latents to aux",
        "  - decoder = free: a MatchingPursuit encodes with its decoder; wanted unit",
    ]
    layers = [torch.zeros(2, WIDTH)], [torch.zeros(2)], [torch.zeros(2, 1, WIDTH)]
    cross = CrossLayerTranscoder(*layers, torch.zeros(1, WIDTH), [ReLU()])
    with pytest.raises(UserError, match="prefixes of a CrossLayerTranscoder are not defined"):
        LearnDictionary(cross, START, ObjectiveConfig(prefixes_sampled=3), 10)


# --- free decoder rows, prefixes, transcoders ----------------------------------------------------


@pytest.mark.parametrize("penalty", ["l1", "tanh"])
def test_with_free_rows_the_penalty_counts_their_lengths(penalty, batch):
    config = {"l1": 0.3} if penalty == "l1" else {"l0": 0.3, "l0_form": "tanh", "tanh_slope": 0.6}
    program = made("relu", decoder="free", aux=0.0, **config)
    twin = made("relu", decoder="free", aux=0.0, **config)
    for one in (program, twin):
        with torch.no_grad():
            one.module.W_dec.mul_(torch.linspace(0.5, 2, LATENTS)[:, None])
    loss, _ = program.loss(batch)
    loss.backward()
    d, x = twin.module, batch * twin.units.scale
    f = ((x - d.b_dec) @ d.W_enc.T + d.b_enc).clamp_min(0)
    added = f * d.W_dec.norm(dim=1)
    sparsity = added / WIDTH**0.5 if penalty == "l1" else (0.6 * added).tanh()
    fvu = (x - f @ d.W_dec - d.b_dec).square().sum(1).mean() / twin.variance
    expected = fvu + 0.3 * sparsity.sum(1).mean()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    wanted = {name: parameter.grad for name, parameter in d.named_parameters()}
    for name, found in gradient_by_name(program).items():
        torch.testing.assert_close(found, wanted[name], msg=lambda text, n=name: f"{n}: {text}")


def test_free_rows_grow_as_they_like_and_fold_to_length_one(batch):
    program = made("relu", decoder="free", l1=0.01, aux=0.0)
    optimiser = Optimiser(program.module.parameters(), OptimConfig(learning_rate=0.1), 10)
    for step in range(5):
        advance_program(program, optimiser, batch, step)
    lengths = program.module.W_dec.detach().norm(dim=1)
    assert float((lengths - 1).abs().max()) > 0.05
    program.module.eval()
    with torch.no_grad():
        expected = program.module(batch * program.units.scale) * program.units.inverse
        result = program.result()
        torch.testing.assert_close(result(batch), expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(result.W_dec.norm(dim=1), torch.ones(LATENTS).double())


def test_free_rows_that_are_compared_keep_their_proportions(batch):
    program = made("topk", decoder="free", aux=0.0)
    with torch.no_grad():
        program.module.W_dec.mul_(torch.linspace(0.5, 2, LATENTS)[:, None])
    before = program.module.W_dec.detach().norm(dim=1)
    after = program.result().W_dec.detach().norm(dim=1)
    torch.testing.assert_close(after / after[0], before / before[0])


def nested_loss(program: LearnDictionary, batch: torch.Tensor, ends: list[int]) -> torch.Tensor:
    d, x = program.module, batch * program.units.scale
    f = ((x - d.b_dec) @ d.W_enc.T + d.b_enc).clamp_min(0)
    rests = [x - f[:, :end] @ d.W_dec[:end] - d.b_dec for end in ends]
    return torch.stack([rest.square().sum(1).mean() for rest in rests]).mean() / program.variance


def test_sampled_prefixes_are_those_of_the_step(batch):
    program, twin = (made("relu", prefixes_sampled=4, aux=0.0) for _ in range(2))
    seen = set()
    for step in range(3):
        ends = program.nesting.ends(step).tolist()
        seen.add(tuple(ends))
        torch.testing.assert_close(program.loss(batch)[0], nested_loss(twin, batch, ends))
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("config", "named"),
    [({"prefixes": (0.25, 1.0)}, (5, 20)), ({"prefixes_sampled": 3}, (1, 2, 5, 10, 20)), ({}, ())],
)
def test_the_result_names_its_prefixes(config, named):
    assert made("topk", **config).result().prefixes == named


def transcoder(kind="relu", skip=False) -> Transcoder:
    draw = torch.Generator().manual_seed(0)
    shapes = (LATENTS, WIDTH), (LATENTS,), (LATENTS, WRITTEN), (WRITTEN,)
    W_enc, b_enc, W_dec, b_dec = (torch.randn(s, generator=draw).double() for s in shapes)
    W_skip = torch.randn(WRITTEN, WIDTH, generator=draw).double() if skip else None
    selection = build_selection(kind, K, LATENTS).double()
    return Transcoder(W_enc, 0.1 * b_enc, W_dec, b_dec, selection, W_skip).train()


@pytest.fixture
def sides() -> torch.Tensor:
    """What is read and what is to be written, side by side."""
    draw = torch.Generator().manual_seed(3)
    rows = torch.randn(60, WIDTH + WRITTEN, generator=draw).double()
    return rows * torch.linspace(1, 5, WIDTH + WRITTEN).double() + 2


@pytest.mark.parametrize("skip", [False, True])
def test_transcoders_and_their_auxk_equal_dense_autograd(skip, sides):
    start = look(sides, "mean", parts=(WIDTH, WRITTEN), read=WIDTH)
    config = ObjectiveConfig(l1=0.2, aux=0.7, aux_k=2)
    program = LearnDictionary(transcoder(skip=skip), start, config, 2)
    d = transcoder(skip=skip)
    for module in (program.module, d):
        with torch.no_grad():
            module.W_enc[DEAD] *= 0.01
            module.b_enc[DEAD] = 1e-4  # on for some tokens, with next to nothing
    program.firing.silent[DEAD] = 10**9
    program.firing.see = lambda code: None
    loss, _ = program.loss(sides)
    loss.backward()

    z = (sides - start.units.origin) * start.units.scale
    x, y = z[:, :WIDTH], z[:, WIDTH:]
    pre = x @ d.W_enc.T + d.b_enc
    f = pre.clamp_min(0)
    beside = x @ d.W_skip.T if skip else 0
    residual = y - f @ d.W_dec - d.b_dec - beside
    dead = torch.zeros(LATENTS, dtype=torch.bool)
    dead[DEAD] = True
    best = pre.detach().masked_fill(~dead, -torch.inf).topk(2, dim=1).indices
    g = torch.zeros_like(pre).scatter(1, best, 1.0) * pre.clamp_min(0)
    missed = (residual.detach() - g @ d.W_dec).square().mean() / residual.detach().square().mean()
    expected = residual.square().sum(1).mean() / start.variance
    expected = expected + 0.2 * f.sum(1).mean() / WRITTEN**0.5 + 0.7 * missed
    expected.backward()
    torch.testing.assert_close(loss, expected)
    wanted = {name: parameter.grad for name, parameter in d.named_parameters()}
    for name, found in gradient_by_name(program).items():
        torch.testing.assert_close(found, wanted[name], msg=lambda text, n=name: f"{n}: {text}")


# --- next tokens ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=40, n_positions=8, n_embd=8, n_layer=1, n_head=2)
        return GPT2LMHeadModel(config).eval()


IDS = torch.randint(0, 40, (3, 8), generator=torch.Generator().manual_seed(0))


def test_next_token_is_the_mean_of_minus_log_p(model):
    with torch.no_grad():
        log_p = model(IDS).logits.double().log_softmax(-1)
        loss, readings = NextToken(model).loss(IDS)
    by_hand = [-log_p[c, t, IDS[c, t + 1]] for c in range(3) for t in range(7)]
    assert float(loss) == pytest.approx(float(torch.stack(by_hand).mean()), rel=1e-6)
    assert readings == {}
    torch.testing.assert_close(loss, model(IDS, labels=IDS).loss.detach())


def test_next_token_in_bfloat16_is_near_and_leaves_weights_in_float32(model):
    exact, rounded = NextToken(model), NextToken(model, torch.bfloat16)
    with torch.no_grad():
        losses = exact.loss(IDS)[0], rounded.loss(IDS)[0]
    assert losses[1].dtype == torch.float32
    torch.testing.assert_close(*losses, rtol=1e-2, atol=0)
    assert not torch.equal(*losses), "it is computed in another precision"
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_next_token_keeps_its_state(model):
    state = {name: value.clone() for name, value in NextToken(model).state_dict()["module"].items()}
    config = model.config
    other = NextToken(GPT2LMHeadModel(config).eval())
    assert not torch.equal(other.module.lm_head.weight, model.lm_head.weight)
    other.load_state_dict({"module": state})
    with torch.no_grad():
        assert torch.equal(other.loss(IDS)[0], NextToken(model).loss(IDS)[0])
    threads = torch.get_num_threads()
    with other.at_work():
        assert torch.get_num_threads() == threads


def test_prefixes_by_frequency_become_prefixes_by_number(batch):
    """The finished dictionary lies in the order that was learned, and means the same."""
    program = made("relu", prefixes=(0.25, 1.0), prefixes_by="frequency", aux=0.0)
    with torch.no_grad():  # so that some fire more often than others
        program.module.b_enc.copy_(torch.linspace(-1, 1, LATENTS))
    program.loss(batch)
    rates = program.nesting.rates.clone()
    before = program.module.encode(program.units.apply(batch)).detach()
    assert program.nesting.order.tolist() != list(range(LATENTS))
    order = program.nesting.order
    result = program.result()
    assert result.prefixes == (LATENTS // 4, LATENTS)
    torch.testing.assert_close(result.encode(batch) > 0, before[:, order] > 0)
    assert bool((rates[order].diff() <= 0).all())


def test_frequencies_go_on_bit_for_bit(batch):
    config = {"prefixes": (0.25, 1.0), "prefixes_by": "frequency", "prefixes_detached": True}
    first, second = (made("relu", **config, tilt=0.5) for _ in range(2))
    for _ in range(3):
        first.loss(batch)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.loss(batch)[0], second.loss(batch)[0])
    assert torch.equal(first.nesting.rates, second.nesting.rates)
