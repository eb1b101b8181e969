"""What allocation stands on: values as the dictionary gives them, one row a token, and refusals."""

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.models.sites import resolve
from monosemy.recipes.allocation_ground import columns, open_ground, read_stream
from monosemy.tensors.codes import SparseCode


def test_both_halves_are_seen_alike(allocation_run):
    ground = open_ground(allocation_run, 2000, 1000)
    for seen in (ground.seen, ground.heldout):
        tokens = seen.contexts.tokens
        assert seen.code.tokens == tokens == len(seen.x) == len(seen.neurons) == len(seen.document)
        with torch.no_grad():
            dense = ground.dictionary.encode(seen.site)
        torch.testing.assert_close(columns(seen.code, torch.arange(64)), dense)
    assert len(ground.heldout.document.unique()) >= 8  # spread over documents
    assert not set(ground.seen.contexts.documents) & set(ground.heldout.contexts.documents)
    assert float(ground.density.sum()) == pytest.approx(
        float(ground.seen.code.counts.float().mean())
    )


def test_the_stream_is_what_the_model_holds_behind_the_block(allocation_run):
    ground = open_ground(allocation_run, 1000, 1000)
    stream = read_stream(ground, ground.model, ground.heldout.contexts)
    block = ground.model.transformer.h[0]
    down = block.mlp.c_proj
    site = resolve(ground.model, "blocks.0.hook_resid_mid")
    from monosemy.models import tap

    contexts = ground.heldout.contexts
    middle = tap.read(ground.model, [site], contexts.ids)[site.name][contexts.kept]
    written = ground.heldout.neurons @ down.weight + down.bias
    torch.testing.assert_close(stream, middle + written, atol=1e-5, rtol=1e-4)


def test_columns_are_those_of_the_dense_code():
    full = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    code = SparseCode.from_dense(full)
    assert torch.equal(columns(code, torch.tensor([0, 2])), full[:, [0, 2]])


def test_too_few_tokens_and_other_dictionaries_are_refused(allocation_run, tmp_path):
    with pytest.raises(
        UserError, match=r"(?s)tokens = 10; wanted at least 1,000.*held-out tokens = 5"
    ):
        open_ground(allocation_run, 10, 5)
