"""Controls: as many parameters, the same move, nothing chosen."""

import torch

from monosemy.growth import layout
from monosemy.growth.allocate import Assignment, allocate
from monosemy.growth.arms import random_assignment, variance_assignment
from monosemy.growth.crowd import crowd
from monosemy.growth.proof import EXACT, differ
from monosemy.growth.reading import Kind, Rows, fit_reading, read_values
from monosemy.models.sites import resolve
from monosemy.tensors.compute import Compute

KIND = Kind(torch.nn.functional.gelu, gated=False, biased=True)


def _given(model):
    found = crowd(model, resolve(model, "blocks.1.mlp.hook_post"))
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(600, found.shape.width, generator=draw)
    a = torch.randn(600, found.shape.neurons, generator=draw)
    z = (x @ torch.randn(found.shape.width, 3, generator=draw)).relu()
    rows = Rows(x, a, z)
    reading = fit_reading(rows, KIND, 1, True, Compute(), steps=20)
    v = found.directions(model, torch.randn(3, found.shape.neurons, generator=draw))
    return Assignment(found, v, reading), rows


def test_random_ones_are_as_long_and_as_variable(tiny, ids):
    model = tiny("gpt2, untied")
    given, rows = _given(model)
    drawn = random_assignment(given, rows, KIND, Compute())
    torch.testing.assert_close(drawn.directions.norm(dim=1), given.directions.norm(dim=1))
    assert float(drawn.directions.mean(1).abs().max()) < 1e-12
    spread = [read_values(one.reading, rows, KIND).std(0) for one in (given, drawn)]
    torch.testing.assert_close(*spread, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(drawn.directions, given.directions)
    done = allocate(model, drawn)
    assert differ(model, done.model, ids).relative <= EXACT


def test_the_largest_variances_are_moved_exactly(tiny, ids):
    model = tiny("gpt2, untied")
    given, rows = _given(model)
    moved = variance_assignment(given, model, rows, Compute())
    down = layout.read(model, given.crowd.family, given.crowd.shape).blocks[1]["down.weight"]
    written = rows.neurons.double() @ (down - down.mean(0)).T
    values, vectors = torch.linalg.eigh(torch.cov(written.T))
    top = vectors[:, -3:].flip(1).T
    torch.testing.assert_close((moved.directions * top).sum(1).abs(), torch.ones(3).double())
    y = rows.neurons.double() @ moved.reading.crowd.double().T
    torch.testing.assert_close(y.var(0), values.flip(0)[:3], rtol=1e-4, atol=1e-6)
    done = allocate(model, moved)
    assert differ(model, done.model, ids).relative <= EXACT
