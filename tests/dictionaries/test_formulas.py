"""Every kind of dictionary beside its plain twin: the formula, dense, by torch's own autograd."""

import copy

import pytest
import torch
from torch.nn.functional import normalize

from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.hierarchical import HierarchicalDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.dictionaries.pruned import PrunedDictionary
from monosemy.dictionaries.refined import MatchingPursuit, RefinedDictionary
from monosemy.tensors.prefixes import Prefixes
from monosemy.tensors.rows import RowGradient, gradient_of

SIZES = [(10, 3, True), (10, 1, False), (10, 10, False), (1, 1, True)]
"""Latents, k (few, one, all, one latent alone), and whether it is training."""
LEARN_BY_THEMSELVES = ("local", "local deep", "hierarchical")
"""Kinds that refuse `training_code`."""


# --- the plain twins ------------------------------------------------------------------------------


def by_formula(dictionary, x):
    """Code and reconstruction as the class says it, dense, by torch's own autograd."""
    for kind, formula in FORMULAS.items():
        if isinstance(dictionary, kind):
            return formula(dictionary, x)
    return _linear(dictionary, x)


def shifted(d, x):
    return x - d.b_dec if d.centred else x


def _linear(d, x):
    length = d.W_dec.norm(dim=1)
    pre = shifted(d, x) @ d.W_enc.T + d.b_enc
    code = survivors(d.selection, pre if d.weighing == "none" else pre * length)
    code = code / length if d.weighing == "selected" else code
    rows = normalize(d.W_dec, dim=1) if d.weighing == "rescaled" else d.W_dec
    skip = getattr(d, "W_skip", None)
    return code, code @ rows + d.b_dec + (0 if skip is None else x @ skip.T)


def _gated(d, x):
    u = (x - d.b_dec) @ d.W_enc.T
    code = (u + d.b_enc > 0) * (d.r_mag.exp() * u + d.b_mag).relu()
    return code, code @ d.W_dec + d.b_dec


def _cross_layer(d, x):
    inputs = x.chunk(d.layers, dim=1)
    codes = [
        survivors(d.selection.layers[n], inputs[n] @ d.encoders[n].T + d.biases[n])
        for n in range(d.layers)
    ]
    outputs = [
        sum(codes[n] @ d.decoder(n)[:, target - n] for n in range(target + 1))
        for target in range(d.layers)
    ]
    return torch.cat(codes, 1), torch.cat(outputs, 1) + d.b_dec


def _pursuit(d, x):
    rest, code = x - d.b_dec, torch.zeros(len(x), len(d.W_dec), dtype=x.dtype)
    going = torch.ones(len(x), 1, dtype=torch.bool)
    for _ in range(d.selection.k):
        products = rest @ d.W_dec.T
        best = products.argmax(1, keepdim=True)
        z = products.gather(1, best).relu() * going
        before, code = code, code.scatter_add(1, best, z)
        rest = rest - z * d.W_dec[best[:, 0]]
        if d.stop_on_duplicate:
            going = going & ((code != 0) != (before != 0)).any(1, keepdim=True)
        if d.residual_threshold:
            going = going & (rest.norm(dim=1, keepdim=True) >= d.residual_threshold)
    return code, code @ d.W_dec + d.b_dec


def _refined(d, x):
    def read(y, selection):
        return survivors(selection, (y - d.b_dec) @ d.W_enc.T + d.b_enc)

    guess = read(x, d.first) @ d.W_dec + d.b_dec
    code = read(x + d.step * (x - guess), d.selection)
    return code, code @ d.W_dec + d.b_dec


def _pruned(d, x):
    code, out = by_formula(d.inner, x)
    change = []
    for i, row in enumerate(d.W_dec):  # one latent left out at a time
        without = code.clone()
        without[:, i] = 0
        change.append((x - without @ d.W_dec - d.b_dec) @ row)
    kept = code * (torch.stack(change, 1) > d.threshold)
    return kept, kept @ d.W_dec + d.b_dec


def _local(d, x):
    """Token by token, entry by entry: activations outside the gradient, what they write inside."""
    with torch.no_grad():
        codes = torch.stack([_explained(d, token)[0] for token in _proposals(d, x)])
    return codes, codes @ d.W_dec + d.b_dec


def _proposals(d, x):
    pre = (x - d.b_dec) @ d.W_enc.T + d.b_enc
    return list(zip(x, survivors(d.selection, pre), strict=True))


def _explained(d, token):
    """The whole code of a token, and the child of each bearer of this level, by bearer."""
    if hasattr(d.trunk, "trunk"):
        code, above = _explained(d.trunk, token)
        first = d.trunk.trunk.latents
        active = {p * d.trunk.branching + j: code[first + p * d.trunk.branching + j]
                  for p, j in above.items()}  # fmt: skip
    else:
        x, code = token
        active = {int(p): code[p] for p in code.nonzero()[:, 0]}
    return _one_level(d, token[0], code, active)


def _one_level(d, x, code, active):
    first, refits = d.trunk.latents - d.bearers, not hasattr(d.trunk, "trunk")
    code = torch.cat([code, torch.zeros(d.bearers * d.branching).to(code)])
    child = {}
    for turn in range(d.rounds + 1):
        for p in sorted(active):
            if turn == d.rounds and code[first + p] <= 0:
                continue
            code[d.trunk.latents :].view(d.bearers, -1)[p] = 0
            code[first + p] *= not refits
            rest = x - code @ d.W_dec - d.b_dec
            found = _best(d, rest, p, refits, turn == d.rounds, active[p])
            child.pop(p, None)
            if found is None:
                continue
            a, j, s = found
            code[first + p] = a if refits else active[p]
            if j is not None:
                code[d.trunk.latents + p * d.branching + j], child[p] = s, j
    return code, child


def _best(d, rest, p, refits, last, a):
    """By torch's least squares, one child after another; `None` for a bearer that is dropped."""
    own = d.W_dec[d.trunk.latents - d.bearers + p]
    alone = (rest @ own).clamp_min(0) if refits else a
    least = (alone, None, 0.0, rest - (alone * own if refits else 0))
    for j in range(d.branching if d.routes[p] >= 0 else 0):
        e = d.W_dec[d.trunk.latents + p * d.branching + j]
        if refits:
            if alone <= 0 or 1 - (own @ e) ** 2 < 0.05:
                continue
            now, s = torch.linalg.lstsq(torch.stack([own, e], 1), rest).solution
        else:
            now, s = a, rest @ e
        left = rest - s * e - (now * own if refits else 0)
        fits = now > 0 and s > float(d.least) * now
        if fits and left.square().sum() < least[3].square().sum():
            least = now, j, s, left
    if last and refits and (rest - least[3]).square().sum() <= float(d.floor) ** 2:
        return None
    return least[:3]


def _hierarchical(d, x):
    parents, _ = _linear(d.trunk, x)
    inside = torch.einsum("prd,td->tpr", d.reads, x - d.b_dec)
    pre = (torch.einsum("pcr,tpr->tpc", d.C_enc, inside) + d.t).relu()
    amount = pre * (pre == pre.amax(2, keepdim=True)) * (parents > 0)[:, :, None]
    rows = torch.einsum("pcr,prd->pcd", d.C_dec, d.writes)
    written = torch.einsum("tpc,pcd->td", amount, rows)
    code = torch.cat([parents, (amount * rows.norm(dim=2)).flatten(1)], 1)
    return code, parents @ d.trunk.W_dec + written + d.b_dec


def _normalised(d, x):
    middle, scale, back = 0, 1 / d.factor, 1 / d.factor_out
    if d.norm == "layer_norm":
        middle = x.mean(1, keepdim=True)
        back = ((x - middle).square().sum(1, keepdim=True) / (x.shape[1] - 1)).sqrt()
        scale = back + d.eps
    if d.norm == "unit_norm":
        scale = back = (x.square().sum(1, keepdim=True).sqrt() + d.eps) / x.shape[1] ** 0.5
    code, out = by_formula(d.inner, (x - middle) / scale)
    return code, out * back + middle


FORMULAS = {
    GatedDictionary: _gated,
    CrossLayerTranscoder: _cross_layer,
    MatchingPursuit: _pursuit,
    RefinedDictionary: _refined,
    PrunedDictionary: _pruned,
    NormalisedDictionary: _normalised,
    LocalDictionary: _local,
    HierarchicalDictionary: _hierarchical,
}


def survivors(selection, pre):
    """Activations from dense pre-activations; with JumpReLU's surrogate for its thresholds."""
    k, positive = selection.k, pre.relu()
    if selection.kind == "jumprelu":
        return _jump(selection, pre)
    if selection.kind == "batchtopk":
        if not selection.training:
            return pre * (pre > selection.threshold)
        return _largest(positive.reshape(1, -1), k * len(pre)).view_as(pre)
    if selection.kind == "groupmax":
        groups = positive.unflatten(1, (k, -1))
        return (groups * (groups == groups.max(2, keepdim=True).values)).flatten(1)
    if selection.kind == "signed_topk":
        return pre * (_largest(pre.abs(), k) != 0)
    named = {"relu": positive, "identity": pre}
    if selection.kind in named:
        return named[selection.kind]
    return _largest({"topk": positive, "raw_topk": pre}[selection.kind], k)


def _largest(pre, k):
    mask = torch.zeros_like(pre).scatter(1, pre.topk(min(k, pre.shape[1]), dim=1).indices, 1)
    return pre * mask


def _jump(selection, pre):
    """arXiv:2407.14435, with a term that is zero and has the straight-through gradient."""
    threshold, width = selection.threshold, selection.bandwidth
    code = pre * (pre > threshold.clamp_min(0))
    inside = ((pre - threshold).abs() < width / 2) & (pre > 0)
    slope = (-threshold / width * inside).detach()
    return code + slope * (threshold - threshold.detach()) * selection.training


def targets(dictionary, rows):
    """What is to be written."""
    if dictionary.autoencodes:
        return rows
    draw = torch.Generator().manual_seed(11)
    return torch.randn(len(rows), dictionary.written, generator=draw).to(rows)


def gradients(dictionary):
    """Of every parameter, by name, wherever it came."""
    found = {}
    for name, parameter in dictionary.named_parameters():
        total = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        into = gradient_of(parameter)
        found[name] = total if into is None else total + into.dense()
    return found


def assert_same_gradients(ours, twin):
    found, wanted = gradients(ours), gradients(twin)
    assert any(grad.any() for grad in wanted.values())
    for name, grad in wanted.items():
        torch.testing.assert_close(found[name], grad, msg=lambda text, name=name: f"{name}: {text}")


def _exact_(dictionary):
    """Where formulas take rows to be of length one: to the last of the digits that are compared."""
    if isinstance(dictionary, LocalDictionary):
        with torch.no_grad():
            dictionary.parents.W_dec.copy_(normalize(dictionary.parents.W_dec, dim=1))
            for level in dictionary.levels:
                level.C.copy_(normalize(level.C, dim=2))
                level.V.copy_(torch.linalg.qr(level.V.mT)[0].mT)
    return dictionary


# --- it is its formula ----------------------------------------------------------------------------


@pytest.mark.parametrize(("latents", "k", "training"), SIZES)
def test_code_and_reconstruction_and_gradients_are_the_formulas(
    make, kind, rows, latents, k, training
):
    ours = _exact_(make(kind, latents, k).double()).train(training)
    twin, rows = copy.deepcopy(ours), rows.double()
    code = ours.code(rows)
    found, (full, out) = ours.decode(code, rows), by_formula(twin, rows)
    torch.testing.assert_close(code.dense(), full)
    torch.testing.assert_close(found, out)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(12)).double()
    (found * weights).sum().backward()
    (out * weights).sum().backward()
    assert_same_gradients(ours, twin)


def test_the_squared_error_and_its_row_gradients_are_those_of_the_dense_program(
    learner, learning_kind, rows
):
    twin, rows = copy.deepcopy(learner), rows.double()
    wanted = targets(learner, rows)
    for matrix, unit in learner.row_matrices():
        RowGradient.attach(matrix, unit=unit)
    if learning_kind in LEARN_BY_THEMSELVES:
        pytest.skip("its program asks it for other things; see tests/training")
    code, _ = learner.training_code(rows)
    squares, rest = learner.squared_error(code, rows, wanted)
    squares.sum().backward()
    out = by_formula(twin, rows)[1]
    torch.testing.assert_close(squares, (wanted - out).square().sum(1))
    torch.testing.assert_close(rest, (wanted - out).detach())
    assert not rest.requires_grad
    (wanted - out).square().sum().backward()
    assert_same_gradients(learner, twin)


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
def test_every_prefix_leaves_what_its_latents_leave(learner, rows, ordered, detached):
    if not getattr(learner, "nests", True):
        pytest.skip("has no prefixes")
    twin, rows = copy.deepcopy(learner), rows.double()
    wanted, latents = targets(learner, rows), learner.latents
    ends, draw = torch.tensor([2, 5, latents]), torch.Generator().manual_seed(3)
    places = torch.randperm(latents, generator=draw) if ordered else torch.arange(latents)
    prefixes = Prefixes(ends, detached, places if ordered else None)
    code, _ = learner.training_code(rows)
    squares, rest = learner.nested_squared_error(code, rows, wanted, prefixes)
    full, out = by_formula(twin, rows)
    nothing = twin.decode(0 * full, rows)
    backs = []
    for part, end in enumerate(ends):
        back = twin.decode(full * (places < end), rows)
        if detached and part == 1:  # only what it adds to the first is taught
            new = (places < end) & (places >= ends[0])
            back = backs[0].detach() + twin.decode(full * new, rows) - nothing
        backs.append(back)
    expected = torch.stack([(wanted - back).square().sum(1) for back in backs], 1)
    torch.testing.assert_close(squares, expected)
    torch.testing.assert_close(rest, (wanted - out).detach())
    weights = torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)
    (squares @ weights).sum().backward()
    (expected @ weights).sum().backward()
    assert_same_gradients(learner, twin)


def test_rearranged_latents_are_the_same_ones(learner, rows):
    if not getattr(learner, "nests", True):
        pytest.skip("its latents lie by layer")
    if learner.selection.kind == "groupmax":
        pytest.skip("chooses among neighbours, so that an order is part of what it is")
    rows = rows.double()
    learner.eval()  # BatchTopK: by its threshold, which knows no order of equals
    order = torch.randperm(learner.latents, generator=torch.Generator().manual_seed(3))
    before, back = learner.encode(rows), learner(rows)
    learner.rearrange_(order)
    torch.testing.assert_close(learner.encode(rows), before[:, order])
    torch.testing.assert_close(learner(rows), back)


def test_what_chosen_latents_would_write_alone(learner, rows):
    """AuxK's guess: the largest positive of plain readings, whatever the selection is."""
    if isinstance(learner, CrossLayerTranscoder):
        pytest.skip("guesses layer by layer")
    twin, rows, chosen = copy.deepcopy(learner), rows.double(), torch.tensor([1, 4, 6])
    chosen = chosen[chosen < learner.latents]
    guess = learner.guess_with(rows, chosen, 2)
    pre = shifted(twin, rows) @ twin.W_enc[chosen].T + twin.b_enc[chosen]
    expected = _largest(pre.relu(), 2) @ twin.W_dec[chosen]
    torch.testing.assert_close(guess, expected)
    guess.square().sum().backward()
    expected.square().sum().backward()
    assert_same_gradients(learner, twin)
