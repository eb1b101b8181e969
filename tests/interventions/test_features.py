"""Edits of features: closed forms, and one battery over every kind of dictionary."""

import importlib.util
from pathlib import Path

import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.hierarchical import HierarchicalDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.dictionaries.selection import BatchTopK, TopK
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation.errors import UserError
from monosemy.interventions.edits import Only, Splice, ZeroAblate
from monosemy.interventions.features import Ablate, Add, Recode, Scale, Set, Together, placed
from monosemy.interventions.recoding import values_of
from monosemy.models import sites, tap


def _kinds():
    """The kinds that every dictionary's battery runs over."""
    path = Path(__file__).parents[1] / "dictionaries" / "conftest.py"
    spec = importlib.util.spec_from_file_location("every_kind_of_dictionary", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


KINDS = _kinds()


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=list(KINDS.MAKERS))
def dictionary(request):
    return KINDS.MAKERS[request.param](KINDS.LATENTS, KINDS.K).eval()


@pytest.fixture
def rows():
    return KINDS._rows()


@pytest.fixture
def latent(dictionary, rows):
    """The one that is active most often, without being active always where that can be."""
    code = dictionary.code(rows)
    counts = torch.bincount(code.indices[code.values != 0], minlength=code.latents)
    some = counts * (counts < len(rows))
    return int((some if some.any() else counts).argmax())


# --- one battery over every kind ------------------------------------------------------------------


def test_an_edit_is_the_difference_of_two_decodings(dictionary, rows, latent):
    """The dense twin: write the edited code out, decode it, take the decoded code away."""
    plain = dictionary.encode(rows)
    clean = dictionary.decode(plain, rows)
    for edit in (Ablate(dictionary, latent), Set(dictionary, latent, 1.7),
                 Scale(dictionary, latent, -0.5)):  # fmt: skip
        edited = edit.change(dictionary.code(rows)).dense()
        found = Recode(dictionary, (edit,)).difference(rows)
        torch.testing.assert_close(
            found, dictionary.decode(edited, rows) - clean, atol=2e-5, rtol=1e-4
        )
        others = torch.arange(dictionary.latents) != latent
        if not isinstance(dictionary, (LocalDictionary, HierarchicalDictionary)):
            assert torch.equal(edited[:, others], plain[:, others])
            torch.testing.assert_close(edited[:, latent], edit.wanted(plain[:, latent]))


def test_ablation_takes_out_what_the_latent_wrote(dictionary, rows, latent):
    """Every decoder here is affine in its code, so that is the latent's row (and its family's)."""
    code = dictionary.code(rows)
    edited = Ablate(dictionary, latent).change(code)
    taken = code.dense() - edited.dense()
    nothing = torch.zeros_like(taken)
    wanted = dictionary.decode(taken, rows) - dictionary.decode(nothing, rows)
    found = Recode(dictionary, (Ablate(dictionary, latent),)).difference(rows)
    torch.testing.assert_close(found, -wanted, atol=2e-5, rtol=1e-4)
    assert (values_of(edited, latent) == 0).all()
    assert found.abs().max() > 1e-3


def test_silent_tokens_keep_every_bit(dictionary, rows, latent):
    silent = values_of(dictionary.code(rows), latent) == 0
    for edit in (Ablate(dictionary, latent), Scale(dictionary, latent, 3.0)):
        assert (Recode(dictionary, (edit,)).difference(rows)[silent] == 0).all()
    for edit in (Scale(dictionary, latent, 1.0),):
        assert (Recode(dictionary, (edit,)).difference(rows) == 0).all()


def test_zero_is_zero_however_it_is_said(dictionary, rows, latent):
    found = [Recode(dictionary, (edit,)).difference(rows)
             for edit in (Ablate(dictionary, latent), Set(dictionary, latent, 0.0),
                          Scale(dictionary, latent, 0.0))]  # fmt: skip
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_the_error_is_kept_or_not(dictionary, rows, latent):
    x = rows.view(4, 10, -1)
    edit = Set(dictionary, latent, 1.3)
    if not dictionary.autoencodes:
        with pytest.raises(UserError, match="writes another place than it reads"):
            edit(x)
        return
    error = rows - dictionary(rows)
    kept = Recode(dictionary, (edit,))(x).flatten(0, 1)
    lost = Recode(dictionary, (edit,), keep_error=False)(x).flatten(0, 1)
    torch.testing.assert_close(kept - lost, error, atol=5e-5, rtol=1e-4)
    torch.testing.assert_close(edit(x).flatten(0, 1), kept)
    assert torch.equal(Recode(dictionary)(x), x)
    torch.testing.assert_close(Recode(dictionary, keep_error=False)(x), Splice(dictionary)(x))


def test_an_added_direction_is_of_length_one(dictionary, rows, latent):
    row = dictionary.directions()[latent]
    torch.testing.assert_close(row.norm(), torch.tensor(1.0))
    moved = Add.of(dictionary, latent, -2.5)(draw(2, 3, len(row)))
    torch.testing.assert_close(moved - draw(2, 3, len(row)), (-2.5 * row).expand(2, 3, -1))


def test_other_numbers_are_refused(dictionary):
    m = dictionary.latents
    made = (lambda i: Ablate(dictionary, i), lambda i: Set(dictionary, i, 1.0),
            lambda i: Scale(dictionary, i, 1.0), lambda i: Add.of(dictionary, i, 1.0))  # fmt: skip
    for make in made:
        for i in (-1, m):
            with pytest.raises(UserError, match=f"no latent {i} in a dictionary of {m};"):
                make(i)


# --- closed forms ---------------------------------------------------------------------------------


@pytest.fixture
def flat():
    dictionary = FlatDictionary.random(5, 12, TopK(2), torch.Generator().manual_seed(0)).eval()
    dictionary.b_dec.data.copy_(draw(5, seed=9))
    return dictionary


X = draw(3, 4, 5, seed=1)


def test_by_hand(flat):
    z = flat.encode(X.flatten(0, 1)).view(3, 4, 12)
    i = int((z != 0).sum((0, 1)).argmax())
    z, d = z[..., i, None], flat.W_dec[i]
    torch.testing.assert_close(Ablate(flat, i)(X), X - z * d)
    torch.testing.assert_close(Set(flat, i, 2.0)(X), X + (2.0 - z) * d)
    torch.testing.assert_close(Scale(flat, i, 3.0)(X), X + 2 * z * d)
    torch.testing.assert_close(Add.of(flat, i, 0.7)(X), X + 0.7 * d / d.norm())


def test_several_at_once(flat):
    z = flat.encode(X.flatten(0, 1)).view(3, 4, 12)
    i, j = (z != 0).sum((0, 1)).topk(2).indices.tolist()
    other, v = (
        FlatDictionary.random(5, 6, TopK(1), torch.Generator().manual_seed(4)).eval(),
        draw(5),
    )
    both = Together((Ablate(flat, i), Set(flat, j, 2.0), Add(v, 0.5), Scale(other, 1, 4.0)))
    w = other.encode(X.flatten(0, 1)).view(3, 4, 6)[..., 1, None]
    wanted = (X - z[..., i, None] * flat.W_dec[i] + (2 - z[..., j, None]) * flat.W_dec[j]
              + 0.5 * v + 3 * w * other.W_dec[1])  # fmt: skip
    torch.testing.assert_close(both(X), wanted)
    # One after the other is something else: the second looks at what the first has left.
    chain = Set(flat, j, 2.0)(Ablate(flat, i)(X))
    assert (chain - Together((Ablate(flat, i), Set(flat, j, 2.0)))(X)).abs().max() > 0.01
    last = Together((Set(flat, i, 9.0), Ablate(flat, i)))
    torch.testing.assert_close(last(X), Ablate(flat, i)(X))
    empty = Together(())(X)
    assert torch.equal(empty, X)
    assert empty.data_ptr() != X.data_ptr()


def test_a_code_belongs_to_one_dictionary(flat):
    other = FlatDictionary.random(5, 6, TopK(1), torch.Generator().manual_seed(4)).eval()
    with pytest.raises(UserError, match="these edits are of several dictionaries"):
        Recode(flat, (Ablate(other, 0),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shape_and_dtype_are_kept_and_nothing_is_written_to(flat, dtype):
    x = X.to(dtype)
    before = x.clone()
    i = int((flat.encode(x.float().flatten(0, 1)) != 0).sum(0).argmax())
    edits = (Ablate(flat, i), Set(flat, i, 1.0), Scale(flat, i, 2.0), Add(draw(5), 1.0),
             Recode(flat, (Ablate(flat, i),), keep_error=False),
             Together((Ablate(flat, i), Add(draw(5), 1.0))))  # fmt: skip
    for edit in edits:
        out = edit(x)
        assert (out.shape, out.dtype) == (x.shape, dtype)
        assert torch.equal(x, before)
        assert not torch.equal(out, x)
        with torch.no_grad():
            out.add_(1)
        assert torch.equal(x, before)


def test_only_kept_positions_change(flat):
    kept = torch.eye(3, 4).bool()
    out = Only(Set(flat, 3, 4.0), kept)(X)
    assert torch.equal(out[~kept], X[~kept])
    torch.testing.assert_close(out[kept], Set(flat, 3, 4.0)(X)[kept])


@pytest.mark.parametrize("entries", [1, 30, 10**6])
def test_chunks_change_nothing(flat, monkeypatch, entries):
    whole = Set(flat, 3, 4.0)(X)
    monkeypatch.setattr("monosemy.interventions.edits._ENTRIES", entries)
    torch.testing.assert_close(Set(flat, 3, 4.0)(X), whole)
    torch.testing.assert_close(Recode(flat, keep_error=False)(X), Splice(flat)(X))


def test_bad_numbers_are_told_together(flat):
    flat.train()
    with pytest.raises(UserError) as caught:
        Set(flat, 99, float("nan"))
    for reason in ("no latent 99", "training mode; call its eval() first",
                   "value is nan; wanted a finite number"):  # fmt: skip
        assert reason in str(caught.value)
    flat.eval()
    with pytest.raises(UserError, match="factor is inf; wanted a finite number"):
        Scale(flat, 0, float("inf"))
    with pytest.raises(UserError, match="all zeros, so nothing would be added"):
        Add(torch.zeros(5), 1.0)
    with pytest.raises(UserError, match="holds numbers that are not finite"):
        Add(torch.full((5,), float("nan")), 1.0)


# --- in a model -----------------------------------------------------------------------------------


def test_at_one_site_an_edit_is_itself(model, ids):
    site = sites.resolve(model, "blocks.0.hook_resid_post")
    dictionary = FlatDictionary.random(16, 20, TopK(3), torch.Generator().manual_seed(0)).eval()
    edit = Set(dictionary, 4, 3.0)
    assert placed(edit, site) == {site: edit}
    assert placed(ZeroAblate(), site) == {site: ZeroAblate()}
    clean = tap.read(model, [site], ids)[site.name]
    with tap.editing(model, placed(edit, site)):
        found = tap.read(model, [site], ids)[site.name]
    torch.testing.assert_close(found, edit(clean))


@pytest.fixture
def transcoder():
    def part(*shape, seed):
        return draw(*shape, seed=seed)

    selection = BatchTopK(3)
    selection.threshold.fill_(0.4)
    return Transcoder(part(20, 16, seed=1), part(20, seed=2), part(20, 16, seed=3),
                      part(16, seed=4), selection, part(16, 16, seed=5)).eval()  # fmt: skip


@pytest.mark.parametrize("only", [False, True])
def test_a_transcoder_reads_here_and_writes_there(model, ids, kept, transcoder, only):
    reads = sites.resolve(model, "blocks.0.mlp.hook_in")
    writes = sites.resolve(model, "blocks.0.hook_mlp_out")
    clean = tap.read(model, [reads, writes], ids)
    x, y = (clean[site.name] for site in (reads, writes))
    z = transcoder.encode(x.flatten(0, 1)).view(*ids.shape, 20)
    i = int((z != 0).sum((0, 1)).argmax())
    wanted = y - z[..., i, None] * transcoder.W_dec[i]
    edit = Ablate(transcoder, i)
    if only:
        wanted, edit = torch.where(kept[..., None], wanted, y), Only(edit, kept)
    edits = placed(edit, writes, reads)
    for _ in range(2):  # what was read is not kept from one run to the next
        with tap.editing(model, edits):
            found = tap.read(model, [reads, writes], ids)
        torch.testing.assert_close(found[writes.name], wanted)
        assert torch.equal(found[reads.name], x)
    assert (wanted - y).abs().max() > 0.1


def test_an_added_direction_needs_no_reading(model, ids, transcoder):
    writes = sites.resolve(model, "blocks.0.hook_mlp_out")
    edit = Add.of(transcoder, 3, 2.0)
    assert placed(edit, writes) == {writes: edit}


def test_misplaced_edits_are_refused(model, transcoder):
    site = sites.resolve(model, "blocks.0.hook_resid_post")
    wide = sites.resolve(model, "blocks.0.mlp.hook_post")
    flat = FlatDictionary.random(16, 20, TopK(3), torch.Generator().manual_seed(0)).eval()
    with pytest.raises(UserError) as caught:
        placed(Ablate(flat, 0), wide)
    assert str(caught.value) == (
        "blocks.0.mlp.hook_post has 24 numbers an activation, this FlatDictionary reads 16; name "
        "the site it was trained on"
    )
    with pytest.raises(UserError, match="writes another place than it reads; name the place"):
        placed(Ablate(transcoder, 0), site)
    with pytest.raises(UserError) as caught:
        placed(Ablate(transcoder, 0), wide, wide)
    assert "this Transcoder reads 16" in str(caught.value)
    assert "this Transcoder writes 16" in str(caught.value)
    with pytest.raises(UserError, match="writes the place that it reads, not"):
        placed(Ablate(flat, 0), site, wide)
    crosscoder = KINDS.MAKERS["crosscoder jumprelu"](10, 3).eval()
    with pytest.raises(UserError, match="of several places side by side"):
        placed(Ablate(crosscoder, 0), site)


def test_what_is_written_before_it_was_read_is_refused(model, ids, transcoder):
    later = sites.resolve(model, "blocks.1.hook_resid_post")
    sooner = sites.resolve(model, "blocks.0.hook_resid_post")
    edits = placed(Ablate(transcoder, 0), sooner, later)
    with tap.editing(model, edits), pytest.raises(UserError, match="a transcoder reads first"):
        model(ids)
