import numpy as np
import pytest

from monosemy.evaluation.results import estimate
from monosemy.evaluation.splicing import METRICS

SUMS = {
    "predicted": [10.0, 30.0],
    "ce_clean": [20.0, 60.0],
    "ce_spliced": [22.0, 63.0],
    "ce_zero": [70.0, 190.0],
    "ce_mean": [40.0, 120.0],
    "kl_spliced": [1.0, 3.0],
    "kl_zero": [40.0, 120.0],
    "kl_mean": [10.0, 30.0],
}


def _estimates(**changes):
    return estimate({k: np.array(v) for k, v in (SUMS | changes).items()}, METRICS, 0)


def test_by_hand():
    found = {name: e.value for name, e in _estimates().items()}
    assert found == pytest.approx({
        "ce_clean": 80 / 40,
        "ce_spliced": 85 / 40,
        "ce_zero": 260 / 40,
        "ce_mean": 160 / 40,
        "ce_recovered_zero": 175 / 180,
        "ce_recovered_mean": 75 / 80,
        "kl_recovered_zero": 156 / 160,
        "kl_recovered_mean": 36 / 40,
    })  # fmt: skip


def test_the_clean_model_recovers_all_and_ablation_nothing():
    clean = _estimates(ce_spliced=SUMS["ce_clean"], kl_spliced=[0.0, 0.0])
    ablated = _estimates(ce_spliced=SUMS["ce_zero"], kl_spliced=SUMS["kl_zero"])
    for kind in ("ce", "kl"):
        assert clean[f"{kind}_recovered_zero"].value == 1
        assert clean[f"{kind}_recovered_mean"].value == 1
        assert ablated[f"{kind}_recovered_zero"].value == 0
        assert ablated[f"{kind}_recovered_mean"].value < 0


def test_where_ablation_does_not_hurt_nothing_is_recovered():
    found = _estimates(ce_zero=[19.0, 60.0], kl_mean=[0.0, 0.0])
    for name in ("ce_recovered_zero", "kl_recovered_mean"):
        assert found[name].to_json() == {
            "value": None, "low": None, "high": None,
            "note": "ablating the site does not hurt this model, so there is nothing to recover",
        }  # fmt: skip
    assert found["ce_recovered_mean"].value == pytest.approx(75 / 80)
    assert found["ce_zero"].value == pytest.approx(79 / 40)


def test_rounding_is_no_harm():
    clean = np.array(SUMS["ce_clean"])
    found = _estimates(ce_zero=clean + 1e-6, ce_mean=clean + 1e-2, kl_zero=[1e-6, 1e-6])
    assert found["ce_recovered_zero"].value is None
    assert found["kl_recovered_zero"].value is None
    assert found["ce_recovered_mean"].value is not None
