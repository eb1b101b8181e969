"""What is read is not what is written, and a linear path beside the latents."""

import pytest
import torch

from monosemy.dictionaries.selection import BatchTopK, ReLU, TopK
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import UserError
from monosemy.tensors.prefixes import Prefixes

READ, WRITTEN, LATENTS, TOKENS = 4, 6, 11, 25


def draw(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(selection=None, skip=False, read=READ, **options) -> Transcoder:
    return Transcoder(
        draw(LATENTS, read, seed=0), draw(LATENTS, seed=1), draw(LATENTS, WRITTEN, seed=2),
        draw(WRITTEN, seed=3), selection or ReLU(),
        draw(WRITTEN, read, seed=4) if skip else None, **options,
    )  # fmt: skip


@pytest.fixture
def x():
    return draw(TOKENS, READ, seed=8)


@pytest.fixture
def y():
    return draw(TOKENS, WRITTEN, seed=9)


@pytest.fixture(params=[False, True], ids=["latents alone", "skip"])
def skip(request):
    return request.param


def by_the_formula(dictionary, x, upto=LATENTS):
    code = (x @ dictionary.W_enc.T + dictionary.b_enc).relu()
    written = code[:, :upto] @ dictionary.W_dec[:upto] + dictionary.b_dec
    return code, written + (0 if dictionary.W_skip is None else x @ dictionary.W_skip.T)


def test_code_and_output_are_the_formula(x, skip):
    dictionary = made(skip=skip)
    code, written = by_the_formula(dictionary, x)
    torch.testing.assert_close(dictionary.encode(x), code)
    torch.testing.assert_close(dictionary(x), written)
    torch.testing.assert_close(dictionary.decode(code, x), written)
    assert (dictionary.width, dictionary.written) == (READ, WRITTEN)
    assert dictionary.needs_input == skip


def test_columns_are_what_is_read_then_what_is_written(x, y):
    read, target = made().split(torch.cat([x, y], 1))
    assert torch.equal(read, x)
    assert torch.equal(target, y)


@pytest.mark.parametrize("nested", [False, True])
def test_errors_and_every_gradient_are_those_of_dense_autograd(x, y, skip, nested):
    ours, twin = made(skip=skip), made(skip=skip)
    ends = torch.tensor([3, 7, LATENTS]) if nested else torch.tensor([LATENTS])
    code, terms = ours.training_code(x)
    if nested:
        errors, rest = ours.nested_squared_error(code, x, y, Prefixes(ends))
    else:
        errors, rest = ours.squared_error(code, x, y)
    (errors.sum() + terms["l1"]).backward()
    wanted = [(y - by_the_formula(twin, x, end)[1]).square().sum(1) for end in ends.tolist()]
    full, written = by_the_formula(twin, x)
    torch.testing.assert_close(errors, torch.stack(wanted, 1) if nested else wanted[0])
    torch.testing.assert_close(rest, (y - written).detach())
    l1 = full.sum() / TOKENS / WRITTEN**0.5
    torch.testing.assert_close(terms["l1"], l1)
    (torch.stack(wanted).sum() + l1).backward()
    for name, one in ours.named_parameters():
        torch.testing.assert_close(one.grad, twin.get_parameter(name).grad, msg=name)


def test_the_dead_guess_reads_one_place_and_writes_the_other(x):
    dictionary, chosen = made(skip=True), torch.tensor([1, 4, 9])
    pre = x @ dictionary.W_enc[chosen].T + dictionary.b_enc[chosen]
    kept = pre.relu() * (pre >= pre.topk(2, 1).values[:, -1:])
    guess = dictionary.guess_with(x, chosen, 2)
    torch.testing.assert_close(guess, kept @ dictionary.W_dec[chosen])


@pytest.mark.parametrize("selection", [ReLU, lambda: TopK(3), lambda: BatchTopK(3)])
def test_other_units_change_nothing_but_units(x, skip, selection):
    read = Units.scaled(torch.linspace(0.5, 2, READ, dtype=torch.float64), draw(READ, seed=20))
    write = Units.scaled(torch.linspace(3, 0.2, WRITTEN, dtype=torch.float64))
    dictionary = made(selection(), skip).eval()
    before = dictionary(read.apply(x)) * write.inverse
    torch.testing.assert_close(dictionary.fold_(read, write)(x), before)


def test_a_skip_needs_what_was_read(x):
    dictionary = made(skip=True)
    with pytest.raises(UserError, match="needs the activations that were read; give decode"):
        dictionary.decode(dictionary.code(x))


def test_shapes_that_disagree_are_all_named():
    good = made(skip=True)
    # Below the annotations, which tests check first, stands the check that users meet.
    make = Transcoder.__init__.__wrapped__
    with pytest.raises(UserError) as caught:
        make(object.__new__(Transcoder), good.W_enc, good.b_enc, good.W_dec, torch.zeros(2),
             TopK(99), good.W_skip.T, centred=True)  # fmt: skip
    assert str(caught.value) == (
        "this transcoder has 4 problems:\n"
        "  - b_dec has shape (2,); wanted (6,), as W_dec is (11, 6)\n"
        "  - W_skip has shape (4, 6); wanted (6, 4), as W_dec is (11, 6)\n"
        "  - k = 99 for 11 latents; wanted 1 <= k <= latents\n"
        "  - b_dec has 6 numbers and cannot be subtracted from 4 that are read"
    )


def test_equal_widths_may_be_centred(x):
    dictionary = made(read=WRITTEN, centred=True)
    y = draw(TOKENS, WRITTEN, seed=12)
    code = ((y - dictionary.b_dec) @ dictionary.W_enc.T + dictionary.b_enc).relu()
    torch.testing.assert_close(dictionary.encode(y), code)
