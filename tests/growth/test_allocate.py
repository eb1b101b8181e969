"""Features move to axes of their own: nothing changes at share 0, no linear reader notices the way."""

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.growth import layout
from monosemy.growth.allocate import Assignment, allocate, growth_for, widened
from monosemy.growth.crowd import crowd
from monosemy.growth.double import InDouble, logits
from monosemy.growth.families import family_of
from monosemy.growth.proof import EXACT, differ
from monosemy.growth.reading import Reading
from monosemy.growth.shapes import Growth, shape_of
from monosemy.models import tap
from monosemy.models.sites import resolve

SITES = ("blocks.0.hook_resid_post", "blocks.0.mlp.hook_post", "blocks.1.hook_mlp_out")
MOVES = ("gpt2", "gpt2, untied", "gpt_neox", "gpt_neox, sequential, tied", "llama",
         "llama, untied, biases", "qwen3", "gemma", "opt", "opt, no biases")  # fmt: skip


def _assignment(model, site, features=3, own=2, axes=True):
    found = crowd(model, resolve(model, site))
    draw = torch.Generator().manual_seed(1)
    rows = torch.randn(features, resolve(model, site).width, generator=draw)
    block = layout.read(model, found.family, found.shape).blocks[found.layer]
    width, neurons = found.shape.width, found.shape.neurons
    reading = Reading(
        0.1 * torch.randn(features, neurons, generator=draw),
        torch.randn(features, own, width, generator=draw),
        torch.randn(features, own, generator=draw) if "up.bias" in block else None,
        torch.randn(features, own, width, generator=draw) if "gate.weight" in block else None,
        torch.rand(features, own, generator=draw),
        torch.ones(features),
    )
    return Assignment(found, found.directions(model, rows), reading, axes)


def _stream(model, name, ids):
    site = resolve(model, name)
    with InDouble():
        return tap.read(model, [site], ids)[name].flatten(0, 1)


def _readers(done):
    """Every matrix that reads the stream behind the move, with its gains."""
    found = done.assignment.crowd
    family = family_of(done.model.config)
    weights = layout.read(done.model, family, shape_of(done.model.config, family))
    for block in weights.blocks[found.layer + 1 :]:
        for norm, names in (("before attention", "qkv"), ("before mlp", ("gate", "up"))):
            for name in names:
                if f"{name}.weight" in block:
                    yield block[f"{name}.weight"], block[f"{norm}.weight"] + family.offset
    yield weights.outside["head"], weights.outside["final.weight"] + family.offset


@pytest.mark.parametrize("kind", MOVES)
@pytest.mark.parametrize("site", SITES)
def test_the_function_stays_at_the_start(tiny, kind, site, ids):
    model = tiny(kind)
    done = allocate(model, _assignment(model, site))
    assert differ(model, done.model, ids).relative <= EXACT
    assert len(done.axes) == 3
    assert len(done.neurons) == 6


@pytest.mark.parametrize("kind", MOVES)
def test_no_linear_reader_notices_the_move(tiny, kind, ids):
    model = tiny(kind)
    given = _assignment(model, "blocks.0.mlp.hook_post")
    done = allocate(model, given)
    name = given.crowd.behind
    before = _stream(done.model, name, ids)
    done.move(0.4)
    done.move(1.0)
    moved = _stream(done.model, name, ids) - before
    largest = float(moved.abs().max())
    assert largest > 1e-3  # there is something to notice
    found = family_of(done.model.config)
    moved = moved - moved.mean(1, keepdim=True) if found.centres else moved
    for read, gain in _readers(done):
        noticed = float(((moved * gain) @ read.T).abs().max())
        assert noticed < 1e-10 * largest * float(read.norm()) * float(gain.norm())
    # Negative control: the same readers do notice a feature that only leaves.
    gone = moved.clone()
    gone[:, done.axes] = 0
    assert max(float(((gone * gain) @ read.T).abs().max()) for read, gain in _readers(done)) > 1e-4


def test_the_axis_holds_what_was_read_and_the_crowd_has_lost_it(tiny, ids):
    model = tiny("llama")
    given = _assignment(model, "blocks.0.mlp.hook_post", features=1, own=1)
    done = allocate(model, given)
    before = _stream(done.model, given.crowd.behind, ids)
    done.move(1.0)
    after = _stream(done.model, given.crowd.behind, ids)
    length = float(given.directions.norm())
    y = (after - before)[:, done.axes[0]] / length
    assert float(y.abs().max()) > 1e-3
    old = done.plan.stream.places
    torch.testing.assert_close((after - before)[:, old], -y[:, None] * given.directions)


def test_neurons_of_their_own_write_where_the_crowd_wrote(tiny, ids):
    model = tiny("gpt2")
    given = _assignment(model, "blocks.1.mlp.hook_post", axes=False)
    done = allocate(model, given)
    assert len(done.axes) == 0
    assert done.plan.after.width == done.plan.before.width
    assert differ(model, done.model, ids).relative <= EXACT
    done.move(1.0)
    assert differ(model, done.model, ids).relative > 1e-6


def test_moves_add_up(tiny, ids):
    model = tiny("gpt2")
    given = _assignment(model, SITES[1])
    one, two = allocate(model, given), allocate(model, given)
    one.move(1.0)
    for share in (0.2, 0.5, 1.0):
        two.move(share)
    torch.testing.assert_close(logits(one.model, ids), logits(two.model, ids))
    two.move(0.0)
    assert differ(model, two.model, ids).relative <= 10 * EXACT


def test_every_new_axis_and_neuron_learns(tiny, ids):
    model = tiny("gpt2, untied")
    done = allocate(model, _assignment(model, SITES[1]))
    done.model.requires_grad_(True)
    done.move(0.1)
    logits_ = done.model(ids).logits
    torch.nn.functional.cross_entropy(
        logits_[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
    ).backward()
    family = family_of(done.model.config)
    shape = shape_of(done.model.config, family)
    gradient = {n: p.grad for n, p in done.model.named_parameters()}
    head = gradient["lm_head.weight"]
    assert (head[:, done.axes].abs().amax(0) > 0).all()
    up = gradient[f"transformer.h.{done.assignment.crowd.layer}.mlp.c_fc.weight"].T
    fires = up[done.neurons].abs().amax(1) > 0
    assert fires.float().mean() > 0.5
    assert shape.layers == 2


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "llama"])
@pytest.mark.parametrize("features", [1, 5, 6, 12])
def test_the_growth_is_one_that_the_family_can_have(tiny, kind, features):
    model = tiny(kind)
    found = crowd(model, resolve(model, SITES[1]))
    growth = growth_for(found.shape, found, features, 2)
    assert growth.mlp == 2 * features
    assert features <= growth.residual < features + 2 * found.shape.heads
    larger, plan = widened(model, growth)
    assert len(plan.stream.new) == growth.residual
    assert larger.num_parameters() > model.num_parameters()
    assert growth_for(found.shape, found, features, 2, axes=False) == Growth(mlp=2 * features)


def test_a_growth_that_is_too_small_is_refused(tiny):
    model = tiny("llama")
    with pytest.raises(UserError, match="4 new entries of neurons; 3 features need 6"):
        allocate(model, _assignment(model, SITES[1]), Growth(mlp=4, residual=4))


def test_a_share_out_of_range_is_refused(tiny):
    done = allocate(tiny("llama"), _assignment(tiny("llama"), SITES[1]))
    with pytest.raises(UserError, match=r"share 1\.5 of a feature; wanted 0 to 1"):
        done.move(1.5)
