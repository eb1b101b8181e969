import pytest
import torch

from monosemy.data.features.truth import Features


def test_sizes_and_the_expected_number_of_active_features():
    none = torch.tensor([-1, 0, -1])
    features = Features(
        "x", torch.eye(3, 5), none, none + 1, torch.tensor([0.5, 0.25, 0.125]), none
    )
    assert (features.count, features.width) == (3, 5)
    assert features.true_l0 == pytest.approx(0.875)
