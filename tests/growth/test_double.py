"""In double precision all the way, where libraries cast to float32."""

import torch

from monosemy.growth.double import InDouble, in_double, logits


def test_casts_stay_in_double():
    x = torch.ones(3, dtype=torch.float64) / 3
    with InDouble():
        assert x.float().dtype == torch.float64
        assert x.to(torch.float32).dtype == torch.float64
        assert x.to(dtype=torch.float).dtype == torch.float64
        assert torch.softmax(x, -1, dtype=torch.float32).dtype == torch.float64
        assert torch.arange(3, dtype=torch.float).dtype == torch.float64
        assert x.to(torch.bfloat16).dtype == torch.bfloat16
    assert x.float().dtype == torch.float32


def test_nothing_is_rounded_to_single_on_the_way(model, ids):
    """A change of one part in 10^12 shows as one of that order; float32 would hide or blow it up."""
    other = in_double(model)
    weight = other.get_input_embeddings().weight
    with torch.no_grad():
        weight[:, 0] += 1e-12
    moved = (logits(other, ids) - logits(model, ids)).abs().max()
    assert 1e-14 < moved < 1e-9


def test_the_library_alone_would_round(tiny, ids):
    """The control: outside, norms of a float64 model are worked out in float32."""
    model = tiny("llama")
    with torch.no_grad():
        outside = model(ids, use_cache=False).logits
    assert (outside - logits(model, ids)).abs().max() > 1e-10


def test_a_copy_computes_the_same_and_is_apart(model, ids):
    twin = in_double(model)
    assert torch.equal(logits(twin, ids), logits(model, ids))
    with torch.no_grad():
        twin.get_input_embeddings().weight.zero_()
    assert not torch.equal(logits(twin, ids), logits(model, ids))


def test_random_numbers_of_the_caller_stay(tiny):
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    in_double(tiny("gpt2"))
    assert torch.equal(torch.rand(2), wanted)
