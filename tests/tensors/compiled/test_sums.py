"""A sum over latents comes out the same, bit for bit, whoever adds up which of them."""

from collections.abc import Callable

import pytest
import torch

from monosemy.tensors import compiled, plain, workers

LATENTS, WIDTH = 5000, 33


def _given() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    weights = torch.randn(LATENTS, generator=draw)
    weights[::3] = 0.0
    return weights, torch.randn(LATENTS, WIDTH, generator=draw)


def _at(threads: int, sum_up: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return sum_up(*_given())
    finally:
        torch.set_num_threads(before)


def _share_by_share(weights: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """What would depend on the threads: each of them sums up all of its share."""
    shares = workers.share_out(len(matrix))
    return sum(compiled.weighted_sum(weights[a:b], matrix[a:b]) for a, b in shares)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_a_weighted_sum_does_not_depend_on_the_number_of_threads(threads):
    assert torch.equal(_at(threads, compiled.weighted_sum), _at(1, compiled.weighted_sum))
    assert not torch.equal(_at(threads, _share_by_share), _at(1, _share_by_share))


@pytest.mark.parametrize("latents", [1, 1023, 1024, 1025, LATENTS])
def test_no_latent_is_left_out_where_parts_end(latents):
    weights, matrix = (part[:latents].double() for part in _given())
    found = compiled.weighted_sum(weights, matrix)
    torch.testing.assert_close(found, plain.weighted_sum(weights, matrix), rtol=1e-12, atol=1e-12)
    weights[-1] += 1
    torch.testing.assert_close(
        compiled.weighted_sum(weights, matrix) - found, matrix[-1], rtol=1e-9, atol=1e-9
    )
