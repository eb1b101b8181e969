"""Features that carry an offset: planted ones are found, with what they write."""

from __future__ import annotations

import torch

from monosemy.superposition.carriers import carriers


def test_the_planted_feature_carries_the_offset():
    draw = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(20, 30, generator=draw), dim=1)
    first = torch.rand(12, 20, generator=draw) * (torch.rand(12, 20, generator=draw) < 0.2)
    first[:, 7] = 0
    first[:, 3] = 0.5
    second = first.clone()
    second[:, 7] = 2.0
    second[:, 3] = 0.0
    offset = ((second - first) @ directions).mean(0)
    found = carriers(first, second, directions, offset)
    assert found.latents.tolist() == [7, 3]
    assert found.change.tolist() == [2.0, -0.5]
    assert found.steady.tolist() == [1.0, 1.0]
    assert abs(float(found.explained[-1]) - 1) < 1e-5
    assert found.active == 2
    assert found.to_json()["latents"][0]["latent"] == 7


def test_nothing_changes_and_nothing_is_named():
    code = torch.ones(4, 5)
    found = carriers(code, code, torch.eye(5), torch.zeros(5))
    assert found.latents.tolist() == []
    assert found.active == 0
