import pytest
import torch

from monosemy.data.features.law import AXES, Rule


def test_depths_count_gates_too(law):
    assert law.depths.tolist() == [0, 1, 1, 2, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0, 0]


def test_families_list_the_children_of_every_node(law):
    bounds, children = law.families
    listed = {n: children[bounds[n] : bounds[n + 1]].tolist() for n in range(law.nodes)}
    parents = law.parents.tolist()
    assert listed == {n: [c for c in range(18) if parents[c] == n] for n in range(18)}


def test_places_number_the_children_of_every_node(law):
    assert law.places.tolist() == [0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 2, 0, 1, 0, 0, 0]


def test_a_node_fires_by_its_parents_rule_and_roots_alone(law):
    wanted = {1: Rule.CONTEST, 2: Rule.CONTEST, 4: Rule.CHOICE, 7: Rule.CIRCLE, 10: Rule.CURVE}
    assert {n: law.sibling_rules[n] for n in wanted} == wanted
    assert set(law.sibling_rules[law.parents < 0].tolist()) == {Rule.ALONE}


def test_thresholds_are_exceeded_as_often_as_the_chance_says(law):
    above = torch.special.ndtr(-law.thresholds)
    torch.testing.assert_close(above, law.chance.double())


def test_loadings_and_remainder_have_variance_one(correlated):
    whole = correlated.factor.double().square().sum(1) + correlated.remainder.square()
    torch.testing.assert_close(whole, torch.ones(18, dtype=torch.float64))


def test_shares_of_a_choice_lie_side_by_side(law):
    assert law.first[[4, 5, 13, 14]].tolist() == pytest.approx([0, 0.2, 0, 0.9])
    assert law.first[[1, 2, 7]].tolist() == [0, 0, 0]


def test_every_manifold_has_as_many_axes_as_its_points_have_numbers():
    assert AXES == {Rule.CIRCLE: 2, Rule.TORUS: 4, Rule.CURVE: 3}


def test_every_number_is_in_the_fingerprint(law, make_law):
    assert make_law().fingerprint == law.fingerprint
    for name in ("chance", "mean", "spread", "gain"):
        changed = getattr(law, name).clone()
        changed[5] += 0.01
        assert make_law(**{name: changed}).fingerprint != law.fingerprint, name
    assert make_law(uniform=True).fingerprint != law.fingerprint


def test_the_other_device_holds_the_same_law(law):
    assert law.to("cpu").fingerprint == law.fingerprint
