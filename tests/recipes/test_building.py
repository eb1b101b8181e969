from dataclasses import replace

import pytest
import torch

from monosemy.recipes.building import build, parameters
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.training.start import look

RECIPE = DictionaryRecipe(latents=24, k=3, selection="topk")


@pytest.fixture
def rows() -> torch.Tensor:
    """Six numbers that are read, and four that depend on them, away from zero."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(500, 6, generator=draw)
    return torch.cat([x + 5, x @ torch.randn(6, 4, generator=draw) - 3], 1)


def test_an_autoencoder_begins_tied_about_the_centre(rows):
    start = look(rows)
    made = build(RECIPE, rows, start, (10,), (10,))
    assert torch.equal(made.W_enc, made.W_dec)
    assert torch.equal(made.b_dec, start.offset)
    assert float(made.b_enc.detach().abs().max()) == 0
    torch.testing.assert_close(made.W_dec.detach().norm(dim=1), torch.ones(24))


def test_a_transcoder_begins_by_writing_what_is_written_where_it_reads(rows):
    start = look(rows, parts=(6, 4), read=6)
    made = build(replace(RECIPE, structure="transcoder"), rows, start, (6,), (4,))
    x, y = start.centred(rows).split((6, 4), 1)
    average = torch.nn.functional.normalize(made.W_enc.detach() @ x.T @ y, dim=1)
    along = (average * made.W_dec.detach()).sum(1)
    assert float(along.min()) > 0.9
    random = torch.nn.functional.normalize(torch.randn(24, 4), dim=1)
    assert float((average * random).sum(1).min()) < 0.9
    assert torch.equal(made.b_dec.detach(), start.offset[6:])


def test_a_skip_begins_with_nothing(rows):
    start = look(rows, parts=(6, 4), read=6)
    made = build(replace(RECIPE, structure="skip_transcoder"), rows, start, (6,), (4,))
    assert made.W_skip.shape == (4, 6)
    assert not made.W_skip.detach().any()


def test_layers_of_a_cross_layer_transcoder_write_no_earlier_one(rows):
    start = look(rows[:, :8], parts=(2, 2, 2, 2), read=4)
    made = build(replace(RECIPE, structure="cross_layer"), rows[:, :8], start, (2, 2), (2, 2))
    assert [made.decoder(layer).shape for layer in range(2)] == [(24, 2, 2), (24, 1, 2)]
    for decoder in made.decoders:
        torch.testing.assert_close(decoder.detach().norm(dim=1), torch.ones(24))


@pytest.mark.parametrize("selection", ["topk", "jumprelu"])
@pytest.mark.parametrize(
    ("changes", "reads", "writes"),
    [
        ({}, (10,), (10,)),
        ({"encoder": "lista"}, (10,), (10,)),
        ({"structure": "transcoder"}, (6,), (4,)),
        ({"structure": "skip_transcoder"}, (6,), (4,)),
        ({"structure": "crosscoder"}, (6, 4), (6, 4)),
    ],
)
def test_parameters_are_counted(rows, selection, changes, reads, writes):
    recipe = replace(RECIPE, selection=selection, **changes)
    start = look(rows) if reads == writes else look(rows, parts=reads + writes, read=6)
    made = build(recipe, rows, start, reads, writes)
    assert sum(p.numel() for p in made.parameters()) == parameters(recipe, reads, writes)


@pytest.mark.parametrize("structure", ["transcoder", "cross_layer"])
def test_what_is_written_at_first_is_neither_too_long_nor_too_short(rows, structure):
    """Longer, every gradient would push activations below zero, where they learn no more."""
    parts, read = ((2, 2, 2, 2), 4) if structure == "cross_layer" else ((6, 4), 6)
    columns = rows[:, : sum(parts)]
    start = look(columns, parts=parts, read=read)
    half = len(parts) // 2
    made = build(replace(RECIPE, structure=structure), columns, start, parts[:half], parts[half:])
    x, y = start.centred(columns).split((read, sum(parts) - read), 1)
    made.selection.k = 24  # as many as the first step has: k_start, or all there are
    with torch.no_grad():
        written = made(x) - made.b_dec.flatten()
    along = float((y * written).sum() / written.square().sum())
    assert 0.4 < along < 2.5, "it is 0.27 and 0.18 where rows begin at length one"
