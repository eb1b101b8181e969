"""Dictionaries that read and write several places, or others than they read, are measured there."""

from dataclasses import replace

import pytest
import torch

from monosemy.dictionaries import baselines
from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.crosscoders import Crosscoder
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import ReLU, TopK
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.evaluation.measure import measure
from monosemy.foundation.errors import UserError
from monosemy.interventions.edits import MeanAblate, Only, ZeroAblate
from monosemy.models import sites, tap
from monosemy.models.loading import reinitialised

WIDTH = 16
MEANT_TO_BE_ONE = ("explained_variance", "cosine", "ce_recovered_zero", "ce_recovered_mean",
                   "kl_recovered_zero", "kl_recovered_mean")  # fmt: skip


def draw(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def at(loaded):
    return lambda *names: [sites.resolve(loaded.model, name) for name in names]


@pytest.fixture(scope="module")
def entering(at):
    return at("blocks.0.mlp.hook_in", "blocks.1.mlp.hook_in")


@pytest.fixture(scope="module")
def leaving(at):
    return at("blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out")


@pytest.fixture(scope="module")
def rows_at(loaded, contexts):
    """Kept activations, sites side by side."""

    def rows(places, model=None):
        found = tap.read((model or loaded).model, places, contexts.ids)
        return torch.cat([found[place.name][contexts.kept] for place in places], 1)

    return rows


def mlp(loaded, layer):
    """The weights of a layer's MLP, which is a transcoder: ``relu(x W_in + b_in) W_out + b_out``."""
    block = loaded.model.transformer.h[layer].mlp
    return (block.c_fc.weight.T.clone(), block.c_fc.bias.clone(),
            block.c_proj.weight.clone(), block.c_proj.bias.clone())  # fmt: skip


@pytest.fixture
def exact(loaded):
    return Transcoder(*mlp(loaded, 0), ReLU()).eval()


@pytest.fixture
def exact_layers(loaded):
    """Both MLPs at once; nothing is written into the later layer."""
    parts = [mlp(loaded, layer) for layer in (0, 1)]
    decoders = [
        torch.stack([W, *[torch.zeros_like(W)] * (1 - layer)], 1)
        for layer, (_, _, W, _) in enumerate(parts)
    ]
    b_dec = torch.stack([b for *_, b in parts])
    given = [W for W, *_ in parts], [b for _, b, *_ in parts], decoders, b_dec
    return CrossLayerTranscoder(*given, [ReLU(), ReLU()]).eval()


def values(measurement):
    return {name: estimate.value for name, estimate in measurement.estimates.items()}


def test_the_transcoder_that_is_the_mlp_recovers_everything(
    loaded, entering, leaving, contexts, rows_at, exact
):
    mean = rows_at(leaving[:1]).mean(0)
    less = Transcoder(*(p.detach() for p in (exact.W_enc, exact.b_enc, exact.W_dec, exact.b_dec)),
                      TopK(3)).eval()  # fmt: skip
    both = {"exact": exact, "less": less}
    found = measure(loaded, leaving[0], both, contexts, mean, reads=entering[0])
    for metric in MEANT_TO_BE_ONE:
        assert values(found["exact"])[metric] == pytest.approx(1, abs=1e-4), metric
        assert values(found["less"])[metric] < 0.99, metric
    assert found["exact"].parts == {}
    # What ablation costs is what it costs where it writes, not where it reads.
    plain = measure(loaded, leaving[0], {"it": baselines.neurons(WIDTH, 4)}, contexts, mean)["it"]
    for metric in ("ce_zero", "ce_mean", "ce_clean"):
        assert values(found["exact"])[metric] == pytest.approx(values(plain)[metric], rel=1e-6)


def test_a_transcoder_is_compared_with_what_it_should_have_written(
    loaded, entering, leaving, contexts, rows_at
):
    """Explained variance of a poor one, by the formula, and with a skip, which needs its input."""
    skip = 0.1 * draw(WIDTH, WIDTH, seed=5)
    poor = Transcoder(draw(9, WIDTH, seed=1), draw(9, seed=2), 0.1 * draw(9, WIDTH, seed=3),
                      draw(WIDTH, seed=4), TopK(2), skip).eval()  # fmt: skip
    x, y = rows_at(entering[:1]), rows_at(leaving[:1])
    place = loaded, leaving[0], {"poor": poor}, contexts, y.mean(0)
    found = values(measure(*place, reads=[entering[0]], splice=False)["poor"])
    error = (y - poor(x)).square().sum()
    wanted = 1 - error / (y - y.mean(0)).square().sum()
    assert found["explained_variance"] == pytest.approx(float(wanted), rel=1e-4)
    assert found["mse"] == pytest.approx(float(error) / len(y), rel=1e-4)


def test_autoencoders_of_the_target_stand_beside_a_transcoder(
    loaded, entering, leaving, contexts, rows_at, exact
):
    rows = rows_at(leaving[:1])
    pca = baselines.principal_components(rows, 4).eval()
    both = {"transcoder": exact, "pca": pca}
    found = measure(loaded, leaving[0], both, contexts, rows.mean(0), reads=entering[0])
    alone = measure(loaded, leaving[0], {"pca": pca}, contexts, rows.mean(0))
    assert values(found["pca"]) == pytest.approx(values(alone["pca"]))


def test_the_cross_layer_transcoder_that_is_all_mlps_recovers_everything(
    loaded, entering, leaving, contexts, rows_at, exact_layers
):
    mean = rows_at(leaving).mean(0)
    found = measure(loaded, leaving, {"it": exact_layers}, contexts, mean, reads=entering)["it"]
    for metric in MEANT_TO_BE_ONE:
        assert values(found)[metric] == pytest.approx(1, abs=1e-4), metric
    assert [part.value for part in found.parts.values()] == pytest.approx([1, 1], abs=1e-4)
    assert list(found.parts) == [site.name for site in leaving]
    with torch.no_grad():  # now layer 0 writes where it should not
        exact_layers.decoders[0][:, WIDTH:] += 0.1 * draw(24, WIDTH, seed=7)
    worse = measure(loaded, leaving, {"it": exact_layers}, contexts, mean, reads=entering)["it"]
    first, second = (part.value for part in worse.parts.values())
    assert first == pytest.approx(1, abs=1e-4)
    assert second < 0.9
    assert values(worse)["kl_recovered_mean"] < 0.999


def _ablated(loaded, places, contexts, edits):
    """Mean cross-entropy of predicted kept tokens with all edits made in one run."""
    with tap.editing(loaded.model, dict(zip(places, edits, strict=True))):
        logits = loaded.model(contexts.ids).logits[:, :-1]
    counts = contexts.kept[:, 1:]
    return float(
        torch.nn.functional.cross_entropy(logits[counts], contexts.ids[:, 1:][counts]).detach()
    )


def test_a_crosscoder_is_spliced_at_all_its_sites_in_one_run(loaded, at, contexts, rows_at):
    places = at("blocks.0.mlp.hook_post", "blocks.1.hook_mlp_out")
    rows = rows_at(places)
    widths = [place.width for place in places]
    total = sum(widths)
    perfect = Crosscoder(
        torch.eye(total).repeat(2, 1) * torch.tensor([1.0, -1.0]).repeat_interleave(total)[:, None],
        torch.zeros(2 * total),
        torch.eye(total).repeat(2, 1) * torch.tensor([1.0, -1.0]).repeat_interleave(total)[:, None],
        torch.zeros(total), ReLU(), widths,
    ).eval()  # fmt: skip
    found = measure(loaded, places, {"it": perfect}, contexts, rows.mean(0))["it"]
    for metric in MEANT_TO_BE_ONE:
        assert values(found)[metric] == pytest.approx(1, abs=1e-4), metric
    zero = [Only(ZeroAblate(), contexts.kept)] * 2
    mean = [Only(MeanAblate(part), contexts.kept) for part in rows.mean(0).split(widths)]
    assert values(found)["ce_zero"] == pytest.approx(_ablated(loaded, places, contexts, zero))
    assert values(found)["ce_mean"] == pytest.approx(_ablated(loaded, places, contexts, mean))
    assert values(found)["ce_zero"] != pytest.approx(
        _ablated(loaded, places[:1], contexts, zero[:1]), rel=1e-3
    )


def test_parts_are_told_apart_by_the_formula(loaded, at, contexts, rows_at):
    places = at("blocks.0.mlp.hook_post", "blocks.1.hook_mlp_out")
    widths = [place.width for place in places]
    rows = rows_at(places)
    poor = Crosscoder(draw(20, 40, seed=1), draw(20, seed=2), 0.2 * draw(20, 40, seed=3),
                      rows.mean(0), TopK(3), widths).eval()  # fmt: skip
    found = measure(loaded, places, {"it": poor}, contexts, rows.mean(0), splice=False)["it"]
    rest = (rows - poor(rows)).split(widths, 1)
    parts = (rows - rows.mean(0)).split(widths, 1)
    wanted = [
        float(1 - r.square().sum() / p.square().sum()) for r, p in zip(rest, parts, strict=True)
    ]
    assert [one.value for one in found.parts.values()] == pytest.approx(wanted, rel=1e-4)
    assert all(one.low < one.value < one.high for one in found.parts.values())


def test_between_models_nothing_is_spliced_and_the_rest_is_measured(loaded, at, contexts, rows_at):
    other = replace(reinitialised(loaded, 3), name="other")
    places = at("blocks.0.hook_mlp_out")
    rows = torch.cat([rows_at(places), rows_at(places, other)], 1)
    between = Crosscoder(draw(20, 32, seed=1), draw(20, seed=2), 0.2 * draw(20, 32, seed=3),
                         rows.mean(0), TopK(3), (16, 16)).eval()  # fmt: skip
    pair = [loaded, other]
    found = measure(pair, places, {"it": between}, contexts, rows.mean(0))["it"]
    error = (rows - between(rows)).square().sum()
    wanted = 1 - error / (rows - rows.mean(0)).square().sum()
    assert values(found)["explained_variance"] == pytest.approx(float(wanted), rel=1e-4)
    assert list(found.parts) == [f"tiny: {places[0].name}", f"other: {places[0].name}"]
    assert found.estimates["ce_recovered_zero"].note == (
        "the dictionary reconstructs several models together, so it is spliced into none of them"
    )
    mine = measure(
        pair, places, {"it": between}, contexts, rows.mean(0), splice=False, note="why not"
    )["it"]
    assert mine.estimates["ce_spliced"].note == "why not"


def test_what_does_not_fit_is_all_named(loaded, entering, leaving, contexts, exact, exact_layers):
    flat = FlatDictionary.random(9, 12, TopK(2), torch.Generator().manual_seed(0))
    narrow = Transcoder(torch.zeros(3, 5), torch.zeros(3), torch.zeros(3, 7), torch.zeros(7),
                        ReLU())  # fmt: skip
    with pytest.raises(UserError) as caught:
        measure(loaded, leaving, {"flat": flat, "one": exact, "narrow": narrow}, contexts,
                torch.zeros(5), reads=entering)  # fmt: skip
    both = "blocks.0.hook_mlp_out, blocks.1.hook_mlp_out"
    read = "the row of 2 sites (blocks.0.mlp.hook_in, blocks.1.mlp.hook_in)"
    assert str(caught.value) == (
        "this measurement has 4 problems:\n"
        f"  - flat: the row of 2 sites ({both}) has 32 numbers an activation, the dictionary 9; "
        "name the site it was trained on\n"
        f"  - one: {read} has 32 numbers an activation, the dictionary 16; "
        "name the site it was trained on\n"
        f"  - narrow: {read} has 32 numbers an activation, the dictionary 5; "
        "name the site it was trained on\n"
        f"  - the mean has 5 numbers, the row of 2 sites ({both}) 32"
    )
    writes = Transcoder(torch.zeros(3, 16), torch.zeros(3), torch.zeros(3, 7), torch.zeros(7),
                        ReLU())  # fmt: skip
    with pytest.raises(UserError) as caught:
        measure(loaded, leaving[0], {"it": writes}, contexts, torch.zeros(16), reads=entering[0])
    assert (
        "it: site blocks.0.hook_mlp_out has 16 numbers an activation, the dictionary writes 7"
        in str(caught.value)
    )


def test_activations_that_are_not_finite_are_named_where_they_are_read(
    loaded, entering, leaving, contexts, exact
):
    ahead = tap.read(loaded.model, entering[:1], contexts.ids)[entering[0].name][contexts.kept]

    def spoil(activation):
        here = (activation - ahead[40]).norm(dim=-1, keepdim=True) < 1e-3
        return activation.masked_fill(here, float("inf"))

    place = loaded, leaving[0], {"it": exact}, contexts, torch.zeros(WIDTH)
    with tap.editing(loaded.model, {entering[0]: spoil}), pytest.raises(UserError) as caught:
        measure(*place, reads=entering[0], batch=2)
    said = str(caught.value)
    assert "is not finite" in said
    assert str(contexts.place(40)) in said
