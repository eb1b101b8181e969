"""Stacked dense formulas, written out, are what a cross-layer transcoder computes."""

import pytest
import torch

from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.penalties import QUADRATIC, TANH, Measure
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, ReLU, TopK
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import UserError
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.kernels import PreActivations
from monosemy.tensors.prefixes import Prefixes
from monosemy.tensors.rows import RowGradient

LAYERS, WIDTH, SIZES, TOKENS = 3, 5, (9, 7, 8), 21


def draw(*shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def selections(kind):
    if kind == "jumprelu":
        return [JumpReLU(0.3 + 0.2 * torch.rand(m, dtype=torch.float64), 0.4) for m in SIZES]
    if kind == "batchtopk":
        made = [BatchTopK(2) for _ in SIZES]
        for layer, one in enumerate(made):
            one.threshold.fill_(0.5 + layer / 4)
        return made
    return [TopK(2) if kind == "topk" else ReLU() for _ in SIZES]


def made(kind, dtype=torch.float64) -> CrossLayerTranscoder:
    torch.manual_seed(0)
    W_enc = [draw(m, WIDTH, seed=i, dtype=dtype) for i, m in enumerate(SIZES)]
    b_enc = [0.3 * draw(m, seed=10 + i, dtype=dtype) for i, m in enumerate(SIZES)]
    W_dec = [draw(m, LAYERS - i, WIDTH, seed=20 + i, dtype=dtype) for i, m in enumerate(SIZES)]
    b_dec = draw(LAYERS, WIDTH, seed=30, dtype=dtype)
    return CrossLayerTranscoder(W_enc, b_enc, W_dec, b_dec, selections(kind))


KINDS = ("relu", "topk", "batchtopk", "jumprelu")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def x():
    return draw(TOKENS, LAYERS * WIDTH, seed=40)


@pytest.fixture
def y():
    return draw(TOKENS, LAYERS * WIDTH, seed=41)


def survivors(pre, one, training):
    """Which entries of one layer's pre-activations are active, the plain way."""
    if one.kind == "relu":
        return pre > 0
    if one.kind == "jumprelu":
        return pre > one.threshold.detach().clamp_min(0)
    if one.kind == "topk":
        least = pre.topk(one.k, dim=1).values[:, -1:]
        return (pre >= least) & (pre > 0)
    if not training:
        return pre > one.threshold
    return (pre >= pre.flatten().topk(one.k * len(pre)).values[-1]) & (pre > 0)


def by_the_formula(dictionary, x, training=False):
    """Codes of all layers side by side, and what they write, with dense matrices."""
    layers = x.view(len(x), LAYERS, WIDTH)
    codes = []
    for layer in range(LAYERS):
        pre = layers[:, layer] @ dictionary.encoders[layer].T + dictionary.biases[layer]
        codes.append(pre * survivors(pre, dictionary.selection.layers[layer], training))
    outputs = []
    for target in range(LAYERS):
        total = dictionary.b_dec.view(LAYERS, WIDTH)[target].expand(len(x), -1)
        for layer in range(target + 1):
            total = total + codes[layer] @ dictionary.decoder(layer)[:, target - layer]
        outputs.append(total)
    return torch.cat(codes, 1), torch.cat(outputs, 1)


def test_code_and_output_are_the_formula(kind, x):
    dictionary = made(kind).eval()
    code, written = by_the_formula(dictionary, x)
    torch.testing.assert_close(dictionary.encode(x), code)
    torch.testing.assert_close(dictionary(x), written)
    torch.testing.assert_close(dictionary.decode(code), written)
    assert 0.05 < (code != 0).double().mean() < 0.95


def test_what_a_layer_writes_never_reaches_the_layers_before_it(x):
    dictionary = made("topk").eval()
    code = dictionary.encode(x)
    changed = code.clone()
    changed[:, SIZES[0] : SIZES[0] + SIZES[1]] += 1
    moved = (dictionary.decode(changed) - dictionary.decode(code)).view(TOKENS, LAYERS, WIDTH)
    assert torch.equal(moved[:, 0], torch.zeros_like(moved[:, 0]))
    assert moved[:, 1:].abs().amin(dim=(0, 2)).min() > 0


def test_loss_and_every_gradient_are_those_of_dense_autograd(kind, x, y):
    ours, twin = made(kind).train(), made(kind).train()
    if kind == "jumprelu":  # straight-through gradients are compared in test_selection
        for dictionary in (ours, twin):
            dictionary.selection.requires_grad_(False)
    x_ours, x_twin = x.clone().requires_grad_(), x.clone().requires_grad_()
    code, terms = ours.training_code(x_ours)
    error, rest = ours.squared_error(code, x_ours, y)
    total = error.mean() + 0.3 * terms["l1"]
    total.backward()
    full, written = by_the_formula(twin, x_twin, training=True)
    expected = (y - written).square().sum(1).mean()
    expected = expected + 0.3 * full.sum() / TOKENS / (LAYERS * WIDTH) ** 0.5
    expected.backward()
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(rest, (y - written).detach())
    assert not rest.requires_grad
    torch.testing.assert_close(x_ours.grad, x_twin.grad)
    pairs = zip(ours.named_parameters(), twin.named_parameters(), strict=True)
    compared = [name for (name, one), _ in pairs if one.requires_grad]
    assert len(compared) == 3 * LAYERS + 1
    for name in compared:
        one, other = ours.get_parameter(name).grad, twin.get_parameter(name).grad
        torch.testing.assert_close(one, other, msg=name)
        assert other.abs().max() > 0


def test_row_gradients_hold_the_same(x, y):
    plain, rows = made("topk").train(), made("topk").train()
    for matrix, unit in rows.row_matrices():
        RowGradient.attach(matrix, unit=unit)
    for dictionary in (plain, rows):
        code, _ = dictionary.training_code(x)
        dictionary.squared_error(code, x, y)[0].sum().backward()
    pairs = list(zip(plain.row_matrices(), rows.row_matrices(), strict=True))
    assert [unit for (_, unit), _ in pairs] == [False] * LAYERS + [True] * LAYERS
    for (one, _), (other, _) in pairs:
        assert other.grad is None
        torch.testing.assert_close(one.grad, other.row_gradient.dense())


def test_the_dead_guess_is_that_of_each_layer(x):
    dictionary = made("topk")
    chosen = torch.tensor([1, 2, 5, SIZES[0], SIZES[0] + 3, sum(SIZES) - 1])
    guess = dictionary.guess_with(x, chosen, 2 * LAYERS)
    guess.square().sum().backward()
    twin = made("topk")
    dead = torch.zeros(twin.latents, dtype=torch.float64)
    dead[chosen] = 1
    pre = torch.cat([
        part @ W.T + b
        for part, W, b in zip(x.split(WIDTH, 1), twin.encoders, twin.biases, strict=True)
    ], 1)  # fmt: skip
    alone = (pre.relu() * dead).split(SIZES, 1)
    kept = [a * (a >= a.topk(2, 1).values[:, -1:]) for a in alone]
    wanted = torch.cat(kept, 1) @ twin.W_dec
    torch.testing.assert_close(guess, wanted)
    wanted.square().sum().backward()
    for name, one in dictionary.named_parameters():
        other = twin.get_parameter(name).grad
        torch.testing.assert_close(
            one.grad if one.grad is not None else torch.zeros_like(one),
            other if other is not None else torch.zeros_like(one), msg=name,
        )  # fmt: skip


def test_a_layer_without_dead_latents_guesses_nothing(x):
    dictionary = made("topk")
    guess = dictionary.guess_with(x, torch.tensor([SIZES[0] + 1]), 6).view(TOKENS, LAYERS, WIDTH)
    assert torch.equal(guess[:, 0], torch.zeros_like(guess[:, 0]))
    assert guess[:, 1].abs().max() > 0


def test_the_matrices_for_tools_are_those_of_other_dictionaries(x):
    dictionary = made("relu")
    assert (dictionary.latents, dictionary.width, dictionary.written) == (24, 15, 15)
    assert dictionary.W_enc.shape == dictionary.W_dec.shape == (24, LAYERS * WIDTH)
    code = dictionary.encode(x)
    torch.testing.assert_close((x @ dictionary.W_enc.T + dictionary.b_enc).relu(), code)
    torch.testing.assert_close(dictionary(x), code @ dictionary.W_dec + dictionary.b_dec)
    torch.testing.assert_close(
        dictionary.directions().norm(dim=1), torch.ones(24, dtype=torch.float64)
    )
    pre = PreActivations(x, dictionary.W_enc, dictionary.b_enc)
    torch.testing.assert_close(dictionary.selection.support(pre).dense(), code)


def test_what_is_asked_of_selections_together_is_asked_of_each(kind, x):
    """The layers' own codes, and the one that holds them all, give the same."""
    dictionary = made(kind).train()
    linears = dictionary._linears(x)
    one, selection = SparseCode.side_by_side(linears), dictionary.selection
    torch.testing.assert_close(
        selection.activate(one).dense(), selection.activate_layers(linears).dense()
    )
    found = selection.penalties(one, 15)
    assert found == selection.layer_penalties(linears, 15)
    assert found["l1"] > 0


def test_penalties_see_rows_over_all_their_targets_where_lengths_are_free(x):
    """And a target number of active latents is one of all layers together."""
    dictionary = made("jumprelu").train()
    lengths = dictionary.W_dec.detach().norm(dim=1)
    torch.testing.assert_close(dictionary.lengths(torch.arange(24)), lengths)
    dictionary.selection.measure = Measure(QUADRATIC, target=4.0, lengths=dictionary.lengths)
    code, terms = dictionary.training_code(x)
    torch.testing.assert_close(terms["l1"], (code.dense() * lengths).sum() / TOKENS / 15**0.5)
    count = (code.values > 0).sum() / TOKENS
    torch.testing.assert_close(terms["l0"].double(), (count.double() / 4 - 1) ** 2)
    dictionary.selection.measure = Measure(TANH, lengths=dictionary.lengths)
    soft = (4 * code.dense() * lengths).tanh().sum() / TOKENS
    torch.testing.assert_close(dictionary.training_code(x)[1]["l0"], soft)


def test_other_units_change_nothing_but_units(kind, x):
    dictionary = made(kind).eval()
    scale = torch.linspace(0.5, 2, 2 * LAYERS * WIDTH, dtype=torch.float64)
    origin = torch.cat([draw(15, seed=50), torch.zeros(15, dtype=torch.float64)])
    units = Units.scaled(scale, origin)
    read, write = units.part(slice(0, 15)), units.part(slice(15, None))
    before = dictionary(read.apply(x)) / scale[15:]
    after = made(kind).eval().fold_(read, write)
    torch.testing.assert_close(after(x), before)
    for layer, decoder in enumerate(after.decoders):
        lengths = decoder.detach().norm(dim=1)
        single = not after.selection.layers[layer].compares
        ones = torch.ones_like(lengths)
        torch.testing.assert_close(lengths if single else lengths.mean().expand_as(ones), ones)


def test_states_travel(x):
    first = made("batchtopk").train()
    first.code(x)
    second = made("batchtopk")
    assert not torch.equal(second.eval()(x), first.eval()(x))
    second.load_state_dict(first.state_dict())
    assert torch.equal(second(x), first(x))


def test_prefixes_are_refused(x, y):
    dictionary = made("relu")
    assert not dictionary.nests
    code, ends = dictionary.code(x), torch.tensor([3, 24])
    with pytest.raises(UserError, match="a cross-layer transcoder has no prefixes: its latents"):
        dictionary.nested_squared_error(code, x, y, Prefixes(ends))


# --- bad input ------------------------------------------------------------------------------------

# Below the annotations, which tests check first, stands the check that users meet.
make = CrossLayerTranscoder.__init__.__wrapped__


def refused(*parts) -> str:
    with pytest.raises(UserError) as caught:
        make(object.__new__(CrossLayerTranscoder), *parts)
    return str(caught.value)


def test_shapes_that_disagree_are_all_named():
    W_enc = [torch.zeros(4, 3), torch.zeros(5, 2)]
    b_enc = [torch.zeros(4), torch.zeros(5)]
    W_dec = [torch.zeros(4, 1, 3), torch.zeros(5, 1, 3)]
    found = refused(W_enc, b_enc, W_dec, torch.zeros(2, 3), [ReLU(), ReLU()])
    assert found == (
        "this cross-layer transcoder has 2 problems:\n"
        "  - W_dec[0] has shape (4, 1, 3); wanted (4, 2, 3), as there are 2 layers of 3 numbers "
        "and W_enc[0] has 4 latents\n"
        "  - W_enc[1] has shape (5, 2); wanted (5, 3), as there are 2 layers of 3 numbers "
        "and W_enc[1] has 5 latents"
    )


def test_numbers_of_layers_that_disagree_are_all_named():
    one = [torch.zeros(4, 3)], [torch.zeros(4)], [torch.zeros(4, 1, 3)], torch.zeros(2, 3)
    found = refused(*one, [])
    assert "b_dec has 2 layers, W_enc 1" in found
    assert "selections has 0 layers, W_enc 1" in found
    assert "no layers; wanted at least one" in refused([], [], [], torch.zeros(0, 3), [])


def test_selections_that_do_not_fit_are_named_with_their_layer():
    parts = made("relu")
    decoders = [parts.decoder(layer).detach() for layer in range(LAYERS)]
    given = list(parts.encoders), list(parts.biases), decoders, torch.zeros(LAYERS, WIDTH)
    found = refused(*given, [TopK(2), TopK(99), ReLU()])
    assert "layer 1: k = 99 for 7 latents; wanted 1 <= k <= latents" in found
    assert "layers select by relu, topk; wanted one kind for all of them" in found
