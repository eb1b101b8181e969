import pytest
import torch

from monosemy.data.features.checks import unfit


def changed(law, name: str, node: int, value: float):
    column = getattr(law, name).clone()
    column[node] = value
    return {name: column}


def test_a_law_that_can_be_has_nothing_against_it(law, correlated):
    assert unfit(law) == []
    assert unfit(correlated) == []


@pytest.mark.parametrize(
    ("name", "node", "value", "said"),
    [
        ("chance", 6, 1.2, "feature 6: fires with probability 1.2; wanted 0 to 1"),
        ("chance", 6, float("nan"), "feature 6: fires with probability nan; wanted 0 to 1"),
        ("spread", 2, -1.0, "feature 2: the spread is -1; wanted 0 or more"),
        ("gain", 2, float("inf"), "feature 2: the gain is inf; wanted 0 or more"),
        ("mean", 2, float("nan"), "feature 2: the mean is nan; wanted a number"),
        ("parents", 3, 99, "feature 3: the parent is not one of the 18 nodes; wanted its number, or -1"),  # noqa: E501
        ("parents", 3, 7, "feature 7: an axis of a manifold cannot have children"),
        ("parents", 8, 0, "feature 16: a circle has 2 axes and there are 1 children"),
        (
            "chance", 14, 0.3,
            "feature 17: the children exclude each other and their probabilities add up to 1.2; "
            "wanted at most 1",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(law, make_law, name, node, value, said):
    assert unfit(make_law(**changed(law, name, node, value))) == [said]


def test_loops_are_found_however_long(make_law, law):
    parents = law.parents.clone()
    parents[0] = 3  # 0 above 1 above 3 above 0
    (said,) = unfit(make_law(parents=parents))
    assert said == (
        "features 0, 1, 2 and 1 more: its own ancestor, or below one that is; a forest has no loops"
    )


def test_loadings_leave_something_to_the_feature(make_law):
    factor = torch.zeros(18, 2)
    factor[4] = 0.8
    (said,) = unfit(make_law(factor=factor))
    assert said.startswith("feature 4: the squared loadings add up to 1.28; wanted less than 1")


def test_all_reasons_come_at_once(law, make_law):
    wrong = changed(law, "chance", 6, -0.1) | changed(law, "spread", 6, -0.1)
    assert len(unfit(make_law(**wrong))) == 2
