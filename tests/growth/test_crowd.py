"""Where a site's features stand in the stream, which MLP moves them, and what is refused."""

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.growth.crowd import crowd, same_direction
from monosemy.models import tap
from monosemy.models.sites import resolve


@pytest.mark.parametrize(
    ("site", "layer"),
    [
        ("blocks.0.hook_resid_pre", 0),
        ("blocks.0.hook_resid_mid", 0),
        ("blocks.0.attn.hook_z", 0),
        ("blocks.0.mlp.hook_post", 0),
        ("blocks.0.hook_mlp_out", 0),
        ("blocks.0.hook_resid_post", 1),
        ("blocks.1.hook_resid_post", 1),
    ],
)
def test_the_mlp_that_moves_reads_behind_the_site(tiny, site, layer):
    model = tiny("llama")
    found = crowd(model, resolve(model, site))
    assert found.layer == layer
    assert found.behind == f"blocks.{layer}.hook_resid_post"


def test_side_by_side_blocks_see_their_attention_one_block_later(tiny):
    parallel, sequential = tiny("gpt_neox"), tiny("gpt_neox, sequential, tied")
    assert crowd(parallel, resolve(parallel, "blocks.0.hook_attn_out")).layer == 1
    assert crowd(sequential, resolve(sequential, "blocks.0.hook_attn_out")).layer == 0


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "opt"])
@pytest.mark.parametrize("site", ["mlp.hook_post", "attn.hook_z", "hook_mlp_out"])
def test_a_direction_arrives_where_an_edit_puts_it(tiny, kind, site, ids):
    """Adding d at the site adds `directions(d)` to the stream right behind it, the mean aside."""
    model = tiny(kind)
    place = resolve(model, f"blocks.0.{site}")
    found = crowd(model, place)
    d = torch.randn(1, place.width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    end = resolve(model, "blocks.0.hook_mlp_out" if "mlp" in site else "blocks.0.hook_attn_out")
    clean = tap.read(model, [end], ids)[end.name]
    seen = {}

    def watch(activation):
        seen["edited"] = activation.clone()
        return activation

    edits = {place: lambda activation: activation + d}
    if place.name != end.name:
        edits[end] = watch
    with tap.editing(model, edits):
        model(ids)
    edited = seen["edited"] if seen else clean + d
    moved = (edited - clean).flatten(0, 1)
    moved = moved - moved.mean(1, keepdim=True) if found.family.centres else moved
    torch.testing.assert_close(moved, found.directions(model, d).expand_as(moved))


def test_what_has_no_place_in_the_stream_is_refused_with_all_reasons(tiny):
    model = tiny("gemma2")
    with pytest.raises(
        UserError, match=r"(?s)blocks\.0\.mlp\.hook_pre is not in the stream.*normalises"
    ):
        crowd(model, resolve(model, "blocks.0.mlp.hook_pre"))
    with pytest.raises(UserError, match="hook_embed is not in the stream of a block"):
        crowd(tiny("llama"), resolve(tiny("llama"), "hook_embed"))


@pytest.mark.parametrize("centres", [False, True])
def test_axes_are_read_as_their_directions(centres):
    draw = torch.Generator().manual_seed(2)
    read = torch.randn(5, 9, generator=draw, dtype=torch.float64)
    gain = torch.rand(9, generator=draw, dtype=torch.float64) + 0.5
    axes = torch.tensor([6, 8])
    v = torch.randn(2, 9, generator=draw, dtype=torch.float64)
    v[:, 6:] = 0
    v = v - v[:, :6].mean(1, keepdim=True) * (torch.arange(9) < 6) if centres else v
    new = same_direction(read, gain, v, axes, centres)
    q = torch.zeros(2, 9, dtype=torch.float64)
    q[torch.arange(2), axes] = v.norm(dim=1)

    def seen(x, matrix):
        x = x - x.mean(1, keepdim=True) if centres else x
        return (x * gain) @ matrix.T

    torch.testing.assert_close(seen(q, new), seen(v, new))
    assert float((seen(q, read) - seen(v, read)).abs().max()) > 0.1  # untaught readers do notice
    others = torch.tensor([0, 1, 2, 3, 4, 5, 7])
    assert torch.equal(new[:, others], read[:, others])
