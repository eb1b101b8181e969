"""The gate decides which, the magnitude how much; both learn from one product."""

import pytest
import torch

from monosemy.dictionaries import files
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import UserError


def made(dtype=torch.float64, seed=0, latents=12, width=5) -> GatedDictionary:
    draw = torch.Generator().manual_seed(seed)

    def numbers(*shape):
        return torch.randn(*shape, generator=draw, dtype=dtype)

    W_dec = torch.nn.functional.normalize(numbers(latents, width), dim=1)
    biases = (0.3 * numbers(latents) for _ in range(3))
    return GatedDictionary(numbers(latents, width), *biases, W_dec, numbers(width))


def by_the_formula(dictionary, x):
    """Code, and the gate's own activations, dense."""
    u = (x - dictionary.b_dec) @ dictionary.W_enc.T
    gate = (u + dictionary.b_enc).relu()
    magnitude = (dictionary.r_mag.exp() * u + dictionary.b_mag).relu()
    return (gate > 0) * magnitude, gate


@pytest.fixture
def rows():
    return torch.randn(40, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def test_the_code_is_the_formula(rows):
    dictionary = made()
    torch.testing.assert_close(dictionary.encode(rows), by_the_formula(dictionary, rows)[0])


def test_training_terms_and_every_gradient_are_those_of_dense_autograd(rows):
    ours, twin = made(), made()
    code, terms = ours.training_code(rows)
    total = ours.squared_error(code, rows, rows)[0].mean() + 0.3 * terms["l1"] + 0.7 * terms["gate"]
    total.backward()
    full, gate = by_the_formula(twin, rows)
    fixed = rows - gate @ twin.W_dec.detach() - twin.b_dec.detach()
    error = (rows - full @ twin.W_dec - twin.b_dec).square().sum(1).mean()
    l1 = gate.sum() / len(rows) / 5**0.5
    expected = error + 0.3 * l1 + 0.7 * fixed.square().sum(1).mean()
    expected.backward()
    torch.testing.assert_close(total, expected)
    for (name, one), (_, other) in zip(
        ours.named_parameters(), twin.named_parameters(), strict=True
    ):
        torch.testing.assert_close(one.grad, other.grad, msg=name)


def test_the_gate_learns_from_its_own_terms_only(rows):
    """Without them a gate's bias has no gradient: which latents are active is not smooth."""
    dictionary = made()
    code, _ = dictionary.training_code(rows)
    dictionary.squared_error(code, rows, rows)[0].mean().backward()
    assert dictionary.b_enc.grad.abs().max() < 1e-12
    assert dictionary.b_mag.grad.abs().max() > 0


def test_other_units_change_nothing_but_units(rows):
    dictionary, units = made(), Units.scaled(torch.tensor(1 / 3, dtype=torch.float64))
    code, before = dictionary.encode(rows), dictionary(rows)
    torch.testing.assert_close(dictionary.fold_(units, units)(3 * rows), 3 * before)
    torch.testing.assert_close(dictionary.encode(3 * rows), 3 * code)


def test_files_keep_it(rows, tmp_path):
    dictionary = made(torch.float32)
    files.save(dictionary, tmp_path / "gated")
    back = files.load(tmp_path / "gated")
    assert isinstance(back, GatedDictionary)
    assert torch.equal(back(rows.float()), dictionary(rows.float()))


def test_shapes_that_disagree_are_all_named():
    good = made()
    biases = torch.zeros(3), torch.zeros(12), torch.zeros(4)
    # Below the annotations, which tests check first, stands the check that users meet.
    make = GatedDictionary.__init__.__wrapped__
    with pytest.raises(UserError) as caught:
        make(object.__new__(GatedDictionary), good.W_enc, *biases, good.W_dec, good.b_dec)
    assert "b_enc has shape (3,); wanted (12,)" in str(caught.value)
    assert "b_mag has shape (4,); wanted (12,)" in str(caught.value)
