"""One battery that every kind of dictionary passes; `test_formulas` has its dense twins."""

import pytest
import torch

from monosemy.dictionaries import files
from monosemy.dictionaries.local import LocalDictionary
from monosemy.dictionaries.refined import MatchingPursuit
from monosemy.dictionaries.units import Units, times
from monosemy.foundation.errors import UserError


def test_dense_codes_decode_as_sparse_ones(dictionary, rows):
    code = dictionary.code(rows)
    torch.testing.assert_close(dictionary.decode(code.dense(), rows), dictionary.decode(code, rows))
    torch.testing.assert_close(dictionary.decode(dictionary.encode(rows), rows), dictionary(rows))


# --- batches and numbers --------------------------------------------------------------------------


def test_the_order_of_the_batch_does_not_matter(dictionary, rows):
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(dictionary(rows[order]), dictionary(rows)[order])


def test_a_token_is_reconstructed_alone_as_in_its_batch(dictionary, rows):
    torch.testing.assert_close(dictionary(rows[5:6]), dictionary(rows)[5:6])


@pytest.mark.parametrize("kind", ["batchtopk", "lista batchtopk", "cross-layer batchtopk"])
def test_while_training_batchtopk_does_look_at_the_batch(make, kind, rows):
    dictionary = make(kind).train()
    assert (dictionary(rows[5:6]) - dictionary(rows)[5:6]).abs().max() > 0.1


def test_a_code_holds_each_latent_of_a_token_once_and_no_zeros(dictionary, kind, rows):
    code = dictionary.code(rows)
    places = code.rows * code.latents + code.indices
    assert len(code.values) > 0
    if kind != "gated":  # whose magnitude may be none where its gate is open
        assert (code.values != 0).all()
    assert len(places.unique()) == len(places)
    assert code.latents == dictionary.latents


def test_no_token_has_more_active_latents_than_k(make, kind, rows):
    for k in (1, 2):
        dictionary = make(kind, 8, k)
        if dictionary.selection.k and dictionary.selection.kind != "batchtopk":
            layers = getattr(dictionary, "layers", 1)
            assert int(dictionary.code(rows).counts.max()) <= k * layers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_kept(dictionary, rows, dtype):
    dictionary, rows = dictionary.to(dtype), rows.to(dtype)
    assert dictionary.encode(rows).dtype == dtype
    assert dictionary(rows).dtype == dtype


def test_proposing_in_bfloat16_changes_no_code(dictionary, rows):
    exact = dictionary.code(rows)
    for module in dictionary.modules():
        module.propose = True
    found = dictionary.code(rows)
    assert torch.equal(found.indices, exact.indices)
    assert torch.equal(found.offsets, exact.offsets)
    torch.testing.assert_close(found.values, exact.values)


def test_another_width_is_refused(dictionary):
    dictionary.check_width(6, "site blocks.0.mlp.hook_post")
    dictionary.metadata["hook_name"] = "blocks.1.hook_resid_post"
    with pytest.raises(UserError) as caught:
        dictionary.check_width(1024, "site blocks.0.mlp.hook_post")
    assert str(caught.value) == (
        "site blocks.0.mlp.hook_post has 1,024 numbers an activation, the dictionary 6; "
        "name the site it was trained on (blocks.1.hook_resid_post)"
    )


# --- edges ----------------------------------------------------------------------------------------


def test_zeros_give_a_finite_reconstruction(dictionary):
    out = dictionary(torch.zeros(2, 6))
    assert out.shape == (2, dictionary.written)
    assert out.isfinite().all()
    assert torch.equal(out[0], out[1])


@pytest.mark.filterwarnings("ignore:std")  # of none
def test_no_tokens_give_no_reconstructions(dictionary):
    assert dictionary(torch.zeros(0, 6)).shape == (0, dictionary.written)
    assert dictionary.code(torch.zeros(0, 6)).tokens == 0


def test_what_lies_at_the_shift_of_an_unbiased_encoder_has_no_code(dictionary):
    """Nothing active at all: what comes out is the offset."""
    inner = getattr(dictionary, "inner", dictionary)
    with torch.no_grad():
        for bias in getattr(inner, "biases", [inner.b_enc]):
            bias.zero_()
        if inner is not dictionary:
            inner.b_dec.zero_()
    x = inner.shift[None] if inner.autoencodes else torch.zeros(1, 6)
    x = inner.b_dec[None] if inner.centred else x
    code = dictionary.code(x)
    assert code.counts.tolist() == [0]
    at_rest = inner.b_dec if getattr(inner, "W_skip", None) is None else inner.b_dec + 0 * x[0, 0]
    torch.testing.assert_close(dictionary.decode(code, x)[0], at_rest)


def test_directions_have_length_one(dictionary):
    lengths = dictionary.directions().norm(dim=1)
    torch.testing.assert_close(lengths, (~nowhere(dictionary)).float())


def nowhere(dictionary):
    """Latents without a direction: children whose bearer points at no chart."""
    found = torch.zeros(dictionary.latents, dtype=torch.bool)
    for level in dictionary.levels if isinstance(dictionary, LocalDictionary) else ():
        last = level.trunk.latents + level.bearers * level.branching
        found[level.trunk.latents : last] = (level.routes < 0).repeat_interleave(level.branching)
    return found


# --- the code of a decoded code -------------------------------------------------------------------


def test_a_decoded_code_has_a_finite_code(dictionary, rows):
    if not dictionary.autoencodes:
        pytest.skip("writes another place than it reads")
    again = dictionary.encode(dictionary(rows))
    assert again.isfinite().all()
    assert again.shape == (len(rows), dictionary.latents)


def _orthonormal(dictionary):
    """Directions at right angles that are read as they are written: nothing interferes."""
    draw = torch.Generator().manual_seed(5)
    axes = torch.linalg.qr(torch.randn(6, 6, generator=draw)).Q
    with torch.no_grad():
        for name, value in (("W_enc", axes), ("W_dec", axes)):
            getattr(dictionary, name).copy_(value)
        for name in ("b_enc", "r_mag", "b_mag"):
            getattr(dictionary, name, torch.zeros(())).zero_()
        if not dictionary.centred:
            dictionary.b_dec.zero_()
    return dictionary


NEVER_EXACT = {
    "layer_norm": "a reconstruction has other statistics than what it stands for",
    "unit_norm": "a reconstruction has another length than what it stands for",
    "random": "it is scaled to fit directions that overlap",
    "lista batchtopk": "its first threshold is higher, so it corrects what was whole",
    "local": "children overlap with parents that already span everything",
    "local deep": "children overlap with parents that already span everything",
    "hierarchical": "children are read from the activation, and add to what parents wrote whole",
    "raw_topk": "a negative activation is less than the zeros around it",
}


def test_where_directions_are_orthonormal_the_code_of_a_decoded_code_is_the_code(make, kind, rows):
    dictionary = make(kind, 6)
    if not dictionary.autoencodes or kind in NEVER_EXACT:
        pytest.skip(NEVER_EXACT.get(kind, "writes another place than it reads"))
    if kind not in ("neurons", "pca", "ica"):  # orthonormal by themselves, or as good as
        _orthonormal(dictionary)
    code = dictionary.encode(rows)
    assert (code != 0).any()
    torch.testing.assert_close(dictionary.encode(dictionary.decode(code, rows)), code, atol=1e-4,
                               rtol=1e-4)  # fmt: skip


def test_where_directions_overlap_it_is_another(make, rows):
    for kind in ("relu", "topk", "lista relu", "matching pursuit"):
        code = make(kind).encode(rows)
        again = make(kind).encode(make(kind).decode(code, rows))
        assert (again - code).abs().max() > 0.1


# --- units that fold away -------------------------------------------------------------------------


def _whitening(width, seed):
    draw = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(width, width, generator=draw).double()).Q
    roots = torch.linspace(0.6, 1.8, width).double()
    return (axes * roots) @ axes.T, (axes / roots) @ axes.T


def _units(form, width, seed):
    """Units of one form, with an origin."""
    origin = torch.randn(width, generator=torch.Generator().manual_seed(seed)).double()
    if form == "whitening":
        return Units(*_whitening(width, seed), origin)
    scale = torch.tensor(0.37 + seed / 10) if form == "factor" else torch.linspace(0.5, 2, width)
    return Units.scaled(scale.double(), origin)


DOES_NOT_FOLD = {
    **{
        (kind, form): (UserError, "would not fold away. Leave it out")
        for kind in ("local", "local deep", "hierarchical")
        for form in ("diagonal", "whitening")
    },
    ("matching pursuit", "diagonal"): (UserError, "would not fold away. Leave it out"),
    ("matching pursuit", "whitening"): (UserError, "would not fold away. Leave it out"),
    ("cross-layer batchtopk", "whitening"): (ValueError, "whitening mixes all numbers"),
    ("cross-layer jumprelu", "whitening"): (ValueError, "whitening mixes all numbers"),
    ("crosscoder batchtopk", "whitening"): (UserError, "whitening mixes the parts"),
    ("crosscoder jumprelu", "whitening"): (UserError, "whitening mixes the parts"),
}


@pytest.mark.parametrize("form", ["factor", "diagonal", "whitening"])
def test_units_fold_away(learner, learning_kind, rows, form):
    dictionary, rows = learner.eval(), rows.double()
    read = _units(form, 6, 1)
    same = dictionary.autoencodes or dictionary.centred
    write = read if same else _units(form, dictionary.written, 2)
    if (learning_kind, form) in DOES_NOT_FOLD:
        error, text = DOES_NOT_FOLD[learning_kind, form]
        with pytest.raises(error, match=text):
            dictionary.fold_(read, write)
        return
    wanted = times(dictionary(read.apply(rows)), write.inverse) + write.origin
    if learning_kind != "neurons":  # which are the same in any one unit
        assert (dictionary(rows) - wanted).abs().max() > 0.1
    code = dictionary.code(read.apply(rows))
    folded = dictionary.fold_(read, write)
    torch.testing.assert_close(folded(rows), wanted)
    assert torch.equal(folded.code(rows).indices, code.indices)


def test_folded_directions_have_length_one_where_latents_are_selected_by_themselves(learner):
    if isinstance(learner, MatchingPursuit):
        pytest.skip("its directions stay as they are")
    read = _units("factor", 6, 1)
    same = learner.autoencodes or learner.centred
    write = read if same else _units("factor", learner.written, 2)
    lengths = learner.fold_(read, write).W_dec.norm(dim=1)[~nowhere(learner)]
    alone = [lengths] if not learner.selection.compares else []
    together = lengths.chunk(getattr(learner, "layers", 1)) if learner.selection.compares else []
    for group in alone:
        torch.testing.assert_close(group, torch.ones_like(group))
    for group in together:
        torch.testing.assert_close(group.mean(), torch.ones_like(group.mean()))


# --- files ----------------------------------------------------------------------------------------


def test_what_is_saved_is_what_is_loaded(dictionary, rows, tmp_path):
    files.save(dictionary, tmp_path / "saved")
    loaded = files.load(tmp_path / "saved")
    torch.testing.assert_close(loaded.encode(rows), dictionary.encode(rows), rtol=0, atol=0)
    torch.testing.assert_close(loaded(rows), dictionary(rows), rtol=0, atol=0)
    assert not loaded.training
