"""A family of orthonormal features, learned as nested prefixes learn it: the parent took the mean."""

import copy
import math

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.refined import RefinedDictionary
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, TopK
from monosemy.foundation.errors import UserError
from monosemy.training.siblings import kinship, share_out_, turned

CHILDREN, WIDTH = 4, 9
TRUTH = torch.eye(WIDTH, dtype=torch.float64)[: CHILDREN + 2]
"""A parent, its children, and one that fires by itself."""


def family(count=4000):
    """Parent and one child on half of the tokens, at the parent's strength; the loner on a fifth."""
    draw = torch.Generator().manual_seed(0)
    size = 1 + torch.rand(count, generator=draw, dtype=torch.float64)
    on = torch.rand(count, generator=draw) < 0.5
    child = torch.randint(CHILDREN, (count,), generator=draw)
    full = torch.zeros(count, CHILDREN + 2, dtype=torch.float64)
    full[:, 0] = size * on
    full[torch.arange(count), 1 + child] = size * on
    full[:, -1] = 2.0 * (torch.rand(count, generator=draw) < 0.2)
    return full @ TRUTH


def learned(selection=None, kind=FlatDictionary):
    """``d_p + m``, ``d_c - m`` and the loner, which reconstruct exactly."""
    mean = TRUTH[1 : 1 + CHILDREN].mean(0)
    rows = torch.cat([TRUTH[:1] + mean, TRUTH[1 : 1 + CHILDREN] - mean, TRUTH[-1:]])
    threshold = torch.full((len(rows),), 0.1, dtype=torch.float64)
    nothing = torch.zeros(WIDTH, dtype=torch.float64)
    selection = JumpReLU(threshold) if selection is None else selection
    return kind.tied(normalize(rows, dim=1), nothing, selection).double().eval()


def batchtopk():
    selection = BatchTopK(2)
    selection.threshold.fill_(0.1)
    return selection


def test_kinship_is_read_off_from_who_fires_with_whom():
    counts = torch.tensor(
        [[1000, 300, 90, 50], [300, 310, 88, 2], [90, 88, 100, 0], [50, 2, 0, 900]],
        dtype=torch.float64,
    )
    found = kinship(counts)
    # The rarest above: the second latent, not the first, stands above the third.
    assert found.parents.tolist() == [-1, 0, 1, -1]
    assert found.shares.tolist() == pytest.approx([0, 0.3, 88 / 310, 0])
    assert found.children.tolist() == [1, 2]
    assert found.overlaps()[1].item() == pytest.approx(0.3 / math.sqrt(1 + 0.09))


def test_twins_and_latents_too_rare_to_tell_have_no_parent():
    twins = kinship(torch.tensor([[100.0, 99.0], [99.0, 110.0]]))
    rare = kinship(torch.tensor([[19.0, 19.0], [19.0, 900.0]]))
    assert twins.parents.tolist() == rare.parents.tolist() == [-1, -1]
    assert kinship(torch.tensor([[20.0, 20.0], [20.0, 900.0]])).parents.tolist() == [1, -1]


@pytest.mark.parametrize("kind", [FlatDictionary, RefinedDictionary])
@pytest.mark.parametrize("selection", [None, batchtopk])
def test_children_come_nearer_to_the_truth_and_nothing_else_changes(kind, selection):
    rows = family()
    before = learned(selection and selection(), kind)
    after = share_out_(copy.deepcopy(before), rows)
    error = [
        ((rows - d(rows)).square().sum() / rows.square().sum()).item() for d in (before, after)
    ]
    # The family is written exactly, but for the children's shares, which were counted.
    assert error[1] < error[0] + 1e-4
    assert torch.equal(before.encode(rows) > 0, after.encode(rows) > 0)
    near = [cosine_similarity(d.W_dec, TRUTH) for d in (before, after)]
    assert near[0][1:-1].tolist() == pytest.approx([math.sqrt(3) / 2] * CHILDREN)
    # d_c lies with 1/4 / sqrt(5/4) along the parent's row and with sqrt(3)/2 along the child's.
    overlap = 0.25 / math.sqrt(1.25)
    expected = overlap * overlap + math.sqrt(1 - overlap**2) * math.sqrt(3) / 2
    assert near[1][1:-1].tolist() == pytest.approx([expected] * CHILDREN, abs=2e-3)
    torch.testing.assert_close(near[1][[0, -1]], near[0][[0, -1]])
    torch.testing.assert_close(after.W_dec.norm(dim=1), torch.ones(CHILDREN + 2).double())


def test_siblings_point_less_away_from_each_other():
    rows = share_out_(learned(), family()).W_dec.detach()[1:-1]
    apart = (rows @ rows.T)[~torch.eye(CHILDREN, dtype=torch.bool)]
    overlap = 0.25 / math.sqrt(1.25)
    assert apart.mean().item() == pytest.approx(-(1 - overlap**2) / 3 + overlap**2, abs=2e-3)


def test_without_kin_nothing_changes():
    """Negative control: features that fire by themselves are left as they are."""
    draw = torch.Generator().manual_seed(1)
    full = 2.0 * (torch.rand(4000, CHILDREN + 2, generator=draw) < 0.3).double()
    alone = FlatDictionary.tied(
        TRUTH, torch.zeros(WIDTH), JumpReLU(torch.full((CHILDREN + 2,), 0.1))
    ).double()  # fmt: skip
    before = copy.deepcopy(alone.eval())
    share_out_(alone, full @ TRUTH)
    torch.testing.assert_close(alone.W_dec, before.W_dec)
    torch.testing.assert_close(alone.W_enc, before.W_enc)


def test_a_chain_is_turned_from_its_top():
    rows = normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    counts = torch.tensor([[1000.0, 500, 100], [500, 500, 100], [100, 100, 100]])
    found = kinship(counts)
    assert found.parents.tolist() == [-1, 0, 1]
    out = turned(rows, found)
    assert (out[1] @ out[0]).item() == pytest.approx(0.5 / math.sqrt(1.25), abs=1e-6)
    assert (out[2] @ out[1]).item() == pytest.approx(0.2 / math.sqrt(1.04), abs=1e-6)
    torch.testing.assert_close(out[0], rows[0])


def test_a_latent_that_never_fires_keeps_its_scale():
    dictionary = learned()
    with torch.no_grad():
        dictionary.b_enc[-1] = -100.0
    before = dictionary.W_enc[-1].clone()
    share_out_(dictionary, family())
    torch.testing.assert_close(dictionary.W_enc[-1], before)
    assert bool(torch.isfinite(dictionary.W_enc).all())


def test_what_cannot_be_rescaled_is_refused():
    with pytest.raises(UserError) as caught:
        share_out_(learned(TopK(2)).train(), family(10))
    assert str(caught.value).splitlines() == [
        "this sharing out has 2 problems:",
        "  - topk compares latents with each other, so that none can be rescaled alone; wanted "
        "batchtopk, jumprelu or relu",
        "  - the dictionary is still training; take the result of the training, which folds its units "
        "and settles its threshold",
    ]
    gated = GatedDictionary.tied(TRUTH, torch.zeros(WIDTH)).eval()
    with pytest.raises(
        UserError, match="a GatedDictionary .* does not say what a latent's scale is"
    ):
        share_out_(gated, family(10))
