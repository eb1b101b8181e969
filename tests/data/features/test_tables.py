import numpy as np
import torch

from monosemy.data.features.tables import BLOCK, GROUP, PASS, tables_of


def test_nodes_hold_what_the_law_says(correlated):
    tables = tables_of(correlated)
    for name in ("chance", "mean", "spread", "gain"):
        np.testing.assert_allclose(tables.nodes[name], getattr(correlated, name).numpy())
    for node in range(correlated.nodes):
        here = tables.nodes[node]
        children = tables.children[here["first"] : here["last"]]
        assert set(children) == set((correlated.parents == node).nonzero()[:, 0].tolist())


def test_shifts_give_the_chance_back(correlated):
    """On average over what is in common, loads and floors fire as often as the chance says."""
    tables = tables_of(correlated)
    rank = correlated.rank
    assert tables.loads.shape == (18, -(-rank // PASS) * PASS)
    assert (tables.loads[:, rank:] == 0).all()
    # <loads, e> - floor is normal with variance |loads|², so P(n < it) has a closed form.
    above = -tables.nodes["floor"] / np.sqrt(1 + np.square(tables.loads).sum(1))
    found = torch.special.ndtr(torch.from_numpy(above))
    torch.testing.assert_close(found, correlated.chance.double(), rtol=1e-5, atol=1e-7)


def test_roots_are_all_there_once_and_groups_hold_neighbours(law):
    roots = tables_of(law).roots
    assert roots.nodes.shape == (1, BLOCK)
    used = roots.nodes[roots.nodes >= 0]
    assert sorted(used) == (law.parents < 0).nonzero()[:, 0].tolist()
    square = roots.chance.reshape(GROUP, GROUP)
    fallen = square.T.flatten()
    assert (np.diff(fallen) <= 0).all()
    assert np.array_equal(roots.bounds[0], square.max(0))
    assert (roots.chance[roots.nodes < 0] == 0).all()
    assert np.isinf(roots.floors[roots.nodes < 0]).all()
