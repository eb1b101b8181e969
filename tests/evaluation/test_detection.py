import numpy as np
import pytest
import torch

from monosemy.evaluation import detection
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.firings import Firings
from monosemy.tensors.matching import Cosines


def firings(tokens, columns, seed):
    mask = torch.rand(tokens, columns, generator=torch.Generator().manual_seed(seed)) < 0.3
    return mask, Firings.of([SparseCode.from_dense(mask.float())])


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
    tp, fires, on = np.array([3.0, 0, 0, 5]), np.array([4.0, 0, 2, 5]), np.array([6.0, 0, 0, 5])
    precision, recall = 3 / 4, 3 / 6
    wanted = [2 / (1 / precision + 1 / recall), 0, 0, 1]
    assert detection.f1(tp, fires, on).tolist() == pytest.approx(wanted)


def test_means_by_direction():
    totals = {
        "tp": np.array([[3.0, 0.0]]),
        "fires": np.array([[4.0, 0.0]]),
        "on": np.array([[6.0, 2.0]]),
        "tokens": np.array([10.0]),
    }
    found = {name: m.formula(totals)[0] for name, m in detection.BY_DIRECTION.items()}
    assert found == pytest.approx(
        {"f1": 0.3, "precision": 0.375, "recall": 0.25, "accuracy": (6 + 8) / 20}
    )


def test_the_table_is_f1_of_every_pair():
    (one, latents), (other, features) = firings(200, 9, 0), firings(200, 12, 1)
    table = detection.F1Table(latents, features)
    assert table.shape == (9, 12)
    assert table.transposed.shape == (12, 9)
    found = table.rows(torch.arange(9))
    torch.testing.assert_close(table.transposed.rows(torch.arange(12)), found.T)
    for latent, feature in ((0, 0), (8, 11), (3, 7)):
        a, b = one[:, latent], other[:, feature]
        f1 = 2 * (a & b).sum() / (a.sum() + b.sum())
        assert float(found[latent, feature]) == pytest.approx(float(f1), abs=1e-7)


def test_levels_and_kin():
    parents = torch.tensor([-1, 0, 1, -1])
    metrics = detection.by_level(torch.tensor([0, 1, 2, 0]), parents)
    totals = {
        "hit": np.array([[2.0, 4, 0, 8]]),
        "fired": np.array([[4.0, 4, 0, 8]]),
        "true": np.array([[4.0, 4, 4, 8]]),
    }
    found = {name: metric.formula(totals)[0] for name, metric in metrics.items()}
    assert found == {
        "parent_f1": 0.75, "child_f1": 0.5, "level_0_f1": 0.75, "level_1_f1": 1, "level_2_f1": 0,
    }  # fmt: skip


def test_a_flat_world_has_no_parents():
    metrics = detection.by_level(torch.zeros(2, dtype=torch.long), torch.tensor([-1, -1]))
    zeros = {name: np.zeros((1, 2)) for name in ("hit", "fired", "true")}
    with np.errstate(invalid="ignore"):
        assert np.isnan(metrics["child_f1"].formula(zeros)).all()


def test_of_features_along_one_direction_the_one_that_is_detected():
    (_, latents), (_, features) = firings(300, 3, 0), firings(300, 4, 1)
    features = Firings.of([SparseCode.from_dense(torch.stack(
        [dense(features)[:, 0], dense(latents)[:, 1], dense(features)[:, 2], dense(latents)[:, 1]], 1
    ))])  # fmt: skip
    axes = torch.eye(3)
    cosines = Cosines(axes, torch.stack([axes[1], axes[1], axes[0], axes[2]]))
    found = detection.nearest(cosines, detection.F1Table(latents, features))
    assert found.tolist() == [2, 1, 3], (
        "1 of 0 and 1; 3 is what latent 1 detects, but lies elsewhere"
    )
    assert cosines.rows(torch.tensor([1])).argmax() == 0


def dense(found):
    rows = torch.arange(found.tokens).repeat_interleave(found.offsets.diff())
    full = torch.zeros(found.tokens, found.columns)
    full[rows, found.indices.long()] = 1
    return full
