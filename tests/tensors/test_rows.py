import torch
from torch import nn

from monosemy.tensors.rows import RowGradient, gradient_of


def test_a_parameter_carries_its_row_gradient():
    parameter = nn.Parameter(torch.ones(3, 2).double())
    assert gradient_of(parameter) is None
    gradient = RowGradient.attach(parameter)
    assert gradient_of(parameter) is gradient
    assert gradient.values.shape == (3, 2)
    assert gradient.values.dtype == torch.float64
    assert not gradient.values.requires_grad
    assert not gradient.touched.any()
    assert gradient.squares.isnan().all()
    assert gradient.unit is None
    unit = RowGradient.attach(parameter, unit=True).unit
    assert gradient_of(parameter) is not gradient
    with torch.no_grad():
        parameter.mul_(5.0)
    assert torch.equal(unit, parameter), "the rows themselves, as they are"


def test_rows_that_are_written_to_are_touched_and_have_no_known_length():
    gradient = RowGradient.of(torch.ones(4, 2))
    gradient.squares.fill_(1.0)
    gradient.changed(torch.tensor([1, 3]))
    assert gradient.touched.tolist() == [False, True, False, True]
    assert gradient.squares.isnan().tolist() == [False, True, False, True]
    gradient.changed(slice(None))
    assert gradient.touched.all()
    assert gradient.squares.isnan().all()


def test_written_out_rows_that_are_not_touched_are_zero_whatever_they_hold():
    values = torch.tensor([[1.0, torch.nan], [torch.nan, torch.inf], [3.0, 4.0]])
    gradient = RowGradient(values, torch.tensor([False, False, True]), torch.zeros(3))
    assert gradient.dense().tolist() == [[0, 0], [0, 0], [3, 4]]


def test_it_takes_no_part_in_a_saved_module():
    module = nn.Linear(2, 3, bias=False)
    RowGradient.attach(module.weight)
    assert set(module.state_dict()) == {"weight"}
    assert len(list(module.parameters())) == 1
