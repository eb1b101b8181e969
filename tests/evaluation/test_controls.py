import pytest
import torch

from monosemy.evaluation.controls import controls_at
from monosemy.foundation.errors import UserError
from monosemy.tensors.compute import Compute


@pytest.mark.parametrize(("l0", "k"), [(3.6, 4), (3.4, 3), (0.0, 1)])
def test_every_control_keeps_the_same_number(rows, l0, k):
    controls = controls_at(rows, l0, 40, Compute())
    assert list(controls) == ["neurons", "pca", "random"]
    for name, control in controls.items():
        counts = control.code(rows).counts
        assert (counts <= k).all(), name
        assert (control.width, control.training) == (rows.shape[1], False)
    assert (controls["pca"].code(rows).counts == k).all()
    assert controls["random"].latents == 40


def test_no_control_keeps_more_than_it_has(rows):
    controls = controls_at(rows, 1000.0, 40, Compute())
    assert [c.selection.k for c in controls.values()] == [24, 24, 40]
    torch.testing.assert_close(controls["pca"](rows), rows, rtol=1e-3, atol=1e-3)


def test_the_random_dictionary_follows_the_seed(rows):
    def directions(seed):
        return controls_at(rows, 4.0, 40, Compute(seed=seed))["random"].W_dec

    assert torch.equal(directions(0), directions(0))
    assert not torch.equal(directions(0), directions(1))


def test_rows_in_half_precision(rows):
    controls = controls_at(rows.bfloat16(), 4.0, 40, Compute())
    assert {c.W_dec.dtype for c in controls.values()} == {torch.float32}


def test_what_cannot_be_fitted_is_refused(rows):
    for l0 in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="controls at L0 = .*; wanted a number of active"):
            controls_at(rows, l0, 40, Compute())
    with pytest.raises(UserError, match="fitted on 1 activations; wanted at least 2"):
        controls_at(rows[:1], 4.0, 40, Compute())
