import numpy as np
import pytest
import torch

from monosemy.data.features import roots
from monosemy.data.features.law import Law
from monosemy.data.features.rates import rates
from monosemy.data.features.tables import BLOCK, GROUP, tables_of
from monosemy.tensors.codes import SparseCode

COUNT = 20_000


def root_law(count: int, rank: int) -> Law:
    """Roots alone, of chances from a ten-thousandth to one."""
    draw = torch.Generator().manual_seed(0)
    chance = torch.logspace(-4, 0, count, dtype=torch.float64)[
        torch.randperm(count, generator=draw)
    ]
    factor = 0.2 * torch.randn(count, rank, generator=draw)
    none = torch.full((count,), -1)
    flat = torch.zeros(count)
    return Law(count, none, chance, none * 0, flat + 1, flat, flat, factor)


def fired(law: Law, samples: int) -> SparseCode:
    tables, state = tables_of(law), np.array([1, 2, 3, 4], np.uint64)
    rank = tables.loads.shape[1]
    shift, tops = np.empty(BLOCK, np.float32), np.empty(GROUP, np.float32)
    firing, rows, counts = np.empty(law.nodes, np.int64), [], [0]
    draw = np.random.default_rng(0)
    for _ in range(samples):
        common = draw.standard_normal(rank).astype(np.float32)
        found = roots.firing_roots(tables.roots, state, common, shift, tops, firing)
        rows.append(np.sort(firing[:found]))
        counts.append(found)
    indices = torch.from_numpy(np.concatenate(rows))
    return SparseCode(torch.tensor(counts).cumsum(0), indices, torch.ones(len(indices)), law.nodes)


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("count", [5, BLOCK, BLOCK + 300])
def test_each_root_fires_as_often_as_it_should(count, rank, deviations):
    law = root_law(count, rank)
    code = fired(law, COUNT)
    seen = deviations(code, rates(law))
    rare = rates(law) * COUNT < 20  # counts that are not normal; as many as a Poisson number allows
    assert seen[~rare].abs().max() < 4.8
    assert seen[rare].abs().sum() < 1.5 * rare.sum() + 10
    assert (code.indices[1:] != code.indices[:-1])[code.rows[1:] == code.rows[:-1]].all()


def test_skips_are_geometric():
    p, lots = 0.3, (np.arange(100_000) + 0.5) / 100_000
    skipped = np.array([roots._skipped(lot, 1 / np.log1p(-p)) for lot in lots])
    for n in range(GROUP):
        assert np.mean(skipped == n) == pytest.approx(p * (1 - p) ** n, abs=2e-5)
    assert skipped.max() == GROUP
    assert roots._skipped(0.99, -0.0) == 0  # a coin that always shows heads


def test_tops_are_the_largest_of_each_group():
    shift = np.random.default_rng(0).standard_normal(BLOCK).astype(np.float32)
    tops = np.empty(GROUP, np.float32)
    roots._tops(shift, tops)
    assert np.array_equal(tops, shift.reshape(GROUP, GROUP).max(0))
