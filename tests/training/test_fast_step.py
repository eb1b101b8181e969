"""The step as a whole: as dense autograd would take it, the same every time, and nothing large."""

import threading
import tracemalloc

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import build_selection
from monosemy.dictionaries.units import Units
from monosemy.tensors.kernels import PreActivations
from monosemy.tensors.rows import gradient_of
from monosemy.training import revival
from monosemy.training.loop import advance_program
from monosemy.training.objectives import LearnDictionary, ObjectiveConfig
from monosemy.training.optim import OptimConfig, Optimiser, rate_at
from monosemy.training.start import Start

WIDTH, LATENTS, TOKENS, K, STEPS = 10, 48, 64, 4, 500
CONFIGS = {
    "topk": {"aux": 0.1, "dead_after": 600},
    "batchtopk": {"aux": 0.1, "dead_after": 600},
    "relu": {"aux": 0.0, "l1": 0.05, "warmup": 100},
}
OPTIM = OptimConfig(learning_rate=0.01, weight_decay=0.01, clip=0.5)


def batches(dtype=torch.float64):
    draw = torch.Generator().manual_seed(5)
    directions = torch.randn(60, WIDTH, generator=draw)
    while True:
        amounts = torch.rand(TOKENS, 60, generator=draw)
        yield (amounts * (amounts > 0.93) @ directions + 0.2).to(dtype)


def program_of(kind, dtype=torch.float64, latents=LATENTS, width=WIDTH, propose=False, **config):
    draw = torch.Generator().manual_seed(0)
    dictionary = FlatDictionary.random(width, latents, build_selection(kind, K, latents), draw)
    with torch.no_grad():
        dictionary.b_enc[:6] = -3.0  # these die
    dictionary.to(dtype).train()
    dictionary.propose = propose
    start = Start(torch.zeros(width), Units.scaled(1.0), 3.0, 0.0)
    return LearnDictionary(dictionary, start, ObjectiveConfig(**config), STEPS)


def fast_curve(kind, steps=STEPS, dtype=torch.float64, **options):
    program = program_of(kind, dtype, **CONFIGS[kind] | options)
    optimiser = Optimiser(program.module.parameters(), OPTIM, STEPS)
    stream, losses, dead = batches(dtype), [], 0
    for step in range(steps):
        loss, readings = advance_program(program, optimiser, next(stream), step)
        losses.append(float(loss))
        dead = max(dead, int(readings["dead"]))
    return torch.tensor(losses), [p.detach() for p in program.module.parameters()], dead


def kept(kind, pre):
    """The definition of each selection, by sorting everything."""
    if kind == "relu":
        return pre > 0
    count = K if kind == "topk" else K * len(pre)
    flat = pre if kind == "topk" else pre.reshape(1, -1)
    best = flat.topk(count, dim=1).indices
    return torch.zeros_like(flat).scatter(1, best, 1.0).view_as(pre).bool() & (pre > 0)


def plain_curve(kind, steps=STEPS, dtype=torch.float64):
    """The class docstring of `LearnDictionary` with dense matrices, torch's gradients and AdamW."""
    config = ObjectiveConfig(**CONFIGS[kind])
    begun = program_of(kind, dtype, **CONFIGS[kind]).module
    shapes = {name: nn.Parameter(p.detach().clone()) for name, p in begun.named_parameters()}
    W_enc, b_enc, W_dec, b_dec = (shapes[n] for n in ("W_enc", "b_enc", "W_dec", "b_dec"))
    groups = [{"params": [W_enc, W_dec], "weight_decay": OPTIM.weight_decay},
              {"params": [b_enc, b_dec], "weight_decay": 0.0}]  # fmt: skip
    adam = torch.optim.AdamW(groups, betas=OPTIM.betas)
    silent, stream, losses = torch.zeros(LATENTS), batches(dtype), []
    for step in range(steps):
        x = next(stream)
        pre = (x - b_dec) @ W_enc.T + b_enc
        code = pre * kept(kind, pre.detach())
        residual = x - code @ W_dec - b_dec
        loss = residual.square().sum(1).mean() / 3.0
        climbed = min((step + 1) / max(config.warmup, 1), 1.0)
        loss = loss + config.l1 * climbed * code.sum() / TOKENS / WIDTH**0.5
        silent = torch.where((code > 0).any(0), 0, silent + TOKENS)
        dead = silent >= config.dead_after
        if config.aux and dead.any():
            hopes = pre.detach().masked_fill(~dead, -torch.inf)
            best = hopes.topk(min(WIDTH // 2, int(dead.sum())), dim=1).indices
            chosen = torch.zeros_like(pre).scatter(1, best, 1.0) * (hopes > 0)
            target = residual.detach()
            guess = (pre * chosen) @ W_dec
            loss = loss + config.aux * (target - guess).square().mean() / target.square().mean()
        adam.zero_grad()
        loss.backward()
        with torch.no_grad():
            W_dec.grad -= (W_dec.grad * W_dec).sum(1, keepdim=True) * W_dec
        nn.utils.clip_grad_norm_(list(shapes.values()), OPTIM.clip)
        for group in adam.param_groups:
            group["lr"] = rate_at(step, STEPS, OPTIM)
        adam.step()
        with torch.no_grad():
            W_dec.copy_(nn.functional.normalize(W_dec))
        losses.append(float(loss.detach()))
    return torch.tensor(losses), [p.detach() for p in shapes.values()]


@pytest.fixture
def every_token(monkeypatch):
    """AuxK reads all of a small batch, as it does of a large one with few dead latents."""
    monkeypatch.setattr(revival, "_SHARE", 1.0)


@pytest.mark.parametrize("kind", CONFIGS)
def test_five_hundred_steps_follow_dense_autograd(kind, every_token):
    fast, weights, dead = fast_curve(kind)
    plain, wanted = plain_curve(kind)
    # Rounding errors grow as training amplifies them: the first steps agree further.
    torch.testing.assert_close(fast[:50], plain[:50], rtol=1e-9, atol=0)
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=0)
    for one, other in zip(weights, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert fast[-50:].mean() < 0.8 * fast[:50].mean(), "it learns"
    assert dead > 0 or kind == "relu", "dead latents were taught too"


def test_the_comparison_of_curves_can_fail(every_token):
    fast, plain = fast_curve("topk", 50)[0], plain_curve("topk", 50)[0]
    other = fast_curve("topk", 50, aux=0.1001)[0]
    torch.testing.assert_close(fast, plain, rtol=1e-9, atol=0)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(other, plain, rtol=1e-9, atol=0)


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_proposals_in_bfloat16_do_not_bend_the_curve(kind):
    exact = fast_curve(kind, 150, torch.float32)[0]
    proposed = fast_curve(kind, 150, torch.float32, propose=True)[0]
    torch.testing.assert_close(exact[:20], proposed[:20], rtol=1e-5, atol=0)
    torch.testing.assert_close(exact[-50:].mean(), proposed[-50:].mean(), rtol=0.01, atol=0)


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_run_repeats_to_the_last_bit(kind, threads):
    once, again = (fast_curve(kind, 40, torch.float32, aux=0.1, dead_after=64) for _ in range(2))
    assert torch.equal(once[0], again[0])
    assert all(torch.equal(a, b) for a, b in zip(once[1], again[1], strict=True))


def test_a_run_does_not_depend_on_the_guess_for_the_batch(monkeypatch):
    usual = fast_curve("batchtopk", 40, torch.float32)
    real = PreActivations.batch_largest
    for wrong in (0.0, 1e9, 0.3):
        monkeypatch.setattr(
            PreActivations, "batch_largest", lambda self, count, _, w=wrong: real(self, count, w)
        )
        other = fast_curve("batchtopk", 40, torch.float32)
        assert torch.equal(usual[0], other[0])
        assert all(torch.equal(a, b) for a, b in zip(usual[1], other[1], strict=True))


# --- nothing of the size of all pre-activations ---------------------------------------------------


class Largest(TorchDispatchMode):
    """The largest tensor that any operation of torch gives."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **kwargs or {})
        for tensor in result if isinstance(result, list | tuple) else [result]:
            if isinstance(tensor, torch.Tensor):
                # A view into less memory counts as what it shows.
                self.numel = max(self.numel, tensor.numel())
        return result


MANY, LARGE = 2048, 8192  # all pre-activations: 16 million, eight times a tile


def step_of(kind, propose=False):
    """A step of a large batch and dictionary; some latents are dead."""
    program = program_of(kind, torch.float32, LARGE, propose=propose, aux=0.1)
    program.firing.silent[::50] = 10**9
    optimiser = Optimiser(program.module.parameters(), OPTIM, STEPS)
    x = torch.randn(MANY, WIDTH, generator=torch.Generator().manual_seed(0))
    return lambda step: advance_program(program, optimiser, x, step)


@pytest.fixture
def one_thread():
    """All work in this thread, where it is watched."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("propose", [False, True])
@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_no_tensor_of_tokens_by_latents_is_made(kind, propose, one_thread):
    step = step_of(kind, propose)
    step(0)  # loops are compiled, a first threshold is found
    assert threading.current_thread() is threading.main_thread()
    tracemalloc.start()  # numpy tells it what it takes; torch does not
    try:
        with Largest() as largest:
            step(1)
        numpy_peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert MANY * K <= largest.numel < MANY * LARGE / 4
    assert numpy_peak < 4 * MANY * LARGE / 4


def test_dense_autograd_would_be_caught():
    x, W = torch.randn(MANY, WIDTH), nn.Parameter(torch.randn(LARGE, WIDTH))
    with Largest() as largest:
        (x @ W.T).topk(K, dim=1).values.sum().backward()
    assert largest.numel == MANY * LARGE
    assert gradient_of(W) is None
