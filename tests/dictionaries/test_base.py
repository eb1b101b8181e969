"""One battery that every kind of dictionary passes."""

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.tensors import plain
from monosemy.tensors.codes import SparseCode


def test_the_order_of_the_batch_does_not_matter(dictionary, rows):
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(dictionary(rows[order]), dictionary(rows)[order])


def test_a_token_is_reconstructed_alone_as_in_its_batch(dictionary, rows):
    torch.testing.assert_close(dictionary(rows[5:6]), dictionary(rows)[5:6])


def test_while_training_batchtopk_does_look_at_the_batch(make, rows):
    dictionary = make("batchtopk").train()
    assert (dictionary(rows[5:6]) - dictionary(rows)[5:6]).abs().max() > 0.1


def test_decoding_is_the_plain_product(dictionary, rows):
    code = dictionary.code(rows)
    wanted = code.dense() @ dictionary.W_dec + dictionary.b_dec
    torch.testing.assert_close(dictionary.decode(code), wanted)
    torch.testing.assert_close(dictionary.decode(dictionary.encode(rows)), wanted)
    torch.testing.assert_close(dictionary(rows), wanted)


def test_active_entries_are_pre_activations(dictionary, rows):
    code = dictionary.code(rows)
    pre = plain.pre_activations(rows - dictionary.b_dec, dictionary.W_enc, dictionary.b_enc)
    assert len(code.values) > len(rows)
    # Sums over the width may be rounded differently where a batch is multiplied part by part.
    torch.testing.assert_close(code.values, pre[code.rows, code.indices])
    assert (code.values != 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_kept(dictionary, rows, dtype):
    dictionary, rows = dictionary.to(dtype), rows.to(dtype)
    assert dictionary.encode(rows).dtype == dtype
    assert dictionary(rows).dtype == dtype


def test_another_width_is_refused(dictionary):
    dictionary.check_width(6, "site blocks.0.mlp.hook_post")
    dictionary.metadata["hook_name"] = "blocks.1.hook_resid_post"
    with pytest.raises(UserError) as caught:
        dictionary.check_width(1024, "site blocks.0.mlp.hook_post")
    assert str(caught.value) == (
        "site blocks.0.mlp.hook_post has 1,024 numbers an activation, the dictionary 6; "
        "name the site it was trained on (blocks.1.hook_resid_post)"
    )


def test_zeros_give_a_finite_reconstruction(dictionary):
    out = dictionary(torch.zeros(2, 6))
    assert out.shape == (2, 6)
    assert out.isfinite().all()
    assert torch.equal(out[0], out[1])


def test_what_lies_at_the_decoder_offset_of_an_unbiased_encoder_has_no_code(dictionary):
    with torch.no_grad():
        dictionary.b_enc.zero_()
    code = dictionary.code(dictionary.b_dec[None])
    assert code.counts.tolist() == [0]
    assert torch.equal(dictionary.decode(code)[0], dictionary.b_dec)


def test_no_tokens_give_no_reconstructions(dictionary):
    assert dictionary(torch.zeros(0, 6)).shape == (0, 6)


def test_directions_have_length_one(dictionary):
    lengths = dictionary.directions().norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(dictionary.latents))


def test_the_squared_error_is_that_of_the_reconstruction(dictionary, rows):
    squares, rest = dictionary.squared_error(dictionary.code(rows), rows)
    torch.testing.assert_close(rest, (rows - dictionary(rows)).detach())
    torch.testing.assert_close(squares, (rows - dictionary(rows)).square().sum(1))
    assert not rest.requires_grad


def test_proposing_in_bfloat16_changes_no_code(dictionary, rows):
    exact = dictionary.code(rows)
    dictionary.propose = True
    found = dictionary.code(rows)
    assert torch.equal(found.indices, exact.indices)
    assert torch.equal(found.offsets, exact.offsets)
    torch.testing.assert_close(found.values, exact.values)


def test_gradients_equal_those_of_the_dense_program(dictionary, rows):
    code = dictionary.code(rows).detach()
    mask = SparseCode.from_dense(code.dense()).dense() != 0
    parameters = [dictionary.W_enc, dictionary.b_enc, dictionary.W_dec, dictionary.b_dec]
    pre = plain.pre_activations(rows - dictionary.b_dec, dictionary.W_enc, dictionary.b_enc)
    dense = (pre * mask) @ dictionary.W_dec + dictionary.b_dec
    wanted = torch.autograd.grad((dense - rows).square().sum(), parameters)
    found = torch.autograd.grad((dictionary(rows) - rows).square().sum(), parameters)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
